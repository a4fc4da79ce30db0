//! A backend's connection of HTTP/2: requests are read from frames, and what is played is frames.
//!
//! ```text
//! preface ─▶ the case's greeting ─▶ frames ─▶ streams: head ─▶ next play ─▶ …
//!                                     └ PING, SETTINGS, DATA: answered, and its window opened again
//! ```
//!
//! What a subject sends is held to RFC 9113: a malformed request is told as something unframed.

use std::collections::{BTreeMap, VecDeque};
use std::net::Shutdown;

use crate::answers::{self, ASKED};
use crate::backend::{Act, Connection, Play, Stage, When};
use crate::frames::{
    self, ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PADDED, PING, PREFACE,
    RST_STREAM, SETTINGS,
};
use crate::hpack::{Decoder, Field};
use crate::wire::{self, Framing, Message};

/// A flag of HEADERS: a priority precedes the fields.
const PRIORITY: u8 = 0x20;

/// Fields that HTTP/2 has no use for.
const HOPS: [&str; 5] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

/// A PING of these tests.
const MARK: &[u8; 8] = b"all read";

/// One request.
struct Asked {
    message: Message,
    reset: bool,
}

/// One connection.
pub(crate) struct Streams {
    connection: Connection,
    decoder: Decoder,
    asked: BTreeMap<u32, Asked>,
    /// Heads that nothing was played for yet.
    fresh: VecDeque<u32>,
    /// A head that goes on in the next frame, and how its stream does.
    begun: Option<(u32, u8, Vec<u8>)>,
    /// The last PING was answered.
    ponged: bool,
}

impl Streams {
    /// Nothing of it was read.
    pub(crate) fn new(connection: Connection) -> Self {
        Self {
            connection,
            decoder: Decoder::default(),
            asked: BTreeMap::new(),
            fresh: VecDeque::new(),
            begun: None,
            ponged: false,
        }
    }

    /// Plays to its end.
    pub(crate) fn serve(mut self, greeting: &[u8]) {
        let number = self.connection.number;
        let shared = self.connection.shared.clone();
        if let Err(why) = self.preface(greeting).and_then(|()| self.requests()) {
            shared.with(|stage| stage.unframed = Some(why));
        }
        // Whatever comes now is no request, or belongs to none.
        while self.connection.more() {}
        shared.with(|stage| stage.framed.remove(&number));
    }

    fn preface(&mut self, greeting: &[u8]) -> Result<(), String> {
        while self.connection.received().len() < PREFACE.len() {
            if !self.connection.more() {
                return Ok(());
            }
        }
        if !self.connection.received().starts_with(PREFACE) {
            return Err("no preface of HTTP/2".to_owned());
        }
        self.connection.at += PREFACE.len();
        self.connection.exchange(greeting);
        Ok(())
    }

    fn requests(&mut self) -> Result<(), String> {
        loop {
            while self.fresh.is_empty() {
                if !self.more()? {
                    return Ok(());
                }
            }
            let stream = self.fresh.pop_front().expect("there is one");
            let play = match self.asked[&stream].message.word(1) {
                "/probe" => Play {
                    when: When::Whole,
                    acts: vec![Act::Send(answers::text("probe"))],
                },
                _ => self.connection.shared.with(Stage::next_play),
            };
            if play.when == When::Whole && !self.until(|me| me.is_over(stream))? {
                return Ok(());
            }
            let asked = &self.asked[&stream];
            if play.when == When::Whole && !asked.message.complete {
                continue;
            }
            if !self.play(&play, stream)? {
                return Ok(());
            }
        }
    }

    /// Nothing more comes of this request.
    fn is_over(&self, stream: u32) -> bool {
        let asked = &self.asked[&stream];
        asked.message.complete || asked.reset
    }

    /// False if the connection is closed then.
    fn play(&mut self, play: &Play, stream: u32) -> Result<bool, String> {
        let mut goes_on = true;
        for act in &play.acts {
            goes_on &= self.act(act, stream)?;
        }
        self.connection.shared.with(|stage| stage.done += 1);
        Ok(goes_on)
    }

