//! One HTTP/1.1 connection to a backend. With `front_h1`, the only place that names hyper.
//!
//! ```text
//! request ─▶ Link::send ─▶ hyper client ─▶ Metered ─▶ socket
//!             Link::drive   (polled by the client's own task: no task per connection, no channel
//!             Incoming ◀─    between two tasks, and dropping the request closes the connection)
//! ```
//!
//! `Metered` counts bytes both ways, so that "nothing was written yet" and "nothing was answered
//! yet" are facts and not guesses: the retry rules hang on them.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::body::{BodyError, Outgoing, Source};
use super::head::{RequestHead, ResponseHead};
use super::joined;
use crate::clock;

/// Read and write buffer of one connection, at most.
const BUFFER_BYTES_MAX: usize = 256 * 1024;

/// A connection to a backend, busy or idle.
pub(super) struct Link {
    sender: SendRequest<Outgoing>,
    /// `None` once hyper is done with it.
    connection: Option<Connection<TokioIo<Metered>, Outgoing>>,
    meter: Rc<Meter>,
    /// It has carried a request before this one.
    pub(super) reused: bool,
    /// When it was put aside.
    pub(super) idle_since: Instant,
}

/// What came back instead of a response.
#[derive(Debug)]
pub(super) struct SendFailure {
    /// For a person.
    pub(super) why: String,
    /// It was no HTTP response.
    pub(super) garbage: bool,
}

impl Link {
    /// Connects. The caller limits the time.
    pub(super) async fn connect(address: SocketAddr) -> io::Result<Box<Self>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let meter = Rc::new(Meter::default());
        let io = Metered {
            stream,
            meter: meter.clone(),
        };
        let (sender, connection) = Builder::new()
            .max_buf_size(BUFFER_BYTES_MAX)
            .handshake(TokioIo::new(io))
            .await
            .map_err(io::Error::other)?;
        Ok(Box::new(Self {
            sender,
            connection: Some(connection),
            meter,
            reused: false,
            idle_since: clock::now(),
        }))
    }

    /// Whether an idle connection can carry a request. `thorough` asks the kernel, at the cost of
    /// a system call; otherwise only what the event loop has already noticed counts.
    pub(super) fn is_usable(&mut self, thorough: bool) -> bool {
        self.meter.probe.set(thorough);
        let alive = self
            .drive(&mut Context::from_waker(Waker::noop()))
            .is_pending();
        self.meter.probe.set(false);
        alive && self.sender.is_ready()
    }

    /// Begins a request; drive the link until the answer is there.
    pub(super) fn send(
        &mut self,
        head: RequestHead,
        body: Outgoing,
    ) -> impl Future<Output = Result<(ResponseHead, Incoming), SendFailure>> + use<> {
        self.meter.written.set(0);
        self.meter.read.set(0);
        let mut request = Request::new(body);
        *request.method_mut() = head.method;
        *request.uri_mut() = head.target;
        *request.headers_mut() = head.headers;
        frame(&mut request);
        let answer = self.sender.send_request(request);
        async move {
            match answer.await {
                Ok(response) => read_head(response),
                Err(error) => Err(SendFailure {
                    garbage: error.is_parse(),
                    why: describe(&error),
                }),
            }
        }
    }

    /// Lets hyper read and write. Ready: this connection has ended.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(());
        };
        // Errors reach whoever waits for the answer or its body.
        let _ = ready!(Pin::new(connection).poll(cx));
        self.connection = None;
        Poll::Ready(())
    }

    /// Bytes of the current request that the kernel took.
    pub(super) fn written(&self) -> u64 {
        self.meter.written.get()
    }

    /// Bytes of the current answer that came.
    pub(super) fn read(&self) -> u64 {
        self.meter.read.get()
    }
}

/// Says how the body is framed; the fields that said it before were dropped or are the length.
fn frame(request: &mut Request<Outgoing>) {
    match request.body().remaining() {
        Some(_) => {}
        None => {
            // Without the field hyper gives a GET no body at all.
            let chunked = HeaderValue::from_static("chunked");
            request
                .headers_mut()
                .insert(header::TRANSFER_ENCODING, chunked);
        }
    }
}

/// Refuses what must not be passed on.
fn read_head(response: http::Response<Incoming>) -> Result<(ResponseHead, Incoming), SendFailure> {
    let (parts, body) = response.into_parts();
    let garbage = |why: &str| SendFailure {
        why: why.to_owned(),
        garbage: true,
    };
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(garbage("a change of protocol that nobody asked for"));
    }
    if let Some(coding) = parts.headers.get(header::TRANSFER_ENCODING) {
        if parts.headers.contains_key(header::CONTENT_LENGTH) {
            return Err(garbage("a response with two lengths"));
        }
        if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(garbage("a response with an unknown transfer coding"));
        }
    }
    let head = ResponseHead {
        status: parts.status,
        headers: parts.headers,
        extensions: parts.extensions,
    };
    Ok((head, body))
}

