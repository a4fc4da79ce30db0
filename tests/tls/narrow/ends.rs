//! Both ends of an exchange, in any protocol, on sockets of which kernels take little at once.
//!
//! ```text
//! client ─▶ Late (reads late, and little at once) ─▶ [TLS] ─▶ HTTP/1 by hand, or HTTP/2 by the h2 crate
//! backend, the same: each call goes to a script
//! ```

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use lb::announce::Proto;
use lb::tls::certificate::Files;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::authority::Authority;
use crate::peer::{self, Peer};
use crate::{DEADLINE, backend, client, front};

/// Until whoever receives begins to read, so that who sends is held up at what kernels take.
const LATE: Duration = Duration::from_millis(20);

/// Read at most at once.
const ROOM: usize = 3_000;

/// Read at most between two short pauses.
const BURST: usize = 100_000;

/// Whom everybody asks for.
pub(super) const NAME: &str = "a.example";

/// What is spoken on one hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hop {
    Http1,
    Http1Tls,
    Http2,
    Http2Tls,
}

pub(super) const HOPS: [Hop; 4] = [Hop::Http1, Hop::Http1Tls, Hop::Http2, Hop::Http2Tls];

impl Hop {
    pub(super) fn is_secured(self) -> bool {
        matches!(self, Self::Http1Tls | Self::Http2Tls)
    }

    pub(super) fn is_two(self) -> bool {
        matches!(self, Self::Http2 | Self::Http2Tls)
    }

    pub(super) fn proto(self) -> Proto {
        match self {
            Self::Http1 => Proto::Http,
            Self::Http1Tls => Proto::Https,
            Self::Http2 => Proto::H2c,
            Self::Http2Tls => Proto::H2,
        }
    }

    fn agreed(self) -> Vec<Vec<u8>> {
        match self.is_two() {
            true => vec![b"h2".to_vec()],
            false => vec![b"http/1.1".to_vec()],
        }
    }
}

/// A socket that is read late, and then little at once.
struct Late {
    io: Option<TcpStream>,
    pause: Option<Pin<Box<Sleep>>>,
    read: usize,
}

impl Late {
    fn new(io: TcpStream) -> Self {
        Self {
            io: Some(io),
            pause: None,
            read: 0,
        }
    }

    fn io(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.io.as_mut().expect("it is there until the end"))
    }

    fn wait(&mut self, pause: Duration) {
        self.read = 0;
        self.pause = Some(Box::pin(tokio::time::sleep(pause)));
    }
}

/// Closing with unread bytes would be a reset, which takes along what is still on its way.
impl Drop for Late {
    fn drop(&mut self) {
        let Some(mut io) = self.io.take() else { return };
        let over = async move {
            let _ = io.shutdown().await;
            let _ = tokio::io::copy(&mut io, &mut tokio::io::sink()).await;
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(DEADLINE, over));
        }
    }
}

impl AsyncRead for Late {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let mut bytes = [0; ROOM];
        let most = room.remaining().min(ROOM);
        let mut some = ReadBuf::new(&mut bytes[..most]);
        ready!(self.io().poll_read(cx, &mut some))?;
        room.put_slice(some.filled());
        self.read += some.filled().len();
        if self.read > BURST {
            self.wait(Duration::from_millis(1));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Late {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_shutdown(cx)
    }
}

/// Bytes both ways, in clear or within TLS.
pub(super) trait Both: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Both for S {}

pub(super) type Line = Box<dyn Both>;

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Sized(usize),
    Chunked,
    UntilClose,
}

impl Framing {
    fn field(self) -> String {
        match self {
            Self::Sized(bytes) => format!("content-length: {bytes}\r\n"),
            Self::Chunked => "transfer-encoding: chunked\r\n".to_owned(),
            Self::None | Self::UntilClose => String::new(),
        }
    }

    fn of(head: &str, otherwise: Self) -> Self {
        let head = head.to_ascii_lowercase();
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        let found = fields.find_map(|(name, value)| match name {
            "content-length" => Some(Self::Sized(value.trim().parse().expect("a length"))),
            "transfer-encoding" => Some(Self::Chunked),
            _ => None,
        });
        found.unwrap_or(otherwise)
    }
}