    fn act(&mut self, act: &Act, stream: u32) -> Result<bool, String> {
        match act {
            Act::Send(bytes) => {
                self.connection.exchange(&addressed(bytes, stream));
                Ok(true)
            }
            Act::AwaitReceived(needle) => self.until(|me| {
                let body = &me.asked[&stream].message.body;
                wire::find(body, needle.as_bytes()).is_some()
            }),
            Act::AwaitReset => self.until(|me| me.asked[&stream].reset),
            Act::AwaitPing => {
                self.ponged = false;
                self.connection.exchange(&frames::frame(PING, 0, 0, MARK));
                self.until(|me| me.ponged)
            }
            Act::AwaitEnd => self.until(|_| false),
            // Read to its end, which is when the subject has seen ours.
            Act::Close => {
                self.connection.shutdown(Shutdown::Write);
                Ok(false)
            }
            _ => Ok(self.connection.act(act)),
        }
    }

    /// Reads until it holds; false if the connection ends before.
    fn until(&mut self, holds: impl Fn(&Self) -> bool) -> Result<bool, String> {
        while !holds(self) {
            if !self.more()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads more, and takes the frames that are whole; false at the end.
    fn more(&mut self) -> Result<bool, String> {
        let mut bytes = self.connection.received();
        while frames::first(&bytes).is_none() {
            if !self.connection.more() {
                return Ok(false);
            }
            bytes = self.connection.received();
        }
        let mut rest = &bytes[..];
        while let Some((frame, length)) = frames::first(rest) {
            rest = &rest[length..];
            self.connection.at += length;
            self.take(frame)?;
        }
        Ok(true)
    }

    fn take(&mut self, frame: Frame) -> Result<(), String> {
        let ends = frame.has(END_STREAM);
        match frame.kind {
            SETTINGS if !frame.has(ACK) => {
                let known = frames::frame(SETTINGS, ACK, 0, &[]);
                self.connection.exchange(&known);
            }
            PING if frame.has(ACK) => self.ponged |= frame.payload == MARK,
            PING => {
                let back = frames::frame(PING, ACK, 0, &frame.payload);
                self.connection.exchange(&back);
            }
            HEADERS => {
                let block = content(&frame)?;
                self.block(frame.stream, frame.flags, block)?;
            }
            CONTINUATION => {
                let (stream, flags, begun) = self.begun.take().ok_or("a head without beginning")?;
                let block = [begun, frame.payload].concat();
                self.block(stream, flags | frame.flags & END_HEADERS, block)?;
            }
            DATA => {
                let length = frame.payload.len() as u32;
                let asked = self.asked.get_mut(&frame.stream);
                let asked = asked.ok_or("DATA of a stream without a head")?;
                asked.message.body.extend(content(&frame)?);
                if length > 0 {
                    let widened = [0, frame.stream].map(|id| frames::window_update(id, length));
                    self.connection.exchange(&widened.concat());
                }
                if ends {
                    self.end(frame.stream)?;
                }
            }
            RST_STREAM => {
                if let Some(asked) = self.asked.get_mut(&frame.stream) {
                    asked.reset = true;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A head, or trailers, or the beginning of one.
    fn block(&mut self, stream: u32, flags: u8, block: Vec<u8>) -> Result<(), String> {
        if flags & END_HEADERS == 0 {
            self.begun = Some((stream, flags, block));
            return Ok(());
        }
        let fields = self.decoder.read(&block)?;
        match self.asked.get_mut(&stream) {
            Some(asked) => {
                let lines = fields
                    .iter()
                    .map(|(name, value)| format!("{name}: {value}"));
                asked.message.trailers = lines.collect();
            }
            None => {
                let message = request(fields)?;
                let told = message.fields.iter();
                let told = told.map(|(name, value)| format!("{name}: {value}\r\n"));
                let told = format!("{}\r\n{}", message.start, told.collect::<String>());
                let shared = &self.connection.shared;
                shared.with(|stage| stage.heads.extend(told.bytes()));
                let reset = false;
                self.asked.insert(stream, Asked { message, reset });
                self.fresh.push_back(stream);
            }
        }
        match flags & END_STREAM {
            0 => Ok(()),
            _ => self.end(stream),
        }
    }

    /// The request is whole, if it is as long as it says.
    fn end(&mut self, stream: u32) -> Result<(), String> {
        let asked = self.asked.get_mut(&stream).expect("it has begun");
        let message = &mut asked.message;
        let length = message.body.len().to_string();
        if message.has("content-length") && message.one("content-length") != Some(&length) {
            return Err(format!("{length} bytes of {:?}", message.fields));
        }
        message.complete = true;
        if message.word(1) != "/probe" {
            let seen = (self.connection.number, message.clone());
            self.connection
                .shared
                .with(|stage| stage.requests.push(seen));
        }
        Ok(())
    }
}

/// A frame's payload without padding and priority.
fn content(frame: &Frame) -> Result<Vec<u8>, String> {
    let mut payload = &frame.payload[..];
    if frame.has(PADDED) {
        let (length, rest) = payload.split_first().ok_or("no length of padding")?;
        let content = rest.len().checked_sub((*length).into());
        payload = &rest[..content.ok_or("padding longer than its frame")?];
    }
    if frame.kind == HEADERS && frame.has(PRIORITY) {
        payload = payload.get(5..).ok_or("a priority cut short")?;
    }
    Ok(payload.to_vec())
}

/// Fields as a request; `:authority` is its Host.
fn request(fields: Vec<Field>) -> Result<Message, String> {
    let pseudo = fields.iter().take_while(|(name, _)| name.starts_with(':'));
    let (pseudo, fields) = fields.split_at(pseudo.count());
    let one = |wanted: &str| {
        let mut found = pseudo.iter().filter(|(name, _)| name == wanted);
        let value = found.next().map(|(_, value)| value.as_str());
        match found.next() {
            None => Ok(value),
            Some(_) => Err(format!("{wanted} twice: {pseudo:?}")),
        }
    };
    let known = [":method", ":scheme", ":path", ":authority"];
    if let Some((name, _)) = pseudo.iter().find(|(name, _)| !known.contains(&&**name)) {
        return Err(format!("{name} in a request"));
    }
    let [Some(method), Some(_), Some(path)] = [one(known[0])?, one(known[1])?, one(known[2])?]
    else {
        return Err(format!("not all pseudo-fields: {pseudo:?}"));
    };
    for (name, value) in fields {
        let small = |byte| wire::is_token(byte) && !byte.is_ascii_uppercase();
        let hop = HOPS.contains(&&**name) || name == "te" && value != "trailers";
        if name.is_empty()
            || !name.bytes().all(small)
            || hop
            || value.trim_matches([' ', '\t']) != value
        {
            return Err(format!("no field of HTTP/2: {name:?}: {value:?}"));
        }
        wire::check_line(value)?;
    }
    let host = one(known[3])?.map(|host| ("host".to_owned(), host.to_owned()));
    Ok(Message {
        start: format!("{method} {path} HTTP/2"),
        fields: host.into_iter().chain(fields.iter().cloned()).collect(),
        body: Vec::new(),
        framing: Framing::None,
        trailers: Vec::new(),
        complete: false,
    })
}

/// The bytes with the number of a stream where they say `ASKED`; the bit before it stays.
fn addressed(bytes: &[u8], stream: u32) -> Vec<u8> {
    let [first, rest @ ..] = ASKED.to_be_bytes();
    let mut bytes = bytes.to_vec();
    let mut at = 1;
    while let Some(found) = wire::find(&bytes[at..], &rest) {
        let before = at + found - 1;
        if bytes[before] & 0x7f == first {
            let bit = u32::from(bytes[before] & 0x80) << 24;
            bytes[before..][..4].copy_from_slice(&(stream | bit).to_be_bytes());
        }
        at += found + rest.len();
    }
    bytes
}
