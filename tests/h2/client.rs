//! A client that says exactly what a test tells it, and takes apart what it is told.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::DEADLINE;
use crate::frames::{self, Answer, End, Frame, PREFACE};
use crate::hpack::Decoder;

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    ahead: Vec<u8>,
    decoder: Decoder,
    answers: BTreeMap<u32, Answer>,
    next: u32,
    /// Gives back what DATA takes of the windows, at once.
    pub(crate) generous: bool,
    /// Last stream and code of each GOAWAY.
    pub(crate) goaways: Vec<(u32, u32)>,
    /// All that came, but for DATA.
    pub(crate) frames: Vec<Frame>,
    /// What the other side lets us send: for the connection, and for each stream on top of what streams begin with.
    windows: BTreeMap<u32, i64>,
    begins_with: i64,
    ended: bool,
}

impl Client {
    /// A greeting with no wishes.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::with(address, &[])
    }

    /// A greeting with these settings.
    pub(crate) fn with(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        Self::silent(address).greeted(settings)
    }

    /// Says its greeting, with these settings.
    pub(crate) fn greeted(self, settings: &[(u16, u32)]) -> Self {
        let mut client = self;
        let greeting = [PREFACE, &frames::settings(settings)].concat();
        client.send(greeting);
        client.until("the settings of the front", |client| {
            let mut frames = client.frames.iter();
            frames.any(|frame| frame.kind == frames::SETTINGS && !frame.has(frames::ACK))
        });
        client
    }

    /// Not a word.
    pub(crate) fn silent(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("the front accepts"))
    }

    /// The same, over a connection that is there.
    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            ahead: Vec::new(),
            decoder: Decoder::default(),
            answers: BTreeMap::new(),
            next: 1,
            generous: true,
            goaways: Vec::new(),
            frames: Vec::new(),
            windows: BTreeMap::from([(0, 65_535)]),
            begins_with: 65_535,
            ended: false,
        }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// False: the other side takes nothing more.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        match self.stream.write_all(bytes.as_ref()) {
            Ok(()) => true,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the other side took nothing for too long")
            }
            Err(_) => false,
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        assert!(self.try_send(bytes), "the other side has gone");
    }

    /// The number of the next stream.
    pub(crate) fn next(&mut self) -> u32 {
        self.next += 2;
        self.next - 2
    }

    /// A request without a body.
    pub(crate) fn ask(&mut self, method: &str, path: &str, fields: &[(&str, &str)]) -> u32 {
        let stream = self.next();
        let all = [&frames::pseudo(method, path), fields].concat();
        self.send(frames::headers(stream, &all, true));
        stream
    }

    /// A request's head, with a body to come.
    pub(crate) fn open(&mut self, method: &str, path: &str, fields: &[(&str, &str)]) -> u32 {
        let stream = self.next();
        let all = [&frames::pseudo(method, path), fields].concat();
        self.send(frames::headers(stream, &all, false));
        stream
    }

    /// A GET and its answer.
    pub(crate) fn get(&mut self, path: &str) -> Answer {
        let stream = self.ask("GET", path, &[]);
        self.answer(stream)
    }

    /// A body, as windows let it.
    pub(crate) fn upload(&mut self, stream: u32, body: &[u8], end: bool) {
        let mut left = body;
        while !left.is_empty() {
            let own = self.windows.get(&stream).copied().unwrap_or(0) + self.begins_with;
            let room = own.min(self.windows[&0]).clamp(0, 16_384) as usize;
            if room == 0 {
                assert!(self.read(), "the connection ended within an upload");
                let answer = self.answers.get(&stream);
                if answer.is_some_and(|answer| answer.end != End::Open) {
                    return;
                }
                continue;
            }
            let (piece, rest) = left.split_at(room.min(left.len()));
            left = rest;
            for window in [0, stream] {
                *self.windows.entry(window).or_default() -= piece.len() as i64;
            }
            if !self.try_send(frames::data(stream, piece, end && rest.is_empty())) {
                return;
            }
        }
        if body.is_empty() && end {
            self.send(frames::data(stream, [], true));
        }
    }

    /// What has come of a stream so far.
    pub(crate) fn so_far(&self, stream: u32) -> Answer {
        self.answers
            .get(&stream)
            .cloned()
            .unwrap_or_else(Answer::new)
    }

    /// Waits for the end of a stream, or of the connection.
    pub(crate) fn answer(&mut self, stream: u32) -> Answer {
        while self.so_far(stream).end == End::Open && self.read() {}
        self.so_far(stream)
    }

    /// Reads until something holds.
    pub(crate) fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        while !holds(self) {
            assert!(self.read(), "the connection ended before: {what}");
        }
    }

    /// Reads to the end of the connection, and ends its own side as clients do, or the front would look for seconds
    /// whether more comes; the code of the last GOAWAY.
    pub(crate) fn farewell(&mut self) -> Option<u32> {
        while self.read() {}
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        self.goaways.last().map(|(_, code)| *code)
    }

    /// The other side has said that nothing more comes.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Takes what has come already.
    pub(crate) fn glance(&mut self) {
        self.stream.set_nonblocking(true).unwrap();
        let mut chunk = [0; 64 * 1024];
        let read = self.stream.read(&mut chunk);
        self.stream.set_nonblocking(false).unwrap();
        if let Ok(bytes) = read {
            self.ended |= bytes == 0;
            self.ahead.extend_from_slice(&chunk[..bytes]);
            self.take_all();
        }
    }

    /// Reads once more, and takes all whole frames; false at the end.
    pub(crate) fn read(&mut self) -> bool {
        let mut chunk = [0; 64 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(bytes) if bytes > 0 => self.ahead.extend_from_slice(&chunk[..bytes]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came for too long; so far {:?}", self.frames)
            }
            _ => {
                self.ended = true;
                return false;
            }
        }
        self.take_all();
        true
    }

    fn take_all(&mut self) {
        let mut at = 0;
        while let Some((frame, length)) = frames::first(&self.ahead[at..]) {
            at += length;
            self.take(frame);
        }
        self.ahead.drain(..at);
    }

    fn take(&mut self, frame: Frame) {
        match frame.kind {
            frames::SETTINGS if !frame.has(frames::ACK) => {
                for pair in frame.payload.chunks(6) {
                    if pair[..2] == [0, 4] {
                        let value = u32::from_be_bytes(pair[2..].try_into().expect("four"));
                        self.begins_with = i64::from(value);
                    }
                }
                self.try_send(frames::frame(frames::SETTINGS, frames::ACK, 0, &[]));
            }
            frames::PING if !frame.has(frames::ACK) => {
                self.try_send(frames::frame(frames::PING, frames::ACK, 0, &frame.payload));
            }
            frames::WINDOW_UPDATE => {
                *self.windows.entry(frame.stream).or_default() += i64::from(frame.number(0));
            }
            frames::GOAWAY => self.goaways.push((frame.number(0), frame.number(4))),
            frames::DATA if self.generous && !frame.payload.is_empty() => {
                let bytes = frame.payload.len() as u32;
                let both = [
                    frames::window_update(0, bytes),
                    frames::window_update(frame.stream, bytes),
                ];
                self.try_send(both.concat());
            }
            _ => {}
        }
        if frame.stream > 0 {
            let answer = self.answers.entry(frame.stream).or_insert_with(Answer::new);
            answer
                .take(&frame, &mut self.decoder)
                .expect("sound frames");
        }
        if frame.kind != frames::DATA {
            self.frames.push(frame);
        }
    }
}
