//! One client: its requests one after another, its streams in between.
//!
//! ```text
//! read ─▶ input ─▶ header ─▶ may it? ─▶ body ─▶ session's own, or a call to the member (one at a time)
//!                                                        │
//! write ◀─ out ◀─────────────── replies ◀────────────────┘
//!           ▲────────────────── records, while `out` is short
//! ```
//!
//! One task owns it all. Nothing is read while a call is under way, and no record is taken while the client has
//! not read what it got, so that memory is bounded whatever the client does.

use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::call::{self, NO_QUERY, Outcome};
use super::filter::{EventFilter, MemberFilter, filtered};
use super::membership::Membership;
use super::reply;
use super::request::{Header, Request, Wanted};
use super::streams::Streams;
use super::{Secret, VERSION};
use crate::gossip::core::wire::WireError;
use crate::{clock, log};

/// Every wait and every size of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// One request of a client that may command. Serf has no limit; a payload of a kilobyte is refused already.
    pub(super) request_bytes: usize,
    /// One request of a client that has not said who it is.
    pub(super) greeting_bytes: usize,
    /// Sent and not taken by the client, beyond which no record is added.
    pub(super) out_bytes: usize,
    /// Until handshake and authentication are done.
    pub(super) greeting: Duration,
    /// A client that takes nothing for so long is gone.
    pub(super) stall: Duration,
    /// Wrong keys before the connection ends.
    pub(super) wrong_keys: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes: 128 << 10,
            greeting_bytes: 4 << 10,
            out_bytes: 64 << 10,
            greeting: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            wrong_keys: 3,
        }
    }
}

/// Why a session ends, where the client did not just go.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("connection lost: {0}")]
    Io(#[from] std::io::Error),
    #[error("request is not understood: {0}")]
    Malformed(WireError),
    #[error("request is larger than {0} bytes")]
    TooLarge(usize),
    #[error("no handshake, or no key, within {0:?}")]
    Silent(Duration),
    #[error("it has not read for {0:?}")]
    Stalled(Duration),
    #[error("no handshake came first")]
    NoHandshake,
    #[error("too many wrong keys")]
    WrongKeys,
    #[error("no command {0:?}")]
    Unknown(String),
    #[error("bad regular expression: {0}")]
    Pattern(regex_lite::Error),
}

type Call = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// The state of one client.
pub(super) struct Session<M> {
    membership: M,
    auth: Option<Secret>,
    limits: Limits,
    input: Vec<u8>,
    /// The header whose body is awaited.
    header: Option<Header>,
    /// How long `input` must be before another try makes sense.
    wanted: usize,
    out: Vec<u8>,
    /// Bytes of `out` that are on their way.
    sent: usize,
    greeted: bool,
    authorised: bool,
    wrong_keys: u32,
    streams: Streams,
    call: Option<(u64, Call)>,
    /// To be sent, and then the connection ends.
    last: Option<Ended>,
    left: bool,
}

/// What woke it.
enum Wake {
    Read(usize),
    Written(usize),
    Done(u64, Outcome),
    Record(Vec<u8>),
    Late(Ended),
}

impl<M: Membership> Session<M> {
    pub(super) fn new(membership: M, auth: Option<Secret>, limits: Limits) -> Self {
        Self {
            membership,
            authorised: auth.is_none(),
            auth,
            limits,
            input: Vec::new(),
            header: None,
            wanted: 0,
            out: Vec::new(),
            sent: 0,
            greeted: false,
            wrong_keys: 0,
            streams: Streams::new(),
            call: None,
            last: None,
            left: false,
        }
    }

    /// Until the client goes or is to go; `left` is called once a client has its answer to `leave`.
    pub(super) async fn run(mut self, mut stream: TcpStream, left: impl Fn()) -> Result<(), Ended> {
        let (mut reader, mut writer) = stream.split();
        let greeting = clock::now() + self.limits.greeting;
        let mut progress = clock::now();
        let mut open = true;
        loop {
            self.take_requests();
            if self.out.is_empty() {
                if self.left {
                    left();
                    self.left = false;
                }
                if let Some(why) = self.last {
                    return Err(why);
                }
                if !open && self.call.is_none() {
                    return Ok(());
                }
            }
            let room = self.out.len() < self.limits.out_bytes && self.last.is_none();
            let reads = open && room && self.call.is_none();
            let due = self.due(greeting, progress);
            let wake = tokio::select! {
                read = reader.read_buf(&mut self.input), if reads => Wake::Read(read?),
                written = writer.write(&self.out[self.sent..]), if !self.out.is_empty() => {
                    Wake::Written(written?)
                }
                done = answered(&mut self.call) => Wake::Done(done.0, done.1),
                record = self.streams.next(clock::now), if room => Wake::Record(record),
                late = late(due) => Wake::Late(late),
            };
            match wake {
                Wake::Read(0) => open = false,
                Wake::Read(_) => {}
                Wake::Written(bytes) => {
                    progress = clock::now();
                    self.written(bytes);
                }
                Wake::Done(seq, outcome) => {
                    self.call = None;
                    self.take_outcome(seq, outcome);
                    progress = clock::now();
                }
                Wake::Record(bytes) => {
                    if self.out.is_empty() {
                        progress = clock::now();
                    }
                    self.out.extend(bytes);
                }
                Wake::Late(why) => return Err(why),
            }
        }
    }