/// A side of HTTP/1 that reads.
pub(super) struct One {
    read: ReadHalf<Line>,
    ahead: Vec<u8>,
    framing: Framing,
    trailers: String,
}

impl One {
    pub(super) fn new(read: ReadHalf<Line>) -> Self {
        Self {
            read,
            ahead: Vec::new(),
            framing: Framing::None,
            trailers: String::new(),
        }
    }

    /// False: the end.
    async fn more(&mut self) -> Result<bool, String> {
        let mut bytes = [0; 16 * 1024];
        let read = self.read.read(&mut bytes).await;
        let read = read.map_err(|error| error.to_string())?;
        self.ahead.extend_from_slice(&bytes[..read]);
        Ok(read > 0)
    }

    /// Whatever follows is one body.
    pub(super) fn all_from_here(&mut self) {
        self.framing = Framing::UntilClose;
    }

    /// Up to `mark`, without it. `None`: the end came first.
    pub(super) async fn until(&mut self, mark: &[u8]) -> Result<Option<String>, String> {
        loop {
            let mut ahead = self.ahead.windows(mark.len());
            if let Some(at) = ahead.position(|bytes| bytes == mark) {
                let line = String::from_utf8(self.ahead[..at].to_vec()).expect("a text");
                self.ahead.drain(..at + mark.len());
                return Ok(Some(line));
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    async fn line(&mut self) -> Result<String, String> {
        let line = self.until(b"\r\n").await?;
        line.ok_or_else(|| "cut within a chunked body".to_owned())
    }

    /// A head; what follows is a body as it says, and else `otherwise`.
    pub(super) async fn head(&mut self, otherwise: Framing) -> Result<Option<String>, String> {
        let head = self.until(b"\r\n\r\n").await?;
        if let Some(head) = &head {
            self.framing = Framing::of(head, otherwise);
        }
        Ok(head)
    }

    async fn taken(&mut self, most: usize) -> Result<Vec<u8>, String> {
        if self.ahead.is_empty() && !self.more().await? {
            return Err("cut within a body".to_owned());
        }
        let bytes = self.ahead.len().min(most);
        Ok(self.ahead.drain(..bytes).collect())
    }

    /// Nothing: the end.
    async fn piece(&mut self) -> Result<Vec<u8>, String> {
        match self.framing {
            Framing::None | Framing::Sized(0) => Ok(Vec::new()),
            Framing::Sized(left) => {
                let piece = self.taken(left).await?;
                self.framing = Framing::Sized(left - piece.len());
                Ok(piece)
            }
            Framing::UntilClose => {
                if self.ahead.is_empty() && !self.more().await? {
                    return Ok(Vec::new());
                }
                Ok(std::mem::take(&mut self.ahead))
            }
            Framing::Chunked => {
                let size = usize::from_str_radix(&self.line().await?, 16).expect("a size");
                if size == 0 {
                    self.framing = Framing::None;
                    loop {
                        let line = self.line().await?;
                        if line.is_empty() {
                            return Ok(Vec::new());
                        }
                        self.trailers += &line;
                    }
                }
                let mut piece = Vec::new();
                while piece.len() < size {
                    piece.extend(self.taken(size - piece.len()).await?);
                }
                assert_eq!(self.line().await?, "", "behind a chunk");
                Ok(piece)
            }
        }
    }
}

/// A body on its way in.
pub(super) enum Incoming {
    One(One),
    Two(h2::RecvStream),
}

impl Incoming {
    /// None: the end. An error: it was cut.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, String> {
        let body = match self {
            Self::One(one) => {
                let piece = Bytes::from(one.piece().await?);
                return Ok((!piece.is_empty()).then_some(piece));
            }
            Self::Two(body) => body,
        };
        let Some(piece) = body.data().await else {
            return Ok(None);
        };
        let piece = piece.map_err(|error| error.to_string())?;
        // Fails only where the stream is over.
        let _ = body.flow_control().release_capacity(piece.len());
        Ok(Some(piece))
    }

    /// All of it that came, and how it ended.
    pub(super) async fn all(&mut self) -> (Vec<u8>, Result<(), String>) {
        let mut all = Vec::new();
        loop {
            match self.piece().await {
                Ok(Some(piece)) => all.extend_from_slice(&piece),
                Ok(None) => return (all, Ok(())),
                Err(why) => return (all, Err(why)),
            }
        }
    }

    /// Behind a body that has ended.
    async fn trailers(&mut self) -> String {
        match self {
            Self::One(one) => std::mem::take(&mut one.trailers),
            Self::Two(body) => {
                let fields = body.trailers().await.ok().flatten().unwrap_or_default();
                let text = |value: &http::HeaderValue| value.to_str().expect("a text").to_owned();
                let lines = fields.iter();
                lines
                    .map(|(name, value)| format!("{name}: {}", text(value)))
                    .collect()
            }
        }
    }
}

/// A body on its way out.
pub(super) enum Outgoing {
    One(WriteHalf<Line>, Framing),
    Two(h2::SendStream<Bytes>),
}

impl Outgoing {
    /// False: nobody takes it any more.
    pub(super) async fn piece(&mut self, bytes: impl Into<Bytes>) -> bool {
        let mut bytes = bytes.into();
        match self {
            Self::One(write, Framing::Chunked) => {
                let size = format!("{:x}\r\n", bytes.len());
                let framed = [size.as_bytes(), &bytes, b"\r\n"].concat();
                write.write_all(&framed).await.is_ok()
            }
            Self::One(write, _) => write.write_all(&bytes).await.is_ok(),
            Self::Two(stream) => {
                while !bytes.is_empty() {
                    stream.reserve_capacity(bytes.len());
                    while stream.capacity() == 0 {
                        let more = poll_fn(|cx| stream.poll_capacity(cx)).await;
                        if !matches!(more, Some(Ok(_))) {
                            return false;
                        }
                    }
                    let most = stream.capacity().min(bytes.len());
                    if stream.send_data(bytes.split_to(most), false).is_err() {
                        return false;
                    }
                }
                true
            }
        }
    }

    /// Says that this was all, with a trailer where that can be said.
    pub(super) async fn end(self, trailer: Option<&str>) -> Option<WriteHalf<Line>> {
        match self {
            Self::One(mut write, framing) => {
                if framing == Framing::Chunked {
                    let trailer = trailer.map(|value| format!("x-sum: {value}\r\n"));
                    let last = format!("0\r\n{}\r\n", trailer.unwrap_or_default());
                    write.write_all(last.as_bytes()).await.ok()?;
                }
                write.flush().await.ok()?;
                Some(write)
            }
            Self::Two(mut stream) => {
                let mut fields = http::HeaderMap::new();
                let _ = match trailer {
                    None => stream.send_data(Bytes::new(), true),
                    Some(value) => {
                        fields.insert("x-sum", value.parse().expect("a value"));
                        stream.send_trailers(fields)
                    }
                };
                None
            }
        }
    }
}

/// A request, as a backend gets it.
pub(super) struct Call {
    pub(super) path: String,
    pub(super) body: Incoming,
    pub(super) answer: Answering,
}

/// What its answer is said by.
pub(super) enum Answering {
    One(WriteHalf<Line>),
    Two(h2::server::SendResponse<Bytes>),
}

impl Answering {
    /// Begins an answer: its only one. `None`: nobody wants it any more.
    pub(super) async fn begin(self, framing: Framing) -> Option<Outgoing> {
        match self {
            Self::One(mut write) => {
                let fields = framing.field();
                let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{fields}\r\n");
                write.write_all(head.as_bytes()).await.ok()?;
                Some(Outgoing::One(write, framing))
            }
            Self::Two(mut respond) => {
                let mut head = http::Response::builder();
                if let Framing::Sized(bytes) = framing {
                    head = head.header("content-length", bytes);
                }
                let head = head.body(()).expect("a head");
                Some(Outgoing::Two(respond.send_response(head, false).ok()?))
            }
        }
    }

    /// Says `text` as it is, where HTTP/1 is spoken.
    pub(super) async fn say(&mut self, text: &str) {
        if let Self::One(write) = self {
            let _ = write.write_all(text.as_bytes()).await;
            let _ = write.flush().await;
        }
    }
}

type Lined = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What it gives back is what an end has to be said by.
pub(super) type Served = Pin<Box<dyn Future<Output = Option<WriteHalf<Line>>> + Send>>;

/// Gives each connection, after its handshake, to `script`; its thread ends with the process.
pub(super) fn listen(
    hop: Hop,
    files: &Files,
    script: impl Fn(Line) -> Lined + Send + Sync + 'static,
) -> SocketAddr {
    let listener = peer::tight_listener();
    listener.set_nonblocking(true).expect("set");
    let address = listener.local_addr().expect("an address");
    let acceptor = hop.is_secured().then(|| {
        let mut config = rustls::ServerConfig::clone(&backend::config(files, None));
        config.alpn_protocols = hop.agreed();
        TlsAcceptor::from(Arc::new(config))
    });
    std::thread::spawn(move || {
        front::run(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            loop {
                let (socket, _) = listener.accept().await.expect("a connection");
                let mut socket = Late::new(socket);
                let Some(acceptor) = &acceptor else {
                    socket.wait(LATE);
                    tokio::spawn(script(Box::new(socket)));
                    continue;
                };
                // One after the other: handshakes are quick.
                if let Ok(mut stream) = acceptor.accept(socket).await {
                    stream.get_mut().0.wait(LATE);
                    tokio::spawn(script(Box::new(stream)));
                }
            }
        })
    });
    address
}

/// A backend of which each call has a connection of its own.
pub(super) fn serve(
    hop: Hop,
    files: &Files,
    script: impl Fn(Call) -> Served + Send + Sync + 'static,
) -> SocketAddr {
    let script = Arc::new(script);
    listen(hop, files, move |line| {
        let script = script.clone();
        Box::pin(async move {
            match hop.is_two() {
                true => two(line, &*script).await,
                false => one(line, &*script).await,
            };
        })
    })
}

type Script = dyn Fn(Call) -> Served + Send + Sync;

async fn one(line: Line, script: &Script) -> Option<()> {
    let (read, write) = tokio::io::split(line);
    let mut one = One::new(read);
    let head = one.head(Framing::None).await.ok()??;
    let path = head.split(' ').nth(1)?.to_owned();
    let call = Call {
        path,
        body: Incoming::One(one),
        answer: Answering::One(write),
    };
    script(call).await?.shutdown().await.ok()
}

async fn two(line: Line, script: &Script) -> Option<()> {
    let mut connection = h2::server::Builder::new()
        .max_concurrent_streams(1)
        .initial_window_size(1 << 24)
        .initial_connection_window_size(1 << 24)
        .handshake(line)
        .await
        .ok()?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request.ok()?;
        tokio::spawn(script(Call {
            path: request.uri().path().to_owned(),
            body: Incoming::Two(request.into_body()),
            answer: Answering::Two(respond),
        }));
        connection.graceful_shutdown();
    }
    Some(())
}