/// The innermost cause, in a few words.
fn describe(error: &hyper::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if let Some(io) = cause.downcast_ref::<io::Error>() {
        return in_words(io);
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return "connection closed before a response".to_owned();
    }
    cause.to_string()
}

/// An I/O error without its number: `connection refused`.
pub(super) fn in_words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_ascii_lowercase(),
        None => text,
    }
}

/// A response's body: drives its link, and says when the link is free again.
pub(super) struct Download {
    incoming: Incoming,
    link: Option<Box<Link>>,
}

impl Download {
    /// The body that belongs to the link's current answer.
    pub(super) fn new(incoming: Incoming, link: Box<Link>) -> Self {
        Self {
            incoming,
            link: Some(link),
        }
    }

    /// Nothing more comes.
    pub(super) fn is_ended(&self) -> bool {
        self.incoming.is_end_stream()
    }

    /// The link, once the body has ended; `None` when it can't carry another request.
    pub(super) fn into_free_link(self) -> Option<Box<Link>> {
        let mut link = self.link?;
        // Ready only when the request's body is out too: an early answer leaves it half sent.
        let free = link.sender.is_ready() || link.is_usable(false);
        let whole = link.connection.is_some() && !link.meter.broken.get();
        (free && whole).then_some(link)
    }
}

impl Download {
    /// What hyper has already read. Only `drive` adds to it, so nobody needs to be woken.
    fn take(&mut self) -> Poll<Option<Result<Bytes, BodyError>>> {
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            return Poll::Ready(
                match ready!(Pin::new(&mut self.incoming).poll_frame(&mut cx)) {
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(chunk) if !chunk.is_empty() => Some(Ok(chunk)),
                        // Trailers are dropped.
                        _ => continue,
                    },
                    Some(Err(error)) => Some(Err(BodyError::Upstream(describe(&error)))),
                    None => None,
                },
            );
        }
    }
}

impl Source for Download {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Poll::Ready(item) = self.take() {
            return Poll::Ready(item);
        }
        let ended = self
            .link
            .as_mut()
            .is_none_or(|link| link.drive(cx).is_ready());
        match self.take() {
            Poll::Pending if ended => Poll::Ready(Some(Err(BodyError::Upstream(
                "connection closed".to_owned(),
            )))),
            item => item,
        }
    }

    fn remaining(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.poll_chunk(cx).map_ok(Frame::data)
    }

    fn is_end_stream(&self) -> bool {
        self.remaining() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining()
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// What went through a connection since its current request began.
#[derive(Default)]
struct Meter {
    written: Cell<u64>,
    read: Cell<u64>,
    /// A write has failed.
    broken: Cell<bool>,
    /// The next read asks the kernel whether the peer is still there.
    probe: Cell<bool>,
}

/// A socket that counts, and that lets the reading side tell how a connection ended.
struct Metered {
    stream: TcpStream,
    meter: Rc<Meter>,
}

impl Metered {
    /// A backend may answer early and close. Then writing fails while the answer waits to be read, so
    /// a failed write is silent: the read that follows yields the answer, or the same error.
    ///
    /// That ends, although nothing wakes a `Pending` of ours: a write fails only once the peer has reset the
    /// connection, after which a read never blocks. It gives what had come, then an error or the end, and with
    /// that hyper ends the connection. The one wake is for that read; `broken` keeps a second failed write from
    /// making it a busy loop, and keeps the connection from being used again.
    fn written(
        &self,
        cx: &Context<'_>,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Ok(bytes)) => {
                self.meter
                    .written
                    .set(self.meter.written.get() + bytes as u64);
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(_)) => {
                if !self.meter.broken.replace(true) {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// True when an idle peer has closed or spoken unasked.
    fn is_stale(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        match socket2::SockRef::from(&self.stream).peek(&mut byte) {
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
            Ok(_) => true,
        }
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.meter.probe.take() && self.is_stale() {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let bytes = buffer.filled().len() - before;
        self.meter.read.set(self.meter.read.get() + bytes as u64);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = joined::poll_write(Pin::new(&mut self.stream), cx, slices);
        self.written(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket has nothing to flush.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Closing does it; a system call for it would be one too many.
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_close_that_the_event_loop_has_not_seen_is_found_by_asking_the_kernel() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut link = Link::connect(address).await.unwrap();
        let (peer, _) = listener.accept().unwrap();
        assert!(link.is_usable(true));

        drop(peer);

        // Nothing is awaited here, so the event loop has no chance to notice.
        let begun = clock::now();
        while link.is_usable(true) {
            assert!(begun.elapsed().as_secs() < 10, "the close was not found");
            std::thread::yield_now();
        }
        assert!(!link.is_usable(false));
    }

    #[test]
    fn errors_are_told_in_words() {
        let refused = io::Error::from_raw_os_error(111);

        assert_eq!(in_words(&refused), "connection refused");
        assert_eq!(in_words(&io::Error::other("Odd")), "Odd");
    }
}