    fn due(&self, greeting: Instant, progress: Instant) -> Option<(Instant, Ended)> {
        if !self.greeted || !self.authorised {
            return Some((greeting, Ended::Silent(self.limits.greeting)));
        }
        let stall = self.limits.stall;
        (!self.out.is_empty()).then(|| (progress + stall, Ended::Stalled(stall)))
    }

    fn written(&mut self, bytes: usize) {
        self.sent += bytes;
        if self.sent == self.out.len() {
            self.sent = 0;
            // A long answer is not kept as memory for the next short one.
            self.out = Vec::new();
        }
    }

    /// Takes whole requests from the input, until one needs the member, more bytes, or a reader.
    fn take_requests(&mut self) {
        while self.call.is_none() && self.last.is_none() && self.out.len() < self.limits.out_bytes {
            if self.input.len() < self.wanted || self.input.is_empty() {
                return;
            }
            match self.take_one() {
                Ok(true) => self.wanted = 0,
                Ok(false) => {
                    let max = self.request_bytes_max();
                    if self.input.len() >= max {
                        self.last = Some(Ended::TooLarge(max));
                    }
                    return;
                }
                Err(why) => self.last = Some(why),
            }
        }
    }

    fn request_bytes_max(&self) -> usize {
        if self.greeted && self.authorised {
            self.limits.request_bytes
        } else {
            self.limits.greeting_bytes
        }
    }

    /// A header or a body, if it is whole.
    fn take_one(&mut self) -> Result<bool, Ended> {
        let Some(header) = &self.header else {
            return match Header::read(&self.input) {
                Ok((header, length)) => {
                    self.input.drain(..length);
                    self.open(header)?;
                    Ok(true)
                }
                Err(WireError::Truncated) => self.more(),
                Err(error) => Err(Ended::Malformed(error)),
            };
        };
        match Request::read(&header.command, &self.input) {
            Ok(Some((request, length))) => {
                let seq = header.seq;
                self.header = None;
                self.input.drain(..length);
                if self.input.is_empty() {
                    self.input = Vec::new();
                }
                self.obey(seq, request)?;
                Ok(true)
            }
            Ok(None) => {
                let Header { command, seq } = self.header.take().unwrap_or_default();
                self.reply(seq, "Unsupported command");
                Err(Ended::Unknown(command))
            }
            Err(WireError::Truncated) => self.more(),
            Err(error) => Err(Ended::Malformed(error)),
        }
    }

    fn more(&mut self) -> Result<bool, Ended> {
        // Read again only where there is news; reading the same bytes for each byte that comes would be quadratic.
        self.wanted = (self.input.len() + 1).max(self.wanted);
        Ok(false)
    }

    /// What the header alone decides. A request without a body is obeyed at once.
    fn open(&mut self, header: Header) -> Result<(), Ended> {
        if !self.greeted && header.command != "handshake" {
            self.reply(header.seq, "Handshake required");
            return Err(Ended::NoHandshake);
        }
        // An empty input makes a request only of a command that has no body.
        match Request::read(&header.command, &[]) {
            Ok(Some((request, _))) => self.obey(header.seq, request),
            Ok(None) => {
                self.reply(header.seq, "Unsupported command");
                Err(Ended::Unknown(header.command))
            }
            Err(_) => {
                self.header = Some(header);
                Ok(())
            }
        }
    }

    fn reply(&mut self, seq: u64, error: &str) {
        self.out.extend(reply::header(seq, error).finish());
    }