/// How clients shake hands.
pub(super) fn connector(authority: &Authority, hop: Hop) -> Option<TlsConnector> {
    hop.is_secured().then(|| {
        let mut config = client::config(authority);
        config.alpn_protocols = hop.agreed();
        TlsConnector::from(Arc::new(config))
    })
}

/// A client's connection, after its handshake.
pub(super) async fn connect(address: SocketAddr, connector: Option<&TlsConnector>) -> Line {
    let socket = Peer::connect_tight(address);
    let socket = socket.stream().try_clone().expect("a descriptor");
    socket.set_nonblocking(true).expect("set");
    let mut socket = Late::new(TcpStream::from_std(socket).expect("a socket"));
    let Some(connector) = connector else {
        socket.wait(LATE);
        return Box::new(socket);
    };
    let name = ServerName::try_from(NAME).expect("a name");
    let mut stream = connector.connect(name, socket).await.expect("a handshake");
    stream.get_mut().0.wait(LATE);
    Box::new(stream)
}

/// A client's connection of HTTP/2, with wide windows.
pub(super) async fn open_two(line: Line) -> h2::client::SendRequest<Bytes> {
    let opened = h2::client::Builder::new()
        .initial_window_size(1 << 24)
        .initial_connection_window_size(1 << 24)
        .enable_push(false)
        .handshake(line)
        .await;
    let (sender, connection) = opened.expect("HTTP/2");
    tokio::spawn(async {
        let _ = connection.await;
    });
    sender
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) body: Bytes,
    pub(super) framing: Framing,
    /// HTTP/1.0, where that is HTTP/1 at all.
    pub(super) old: bool,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    pub(super) trailers: String,
    pub(super) end: Result<(), String>,
}

