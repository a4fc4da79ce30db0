//! Clients that speak HTTP/1: hyper's server on one side, our head and body on the other.
//!
//! ```text
//! socket ─▶ ClientIo ─▶ hyper server ─▶ RequestHead, Source ─▶ service ─▶ Answer ─▶ hyper ─▶ socket
//!            (limits)
//! ```
//!
//! One task per connection carries everything, the connection to the backend included. hyper's own
//! head timer would also run on an idle connection and is set anew per request, so ours is used.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::alarm::Alarm;
use super::answer::AnswerBody;
use super::body::{BodyError, Source};
use super::head::RequestHead;
use super::worker::Worker;
use super::{Limits, Timeouts, joined, linger, service};
use crate::clock;

/// Read and write buffer of one connection, at most: what a client that does not read can hold.
const BUFFER_BYTES_MAX: usize = 256 * 1024;

/// hyper's own limit of fields, for which it needs no allocation.
const FIELDS_WITHOUT_ALLOCATION: usize = 100;

const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 33\r\n\r\n\
    the request head came too slowly\n";

const OTHER_PROTOCOL: &[u8] = b"HTTP/1.1 505 HTTP Version Not Supported\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 26\r\n\r\n\
    HTTP/2 is not spoken here\n";

/// How connections of this worker are served.
pub(super) struct Front(Builder);

impl Front {
    /// With these bounds.
    pub(super) fn new(limits: &Limits) -> Self {
        let mut builder = Builder::new();
        builder
            .header_read_timeout(None)
            .max_header_size(limits.head_bytes)
            .max_buf_size(BUFFER_BYTES_MAX.max(limits.head_bytes));
        if limits.header_fields != FIELDS_WITHOUT_ALLOCATION {
            builder.max_headers(limits.header_fields);
        }
        Self(builder)
    }
}

/// What the requests of one connection share.
pub(super) struct Client {
    pub(super) alarm: Alarm,
    /// Its address, as a field value.
    pub(super) forwarded_for: HeaderValue,
    /// The address it connected to.
    pub(super) local: SocketAddr,
    phase: Cell<Phase>,
    /// A backend waits for more of the request's body.
    body_wanted: Cell<bool>,
    /// Since when nothing could be written.
    blocked_since: Cell<Option<Instant>>,
    /// An answer broke off whose end only the connection's end would have told.
    cut: Cell<bool>,
    /// There has been a request.
    spoke: Cell<bool>,
    /// The body of the current request was not read to its end.
    body_left: Cell<bool>,
}

#[derive(Clone, Copy)]
enum Phase {
    /// Between requests, since then.
    Idle(Instant),
    /// Some bytes of a head came; since when, once that took more than one look.
    Head(Option<Instant>),
    /// A request is under way; it has its own limits.
    Busy,
}

/// Why a connection ended.
enum End {
    Closed(hyper::Result<()>),
    IdleTooLong,
    HeadTooSlow,
}

impl Client {
    fn new(peer: SocketAddr, local: SocketAddr) -> Self {
        let address = peer.ip().to_canonical().to_string();
        Self {
            alarm: Alarm::default(),
            forwarded_for: HeaderValue::from_maybe_shared(Bytes::from(address))
                .unwrap_or_else(|_| HeaderValue::from_static("unknown")),
            local,
            phase: Cell::new(Phase::Idle(clock::now())),
            body_wanted: Cell::new(false),
            blocked_since: Cell::new(None),
            cut: Cell::new(false),
            spoke: Cell::new(false),
            body_left: Cell::new(false),
        }
    }

    /// Whether the request's body is what everybody waits for.
    pub(super) fn is_body_wanted(&self) -> bool {
        self.body_wanted.get()
    }

    fn poll_limits(&self, cx: &mut Context<'_>, timeouts: &Timeouts) -> Poll<End> {
        let (limit, end) = match self.phase.get() {
            Phase::Busy => return Poll::Pending,
            Phase::Idle(since) => (since + timeouts.client_idle, End::IdleTooLong),
            Phase::Head(since) => {
                let since = since.unwrap_or_else(|| self.alarm.now());
                self.phase.set(Phase::Head(Some(since)));
                (since + timeouts.request_head, End::HeadTooSlow)
            }
        };
        if self.alarm.now() >= limit {
            return Poll::Ready(end);
        }
        self.alarm.wake_by(cx, limit);
        Poll::Pending
    }
}

/// Serves one connection to its end.
pub(super) async fn serve(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
    let Ok(local) = stream.local_addr() else {
        // Reset before we came to it.
        return;
    };
    let client = Rc::new(Client::new(peer, local));
    let io = ClientIo {
        stream,
        client: client.clone(),
        progress_max: worker.settings.timeouts.body_progress,
    };
    let service = service_fn(|request| {
        client.phase.set(Phase::Busy);
        client.spoke.set(true);
        respond(worker.clone(), client.clone(), request)
    });
    let mut connection = worker.front.0.serve_connection(TokioIo::new(io), service);
    let mut registered = None;
    let mut told_to_close = false;
    let end = poll_fn(|cx| {
        client.alarm.begin_poll();
        registered.get_or_insert_with(|| Registered {
            slot: worker.wakers.add(cx.waker().clone()),
            worker: &worker,
        });
        loop {
            // First poll, then look whether to stop: a request that is already here is served.
            if let Poll::Ready(result) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(End::Closed(result));
            }
            if !worker.stopping.get() || told_to_close {
                return client.poll_limits(cx, &worker.settings.timeouts);
            }
            told_to_close = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
    })
    .await;
    let mut stream = connection.into_parts().io.into_inner().stream;
    if client.cut.get() {
        // Closing in order would say that the answer is whole.
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        return;
    }
    match end {
        End::IdleTooLong => {}
        End::HeadTooSlow => {
            let _ = stream.write_all(TOO_SLOW).await;
            linger::close(stream).await;
        }
        End::Closed(result) => {
            let error = result.err();
            let refused = error.as_ref().is_some_and(hyper::Error::is_parse);
            // Only as the first words of a connection: later ones could end up within an answer.
            if error.is_some_and(|error| error.is_parse_version_h2()) && !client.spoke.get() {
                let _ = stream.write_all(OTHER_PROTOCOL).await;
            }
            if refused || client.body_left.get() {
                linger::close(stream).await;
            }
        }
    }
}

