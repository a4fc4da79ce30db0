//! HTTP/2 frames for tests (RFC 9113 §4): written as told, also where that is wrong, and read from bytes.

use crate::hpack::{self, Decoder, Field};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The payload's number at `at`.
    pub(crate) fn number(&self, at: usize) -> u32 {
        let bytes = self.payload.get(at..at + 4);
        bytes.map_or(0, |bytes| {
            u32::from_be_bytes(bytes.try_into().expect("four"))
        })
    }
}

/// Its bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// HEADERS, in one frame.
pub(crate) fn headers(stream: u32, fields: &[(&str, &str)], end: bool) -> Vec<u8> {
    let fields: Vec<(&[u8], &[u8])> = fields
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    let flags = END_HEADERS | if end { END_STREAM } else { 0 };
    frame(HEADERS, flags, stream, &hpack::block(&fields))
}

pub(crate) fn data(stream: u32, bytes: impl AsRef<[u8]>, end: bool) -> Vec<u8> {
    frame(DATA, u8::from(end), stream, bytes.as_ref())
}

pub(crate) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// GOAWAY: nothing above `last` was or will be looked at.
pub(crate) fn goaway(last: u32, code: u32) -> Vec<u8> {
    let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
    frame(GOAWAY, 0, 0, &payload)
}

pub(crate) fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

pub(crate) fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in pairs {
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &payload)
}

/// A GET and the like, with what every request has.
pub(crate) fn pseudo<'f>(method: &'f str, path: &'f str) -> Vec<(&'f str, &'f str)> {
    vec![
        (":method", method),
        (":scheme", "http"),
        (":authority", "test"),
        (":path", path),
    ]
}

/// How much of `bytes` the first frame takes, if it is whole.
pub(crate) fn first(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (head, rest) = bytes.split_at_checked(9)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let payload = rest.get(..length)?.to_vec();
    let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
    let frame = Frame {
        kind: head[3],
        flags: head[4],
        stream,
        payload,
    };
    Some((frame, 9 + length))
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It did not.
    Open,
    /// END_STREAM.
    Whole,
    /// RST_STREAM, with this code.
    Reset(u32),
}

/// What came on one stream.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// 1xx.
    pub(crate) interim: Vec<Vec<Field>>,
    /// Final, `:status` first; none: no head came.
    pub(crate) fields: Vec<Field>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<Vec<Field>>,
    pub(crate) end: End,
    /// DATA frames.
    pub(crate) pieces: usize,
}

impl Answer {
    pub(crate) fn new() -> Self {
        Self {
            interim: Vec::new(),
            fields: Vec::new(),
            body: Vec::new(),
            trailers: None,
            end: End::Open,
            pieces: 0,
        }
    }

    pub(crate) fn status(&self) -> u16 {
        let status = self.field(":status");
        status.and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let same = self.fields.iter().filter(|(known, _)| known == name);
        same.map(|(_, value)| value.as_str()).collect()
    }

    /// The only one of this name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        (all.len() == 1).then(|| all[0])
    }

    pub(crate) fn trailer(&self, name: &str) -> Option<&str> {
        let trailers = self.trailers.as_ref()?;
        let found = trailers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A HEADERS frame with all its fields, or DATA, or RST_STREAM.
    pub(crate) fn take(&mut self, frame: &Frame, decoder: &mut Decoder) -> Result<(), String> {
        match frame.kind {
            HEADERS => {
                if !frame.has(END_HEADERS) {
                    return Err(
                        "a head in several frames, which these tests do not read".to_owned()
                    );
                }
                let fields = decoder.read(&frame.payload)?;
                let interim = fields
                    .first()
                    .is_some_and(|(name, value)| name == ":status" && value.starts_with('1'));
                if interim {
                    self.interim.push(fields);
                } else if self.fields.is_empty() {
                    self.fields = fields;
                } else {
                    self.trailers = Some(fields);
                }
            }
            DATA => {
                self.body.extend_from_slice(&frame.payload);
                self.pieces += 1;
            }
            // Only says that the rest of the request is not wanted.
            RST_STREAM if self.end == End::Whole && frame.number(0) == 0 => {}
            RST_STREAM => self.end = End::Reset(frame.number(0)),
            _ => return Ok(()),
        }
        if matches!(frame.kind, HEADERS | DATA) && frame.has(END_STREAM) {
            self.end = End::Whole;
        }
        Ok(())
    }
}