impl Ask {
    /// For messages.
    pub(super) fn told(&self) -> String {
        let (method, path, framing, old) = (self.method, &self.path, self.framing, self.old);
        format!("{method} {path}, {framing:?}, old: {old}")
    }

    /// It is HTTP/1.0.
    pub(super) fn is_old(&self, hop: Hop) -> bool {
        self.old && !hop.is_two()
    }

    /// Head and body, as HTTP/1 says them.
    pub(super) fn wire(&self) -> Vec<u8> {
        let version = if self.old { "1.0" } else { "1.1" };
        let (method, path, fields) = (self.method, &self.path, self.framing.field());
        let head = format!(
            "{method} {path} HTTP/{version}\r\nHost: {NAME}\r\nTE: trailers\r\n{fields}\r\n"
        );
        let mut all = head.into_bytes();
        if self.framing != Framing::Chunked {
            all.extend_from_slice(&self.body);
            return all;
        }
        for chunk in self.body.chunks(7_001) {
            all.extend(format!("{:x}\r\n", chunk.len()).as_bytes());
            all.extend_from_slice(chunk);
            all.extend(b"\r\n");
        }
        all.extend(b"0\r\n\r\n");
        all
    }

    /// Asks by HTTP/1, over a connection of its own.
    pub(super) async fn by_one(&self, line: Line) -> Answer {
        let (read, mut write) = tokio::io::split(line);
        let mut one = One::new(read);
        let all = self.wire();
        let send = async {
            // Nobody may want all of it.
            let _ = write.write_all(&all).await;
            let _ = write.flush().await;
        };
        tokio::join!(send, answer(&mut one)).1
    }

