//! One end of a connection, for tests: reads heads and bodies byte by byte, hides nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use rand::RngExt;
use socket2::{Domain, Socket, Type};

use crate::DEADLINE;

/// A socket and what was read too far.
pub(crate) struct Peer {
    stream: TcpStream,
    ahead: Vec<u8>,
    /// How much is read at once, and the pause before.
    room: usize,
    pause: Duration,
    /// The connection ended by a reset.
    broken: bool,
}

/// A message, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Start line and fields as they came, without the empty line.
    pub head: String,
    /// Without its framing.
    pub body: Vec<u8>,
    /// The body ended as its framing promised.
    pub complete: bool,
}

impl Message {
    /// `GET / HTTP/1.1` or `HTTP/1.1 200 OK`.
    pub(crate) fn start(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// The status of a response.
    pub(crate) fn status(&self) -> u16 {
        let word = self.start().split(' ').nth(1);
        word.and_then(|word| word.parse().ok())
            .unwrap_or_else(|| panic!("no status: {:?}", self.head))
    }

    /// All values of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1);
        let fields = lines.filter_map(|line| line.split_once(':'));
        fields
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    /// The only value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} twice: {:?}", self.head);
        all.first().copied()
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a text body")
    }
}

impl Peer {
    /// As a client.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).expect("the front accepts"))
    }

    /// As a client to whom the front's kernel takes little at once, as on a network: on loopback it takes megabytes.
    pub(crate) fn connect_narrow(address: SocketAddr) -> Self {
        let socket =
            Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        crate::toy::narrow(&socket);
        socket.connect(&address.into()).expect("the front accepts");
        Self::new(socket.into())
    }

    /// The same, and as little as there can be.
    pub(crate) fn connect_tight(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        tight(&socket);
        let source = SocketAddr::from((unheard_of(), 0));
        socket
            .bind(&source.into())
            .expect("all of 127.0.0.0/8 is ours");
        socket.connect(&address.into()).expect("the front accepts");
        Self::new(socket.into())
    }

    /// Of an accepted connection.
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            ahead: Vec::new(),
            room: 16 * 1024,
            pause: Duration::ZERO,
            broken: false,
        }
    }

    /// The socket.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends all of it. False: the other side has gone.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        match self.stream.write_all(bytes.as_ref()) {
            Ok(()) => true,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the other side took nothing for too long")
            }
            Err(_) => false,
        }
    }

    /// Sends all of it.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        assert!(self.try_send(bytes), "the other side has gone");
    }

    /// A request without a body, and its answer.
    pub(crate) fn get(&mut self, path: &str) -> Message {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        self.response("GET")
    }

    /// A request with a body, and its answer.
    pub(crate) fn request(&mut self, method: &str, path: &str, body: &[u8]) -> Message {
        self.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n",
            body.len()
        ));
        self.send(body);
        self.response(method)
    }

    /// Closes with a reset.
    pub(crate) fn reset(self) {
        self.reset_at_end();
    }

    /// Once it is closed, it will be with a reset.
    pub(crate) fn reset_at_end(&self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// From now on it reads at most `room` bytes at once, after a pause.
    pub(crate) fn slow_down(&mut self, room: usize, pause: Duration) {
        (self.room, self.pause) = (room, pause);
    }

    /// Reads more; false at the end, also at one by reset.
    fn more(&mut self) -> bool {
        let mut chunk = [0; 16 * 1024];
        if !self.pause.is_zero() {
            std::thread::sleep(self.pause);
        }
        match self.stream.read(&mut chunk[..self.room]) {
            Ok(0) => false,
            Ok(bytes) => {
                self.ahead.extend_from_slice(&chunk[..bytes]);
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!(
                    "nothing came for too long; so far: {:?}",
                    String::from_utf8_lossy(&self.ahead[..self.ahead.len().min(300)])
                )
            }
            Err(_) => {
                self.broken = true;
                false
            }
        }
    }

    /// A head, or `None` if the connection ended before it.
    pub(crate) fn try_head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = find(&self.ahead, b"\r\n\r\n") {
                let head: Vec<u8> = self.ahead.drain(..end + 4).collect();
                return Some(String::from_utf8(head[..end].to_vec()).expect("a text head"));
            }
            if !self.more() {
                return None;
            }
        }
    }

    /// Exactly that many bytes, or as many as came.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.ahead.len() < count && self.more() {}
        let count = count.min(self.ahead.len());
        self.ahead.drain(..count).collect()
    }

    /// Whatever came, once something has; nothing: the end, also one by reset.
    pub(crate) fn some(&mut self) -> Vec<u8> {
        if self.ahead.is_empty() {
            self.more();
        }
        std::mem::take(&mut self.ahead)
    }

    /// Everything up to and with `mark`.
    pub(crate) fn until(&mut self, mark: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = find(&self.ahead, mark) {
                return self.ahead.drain(..at + mark.len()).collect();
            }
            if !self.more() {
                return std::mem::take(&mut self.ahead);
            }
        }
    }

    /// Says that nothing more comes.
    pub(crate) fn end(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = find(&self.ahead, b"\r\n") {
                let line: Vec<u8> = self.ahead.drain(..end + 2).collect();
                return Some(String::from_utf8(line[..end].to_vec()).expect("a text line"));
            }
            if !self.more() {
                return None;
            }
        }
    }

    fn chunked(&mut self) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        loop {
            let Some(size) = self.line() else {
                return (body, false);
            };
            let size = usize::from_str_radix(&size, 16).expect("a chunk size");
            let chunk = self.bytes(size);
            let whole = chunk.len() == size;
            body.extend(chunk);
            if !whole || self.line().is_none() {
                return (body, false);
            }
            if size == 0 {
                return (body, true);
            }
        }
    }

    fn body(&mut self, message: Message, to_the_end: bool) -> Message {
        let (body, complete) = if message.field("transfer-encoding") == Some("chunked") {
            self.chunked()
        } else if let Some(length) = message.field("content-length") {
            let length = length.parse().expect("a length");
            let body = self.bytes(length);
            let complete = body.len() == length;
            (body, complete)
        } else if to_the_end {
            (self.rest(), true)
        } else {
            (Vec::new(), true)
        };
        Message {
            body,
            complete,
            ..message
        }
    }

    /// A whole request, or `None` if the connection ended before its head.
    pub(crate) fn try_request(&mut self) -> Option<Message> {
        let head = self.try_head()?;
        let message = Message {
            head,
            body: Vec::new(),
            complete: false,
        };
        Some(self.body(message, false))
    }

    /// A whole response to a request with this method, 1xx skipped; `None` if the connection ended.
    pub(crate) fn try_response(&mut self, method: &str) -> Option<Message> {
        loop {
            let message = Message {
                head: self.try_head()?,
                body: Vec::new(),
                complete: true,
            };
            let status = message.status();
            if (100..200).contains(&status) {
                continue;
            }
            if method == "HEAD" || status == 204 || status == 304 {
                return Some(message);
            }
            return Some(self.body(message, true));
        }
    }

    /// A whole response to a request with this method.
    pub(crate) fn response(&mut self, method: &str) -> Message {
        self.try_response(method).expect("a response")
    }

    /// Everything up to the end of the connection.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.ahead)
    }

    /// Everything up to the end of the connection, and whether that was a plain one.
    pub(crate) fn rest_and_end(&mut self) -> (Vec<u8>, bool) {
        let rest = self.rest();
        (rest, !self.broken)
    }

    /// Waits for the other side to say that nothing more comes, which a reset does not.
    pub(crate) fn assert_ended_in_order(&mut self) {
        assert_eq!(String::from_utf8_lossy(&self.ahead), "");
        let read = self.stream.read(&mut [0]);
        assert!(matches!(read, Ok(0)), "{read:?}");
    }

    /// Waits for the other side to say that something went wrong, which a plain close does not.
    pub(crate) fn assert_reset(&mut self) {
        let read = self.stream.read(&mut [0]);
        let error = read.expect_err("neither bytes nor a plain end");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }

    /// Holds back what is sent from now on, until there is a lot of it or the connection ends.
    pub(crate) fn cork(&self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_tcp_cork(true).unwrap();
    }

    /// Waits for the other side to close without another word.
    pub(crate) fn assert_closed(&mut self) {
        assert_eq!(String::from_utf8_lossy(&self.rest()), "");
    }
}

/// Listens where the kernel of whoever sends takes about 15 kB at once, and not megabytes.
pub(crate) fn tight_listener() -> TcpListener {
    let listener = TcpListener::bind((unheard_of(), 0)).expect("a port");
    tight(&listener);
    listener
}

/// The smallest packets, and the smallest buffer to receive into; for a listener, those of its connections.
fn tight(socket: impl AsFd) {
    let socket = socket2::SockRef::from(&socket);
    socket.set_tcp_mss(256).expect("a TCP socket");
    socket.set_recv_buffer_size(1).expect("a socket");
}

/// An address of loopback that kernels remember nothing of (`ip tcp_metrics`): once much has gone to one, they take
/// megabytes for it at once, whatever its sockets say.
fn unheard_of() -> Ipv4Addr {
    let mut dice = lb::clock::random();
    let mut byte = || dice.random_range(1..=254);
    Ipv4Addr::new(127, byte(), byte(), byte())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
