//! A backend that speaks HTTP/2 frame by frame, as a test tells it. It understands no field: calls are known by their
//! order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::peer::Peer;
use crate::toy::{Then, Toy};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const INTERNAL_ERROR: u32 = 2;

/// `:status: 200`.
pub(crate) const OK: &[u8] = &[0x88];

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub id: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn ends(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    /// The number in it, of a reset or of a window.
    pub(crate) fn number(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().expect("four bytes"))
    }
}

/// A field, as an answer's head or trailers have it.
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    let mut block = vec![0, name.len() as u8];
    block.extend_from_slice(name.as_bytes());
    block.push(value.len() as u8);
    block.extend_from_slice(value.as_bytes());
    block
}

/// One connection.
pub(crate) struct Wire {
    pub peer: Peer,
}

impl Wire {
    /// Reads the preface, and says how many requests it takes at once.
    pub(crate) fn open(mut peer: Peer, streams: Option<u32>) -> Option<Self> {
        let preface = peer.bytes(24);
        if preface != b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
            return None;
        }
        let mut wire = Self { peer };
        let mut settings = Vec::new();
        if let Some(streams) = streams {
            settings.extend_from_slice(&[0, 3]);
            settings.extend_from_slice(&streams.to_be_bytes());
        }
        wire.send(SETTINGS, 0, 0, &settings);
        Some(wire)
    }

    /// `None`: it has ended.
    pub(crate) fn read(&mut self) -> Option<Frame> {
        let head: [u8; 9] = self.peer.bytes(9).try_into().ok()?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let payload = self.peer.bytes(length);
        let frame = Frame {
            kind,
            flags,
            id: u32::from_be_bytes(id),
            payload,
        };
        match (frame.kind, frame.flags) {
            (SETTINGS, 0) => self.send(SETTINGS, ACK, 0, &[]),
            (PING, 0) => self.send(PING, ACK, 0, &frame.payload.clone()),
            _ => true,
        };
        (frame.payload.len() == length).then_some(frame)
    }

    /// False: the other side has gone.
    pub(crate) fn send(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) -> bool {
        let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
        let mut bytes = vec![a, b, c, kind, flags];
        bytes.extend_from_slice(&id.to_be_bytes());
        bytes.extend_from_slice(payload);
        self.peer.try_send(bytes)
    }

    /// An answer's head.
    pub(crate) fn head(&mut self, id: u32, block: &[u8], end: bool) -> bool {
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.send(HEADERS, flags, id, block)
    }

    /// `200` with a text.
    pub(crate) fn answer(&mut self, id: u32, text: &str) {
        self.head(id, OK, false);
        self.send(DATA, END_STREAM, id, text.as_bytes());
    }

    pub(crate) fn reset(&mut self, id: u32, code: u32) -> bool {
        self.send(RST_STREAM, 0, id, &code.to_be_bytes())
    }

    /// Nothing above `last` is or will be looked at.
    pub(crate) fn go_away(&mut self, last: u32) -> bool {
        let mut payload = last.to_be_bytes().to_vec();
        payload.extend_from_slice(&[0; 4]);
        self.send(GOAWAY, 0, 0, &payload)
    }

    /// Room for more of a request's body.
    pub(crate) fn widen(&mut self, id: u32, bytes: u32) {
        for id in [0, id] {
            self.send(WINDOW_UPDATE, 0, id, &bytes.to_be_bytes());
        }
    }
}

/// One whole request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub id: u32,
    /// Of the connection.
    pub conn: usize,
    pub body: Vec<u8>,
}

/// What a backend has seen.
#[derive(Clone, Default)]
pub(crate) struct Calls(Arc<Mutex<Vec<Call>>>);

impl Calls {
    pub(crate) fn all(&self) -> Vec<Call> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// Gives each whole request, with its number from 0 on over all connections, to `script`.
pub(crate) fn scripted(
    streams: Option<u32>,
    script: impl Fn(&Call, usize, &mut Wire) -> Then + Send + Sync + 'static,
) -> (Toy, Calls) {
    let calls = Calls::default();
    let seen = calls.clone();
    let toy = Toy::raw(move |peer, number| {
        let Some(mut wire) = Wire::open(peer, streams) else {
            return;
        };
        let mut bodies: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        while let Some(frame) = wire.read() {
            match frame.kind {
                HEADERS => drop(bodies.insert(frame.id, Vec::new())),
                DATA => {
                    if let Some(body) = bodies.get_mut(&frame.id) {
                        body.extend_from_slice(&frame.payload);
                    }
                    if !frame.payload.is_empty() {
                        wire.widen(frame.id, frame.payload.len() as u32);
                    }
                }
                _ => {}
            }
            let Some(body) = frame.ends().then(|| bodies.remove(&frame.id)).flatten() else {
                continue;
            };
            let call = Call {
                id: frame.id,
                conn: number,
                body,
            };
            let number = {
                let mut seen = seen.0.lock().unwrap();
                seen.push(call.clone());
                seen.len() - 1
            };
            match script(&call, number, &mut wire) {
                Then::Keep => {}
                Then::Close => return,
                Then::Reset => return wire.peer.reset(),
            }
        }
    });
    (toy, calls)
}

/// Answers everything with `200` and its name.
pub(crate) fn named(name: &'static str) -> (Toy, Calls) {
    scripted(None, move |call, _, wire| {
        wire.answer(call.id, name);
        Then::Keep
    })
}