    /// Asks by HTTP/2, over a connection of any number of requests.
    pub(super) async fn by_two(&self, sender: h2::client::SendRequest<Bytes>) -> Answer {
        let mut request = http::Request::builder()
            .method(self.method)
            .uri(format!("http://{NAME}{}", self.path))
            .header("te", "trailers");
        if let Framing::Sized(bytes) = self.framing {
            request = request.header("content-length", bytes);
        }
        let request = request.body(()).expect("a request");
        let mut sender = sender.ready().await.expect("a connection");
        let (response, stream) = sender.send_request(request, false).expect("sent");
        let send = async {
            let mut out = Outgoing::Two(stream);
            if out.piece(self.body.clone()).await {
                out.end(None).await;
            }
        };
        let receive = async {
            let (head, body) = match response.await {
                Ok(response) => response.into_parts(),
                Err(error) => return Answer::none(error.to_string()),
            };
            let mut body = Incoming::Two(body);
            let (all, end) = body.all().await;
            Answer {
                status: head.status.as_u16(),
                body: all,
                trailers: body.trailers().await,
                end,
            }
        };
        tokio::join!(send, receive).1
    }
}

impl Answer {
    fn none(why: String) -> Self {
        Self {
            status: 0,
            body: Vec::new(),
            trailers: String::new(),
            end: Err(why),
        }
    }
}

/// The next answer of a connection.
pub(super) async fn answer(one: &mut One) -> Answer {
    let head = match one.head(Framing::UntilClose).await {
        Ok(Some(head)) => head,
        Ok(None) => return Answer::none("closed before an answer".to_owned()),
        Err(why) => return Answer::none(why),
    };
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let (mut body, framing) = (Vec::new(), one.framing);
    let end = loop {
        match one.piece().await {
            Ok(piece) if piece.is_empty() => break Ok(()),
            Ok(piece) => body.extend(piece),
            Err(why) => break Err(format!("{why} ({framing:?})")),
        }
    };
    Answer {
        status: status.expect("a status"),
        body,
        trailers: std::mem::take(&mut one.trailers),
        end,
    }
}