/// A task's place among those that are woken together.
struct Registered<'a> {
    slot: usize,
    worker: &'a Worker,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.worker.wakers.remove(self.slot);
    }
}

async fn respond(
    worker: Rc<Worker>,
    client: Rc<Client>,
    request: Request<Incoming>,
) -> Result<Response<ClientBody>, Infallible> {
    let (parts, incoming) = request.into_parts();
    let head = RequestHead {
        method: parts.method,
        target: parts.uri,
        headers: parts.headers,
        old: parts.version == Version::HTTP_10,
    };
    let old = head.old;
    let has_body = !incoming.is_end_stream();
    client.body_left.set(has_body);
    let body = has_body.then(|| {
        Box::new(RequestBody {
            incoming,
            client: client.clone(),
        }) as Box<dyn Source>
    });
    let answer = service::answer(&worker, &client, head, body).await;
    let mut response = Response::new(ClientBody {
        to_the_end: old && answer.body.remaining().is_none(),
        broken: None,
        body: answer.body,
        client,
    });
    *response.status_mut() = answer.head.status;
    *response.headers_mut() = answer.head.headers;
    *response.extensions_mut() = answer.head.extensions;
    Ok(response)
}

/// A request's body, as hyper reads it.
struct RequestBody {
    incoming: Incoming,
    client: Rc<Client>,
}

impl Source for RequestBody {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            let polled = Pin::new(&mut self.incoming).poll_frame(cx);
            self.client.body_wanted.set(polled.is_pending());
            let item = match ready!(polled) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) if !chunk.is_empty() => Some(Ok(chunk)),
                    // Trailers are dropped.
                    _ => continue,
                },
                Some(Err(error)) => Some(Err(why_broken(&error))),
                None => None,
            };
            if item.is_none() || self.incoming.is_end_stream() {
                self.client.body_left.set(false);
            }
            return Poll::Ready(item);
        }
    }

    fn remaining(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }
}

/// Whether a request's body was no valid one, or ended before its end.
fn why_broken(error: &hyper::Error) -> BodyError {
    let cause = std::error::Error::source(error);
    let cause = cause.and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => BodyError::Malformed,
        _ => BodyError::Client(error.to_string()),
    }
}

/// A response's body, as hyper writes it. Its end is the request's end.
struct ClientBody {
    body: AnswerBody,
    /// Nothing but the end of the connection ends it.
    to_the_end: bool,
    /// It broke off, which hyper is not told yet.
    broken: Option<BodyError>,
    client: Rc<Client>,
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(error) = self.broken.take() else {
            return match ready!(self.body.poll_chunk(cx)) {
                Some(Err(error)) => {
                    // With an error hyper drops what it has not written yet, perhaps the head itself. So it
                    // hears of it only at its next question: it writes before it asks again.
                    self.broken = Some(error);
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                item => Poll::Ready(item.map(|chunk| chunk.map(Frame::data))),
            };
        };
        if self.client.blocked_since.get().is_some() {
            self.broken = Some(error);
            return Poll::Pending;
        }
        self.client.cut.set(self.to_the_end);
        Poll::Ready(Some(Err(error)))
    }

    fn is_end_stream(&self) -> bool {
        self.broken.is_none() && self.body.remaining() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .remaining()
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        self.client.phase.set(Phase::Idle(self.client.alarm.now()));
    }
}

/// A client's socket: notices when a head begins, and gives up on a client that does not read.
struct ClientIo {
    stream: TcpStream,
    client: Rc<Client>,
    progress_max: Duration,
}

impl ClientIo {
    fn written(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if result.is_ready() {
            self.client.blocked_since.set(None);
            return result;
        }
        let now = self.client.alarm.now();
        let since = self.client.blocked_since.get().unwrap_or(now);
        self.client.blocked_since.set(Some(since));
        let limit = since + self.progress_max;
        if now >= limit {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.client.alarm.wake_by(cx, limit);
        Poll::Pending
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before && matches!(self.client.phase.get(), Phase::Idle(_)) {
            self.client.phase.set(Phase::Head(None));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientIo {
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
        // How to close is decided in `serve`, once hyper is done.
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_written_by_hand_have_the_length_they_claim() {
        for answer in [TOO_SLOW, OTHER_PROTOCOL] {
            let text = std::str::from_utf8(answer).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();

            assert!(head.contains(&format!("content-length: {}", body.len())));
        }
    }
}