    fn obey(&mut self, seq: u64, request: Request) -> Result<(), Ended> {
        let greets = matches!(request, Request::Handshake { .. } | Request::Auth { .. });
        if !greets && !self.authorised {
            // Serf leaves the body where it is and reads it as the next request; we have taken it.
            self.reply(seq, "Authentication required");
            return Ok(());
        }
        match request {
            Request::Handshake { version } => self.handshake(seq, version),
            Request::Auth { key } => return self.authenticate(seq, &key),
            Request::Members => return self.members(seq, &Wanted::default()),
            Request::MembersFiltered(wanted) => return self.members(seq, &wanted),
            Request::Stream { filters } => self.stream(seq, &filters),
            Request::Monitor { level } => self.monitor(seq, &level),
            Request::Stop { stop } => {
                self.streams.stop(stop);
                self.reply(seq, "");
            }
            Request::Respond { id, payload } => match self.streams.pending(id, clock::now()) {
                Some(query) => {
                    let membership = self.membership.clone();
                    let call = call::respond(membership, seq, query, payload);
                    self.call = Some((seq, Box::pin(call)));
                }
                None => self.reply(seq, NO_QUERY),
            },
            Request::Query(_) if self.streams.is_full() => self.reply(seq, TOO_MANY),
            request => {
                let call = call::call(self.membership.clone(), seq, request);
                self.call = Some((seq, Box::pin(call)));
            }
        }
        Ok(())
    }

    fn handshake(&mut self, seq: u64, version: i64) {
        if version != VERSION {
            self.reply(seq, "Unsupported IPC version");
        } else if self.greeted {
            self.reply(seq, "Handshake already performed");
        } else {
            self.greeted = true;
            self.reply(seq, "");
        }
    }

    fn authenticate(&mut self, seq: u64, key: &str) -> Result<(), Ended> {
        // Serf's key is empty where none is wanted, and an empty one is right then.
        let right = match &self.auth {
            Some(secret) => secret.is(key),
            None => key.is_empty(),
        };
        if right {
            self.authorised = true;
            self.reply(seq, "");
            return Ok(());
        }
        self.reply(seq, "Invalid authentication token");
        self.wrong_keys += 1;
        if self.wrong_keys >= self.limits.wrong_keys {
            return Err(Ended::WrongKeys);
        }
        Ok(())
    }

    fn members(&mut self, seq: u64, wanted: &Wanted) -> Result<(), Ended> {
        let filter = MemberFilter::new(wanted).map_err(Ended::Pattern)?;
        let members = self.membership.members();
        let mut w = reply::header(seq, "");
        let passed = filtered(members.by_name.values(), &filter);
        reply::members(&mut w, passed.into_iter());
        self.out.extend(w.finish());
        Ok(())
    }

    fn stream(&mut self, seq: u64, filters: &str) {
        let Some(filter) = EventFilter::parse(filters) else {
            return self.reply(seq, "Invalid event filter");
        };
        if self.streams.has_events(seq) {
            return self.reply(seq, "Stream with given sequence exists");
        }
        if self.streams.is_full() {
            return self.reply(seq, TOO_MANY);
        }
        self.reply(seq, "");
        let notices = self.membership.notices();
        self.streams.start_events(seq, filter, notices);
    }

    fn monitor(&mut self, seq: u64, level: &str) {
        let Some(tail) = log::follow(level) else {
            let level = level.to_uppercase();
            return self.reply(seq, &format!("Unknown log level: {level}"));
        };
        if self.streams.has_monitor() {
            return self.reply(seq, "Monitor already exists");
        }
        if self.streams.is_full() {
            return self.reply(seq, TOO_MANY);
        }
        self.reply(seq, "");
        self.streams.start_monitor(seq, tail);
    }

    fn take_outcome(&mut self, seq: u64, outcome: Outcome) {
        self.out.extend(outcome.reply);
        if let Some(answers) = outcome.answers {
            self.streams.start_query(seq, answers);
        }
        self.left |= outcome.left;
    }
}

/// The call under way, once it is done; never, where there is none.
async fn answered(call: &mut Option<(u64, Call)>) -> (u64, Outcome) {
    match call {
        Some((seq, call)) => (*seq, call.await),
        None => std::future::pending().await,
    }
}

async fn late(due: Option<(Instant, Ended)>) -> Ended {
    match due {
        Some((at, why)) => {
            tokio::time::sleep_until(at.into()).await;
            why
        }
        None => std::future::pending().await,
    }
}

/// The sum of a client's streams and queries is bounded, which Serf's is not.
const TOO_MANY: &str = "Too many streams on this connection";
