//! The load: one thread, one epoll, keep-alive connections or a new one for each request.
//!
//!   closed loop   the next request when the answer is whole: shows the cost of a request
//!   open loop     requests at random times (Poisson), whatever the proxy does; a time counts from the
//!                 intended start, so that a stall is seen by all who would have come meanwhile
//!   connections   a connection for each request, ended by our reset: no TIME_WAIT, and an entry in the
//!                 connection-tracking table that dies at once. The table belongs to the whole machine.
//!
//! Every answer must be a 200 with a Content-Length of the size asked for, else it counts as an error.
//! At the end, requests under way are waited for, so that none is paid for and not counted.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

use crate::failure::{During, Failure};
use crate::histogram::Histogram;
use crate::wire::{Tls, Wire};

/// How requests follow one another.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    Closed,
    /// So many a second.
    Open(f64),
    /// A connection for each request; at most so many.
    Connections(u64),
}

/// What to ask for.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) port: u16,
    pub(crate) path: &'static str,
    /// Size of the body that is the right answer.
    pub(crate) body: u64,
    pub(crate) connections: usize,
    pub(crate) length: Duration,
    pub(crate) pace: Pace,
    pub(crate) tls: Tls,
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) answered: u64,
    pub(crate) errors: u64,
    /// Of the first error.
    pub(crate) reason: Option<String>,
    pub(crate) elapsed: Duration,
    pub(crate) times: Histogram,
}

/// Requests under way at the end have this long.
const GRACE: Duration = Duration::from_secs(3);

/// Puts the load on the proxy.
///
/// # Errors
/// This side fails: no descriptors, no ports.
pub(crate) fn run(plan: Plan) -> Result<Outcome, Failure> {
    let mut load = Load::new(plan).during("the load")?;
    load.run().during("the load")?;
    Ok(Outcome {
        answered: load.answered,
        errors: load.errors,
        reason: load.reason,
        elapsed: load.began.elapsed(),
        times: load.times,
    })
}

/// A head as a browser behind a few settings would send it: six fields.
pub(crate) fn request(path: &str, close: bool) -> Vec<u8> {
    let last = if close { "Connection: close\r\n" } else { "" };
    format!(
        "GET {path} HTTP/1.1\r\nHost: bench.example.com\r\nUser-Agent: compare/1.0 (X11; Linux x86_64)\r\nAccept: */*\r\n\
         Accept-Encoding: gzip, deflate\r\nX-Request-Tag: 0123456789abcdef\r\n{last}\r\n"
    )
    .into_bytes()
}

#[derive(Default)]
struct Client {
    stream: Option<Wire>,
    answer: Answer,
    started: u64,
    busy: bool,
    sent: bool,
}

struct Load {
    plan: Plan,
    poll: OwnedFd,
    clients: Vec<Client>,
    request: Vec<u8>,
    scratch: Vec<u8>,
    began: Instant,
    /// Intended starts that found no free connection yet, and the next one.
    waiting: VecDeque<u64>,
    next: u64,
    free: VecDeque<usize>,
    dice: u64,
    started: u64,
    busy: usize,
    answered: u64,
    errors: u64,
    reason: Option<String>,
    times: Histogram,
}

impl Load {
    fn new(plan: Plan) -> io::Result<Self> {
        Ok(Self {
            poll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            clients: (0..plan.connections).map(|_| Client::default()).collect(),
            request: request(plan.path, matches!(plan.pace, Pace::Connections(_))),
            scratch: vec![0; 1 << 18],
            began: Instant::now(),
            waiting: VecDeque::new(),
            // Connections come first.
            next: 50_000_000,
            free: VecDeque::new(),
            dice: 0x9E37_79B9_7F4A_7C15,
            started: 0,
            busy: 0,
            answered: 0,
            errors: 0,
            reason: None,
            plan,
            times: Histogram::new(),
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let end = self.plan.length.as_nanos() as u64;
        for at in 0..self.plan.connections {
            match self.plan.pace {
                Pace::Open(_) => {
                    self.connect(at)?;
                    self.free.push_back(at);
                }
                _ => self.start(at, self.now())?,
            }
        }
        let mut events = Vec::with_capacity(512);
        loop {
            let now = self.now();
            let over = self.over(now, end);
            if over && (self.busy + self.waiting.len() == 0 || now > end + GRACE.as_nanos() as u64)
            {
                self.errors += self.busy as u64;
                return Ok(());
            }
            let nap = match self.plan.pace {
                Pace::Open(rate) => self.arrive(now.min(end), rate)?.saturating_sub(self.now()),
                _ => 100_000_000,
            };
            let nap = Timespec {
                tv_sec: 0,
                tv_nsec: nap.min(100_000_000) as _,
            };
            events.clear();
            match epoll::wait(
                &self.poll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&nap),
            ) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                let (at, flags) = (event.data.u64() as usize, event.flags);
                self.step(at, flags, end)?;
            }
        }
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    fn over(&self, now: u64, end: u64) -> bool {
        let enough = match self.plan.pace {
            Pace::Connections(most) => self.started >= most,
            _ => false,
        };
        now >= end || enough
    }

    /// Starts all requests intended by `now` and returns when the next one is.
    fn arrive(&mut self, now: u64, rate: f64) -> io::Result<u64> {
        while self.next <= now {
            self.waiting.push_back(self.next);
            // xorshift64: good enough for times, and the same in every run.
            self.dice ^= self.dice << 13;
            self.dice ^= self.dice >> 7;
            self.dice ^= self.dice << 17;
            let share = (self.dice >> 11) as f64 / (1_u64 << 53) as f64;
            self.next += (-(1.0 - share).ln() / rate * 1e9) as u64;
        }
        while !self.waiting.is_empty() {
            let Some(at) = self.free.pop_front() else {
                break;
            };
            let intended = self.waiting.pop_front().unwrap_or(now);
            self.start(at, intended)?;
        }
        Ok(self.next)
    }

    fn start(&mut self, at: usize, since: u64) -> io::Result<()> {
        let client = &mut self.clients[at];
        (client.busy, client.started, client.sent) = (true, since, false);
        self.started += 1;
        self.busy += 1;
        match client.stream {
            Some(_) => self.send(at),
            None => self.connect(at)?,
        }
        Ok(())
    }

    fn connect(&mut self, at: usize) -> io::Result<()> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
        match net::connect(
            &socket,
            &SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.plan.port),
        ) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.poll, &socket, EventData::new_u64(at as u64), interest)?;
        self.clients[at].stream = Some(Wire::new(TcpStream::from(socket), &self.plan.tls));
        Ok(())
    }

    fn send(&mut self, at: usize) {
        let client = &mut self.clients[at];
        if let Some(stream) = &mut client.stream {
            client.sent = stream.write(&self.request).ok() == Some(self.request.len());
        }
    }

    fn step(&mut self, at: usize, flags: EventFlags, end: u64) -> io::Result<()> {
        if flags.contains(EventFlags::OUT) {
            let client = &mut self.clients[at];
            match &mut client.stream {
                Some(stream) if client.sent => {
                    // Of a handshake; what is wrong is told by the next read.
                    let _ = stream.flush();
                }
                _ if client.busy => self.send(at),
                _ => {}
            }
        }
        let gone = EventFlags::HUP | EventFlags::ERR | EventFlags::RDHUP;
        if !flags.intersects(EventFlags::IN | gone) {
            return Ok(());
        }
        let one_each = matches!(self.plan.pace, Pace::Connections(_));
        let client = &mut self.clients[at];
        let verdict = client.read(&mut self.scratch, self.plan.body);
        match &verdict {
            Verdict::More => return Ok(()),
            Verdict::Whole if !one_each => {}
            // Closing resets, see `connect`.
            _ => client.stream = None,
        }
        client.answer = Answer::default();
        if !client.busy {
            return Ok(());
        }
        client.busy = false;
        let since = client.started;
        self.busy -= 1;
        let now = self.now();
        match verdict {
            Verdict::Wrong(reason) => {
                self.errors += 1;
                self.reason.get_or_insert(reason);
            }
            _ => {
                self.answered += 1;
                self.times.add(now.saturating_sub(since));
            }
        }
        match self.plan.pace {
            Pace::Open(_) => {
                if self.clients[at].stream.is_none() {
                    self.connect(at)?;
                }
                self.free.push_back(at);
                Ok(())
            }
            _ if self.over(now, end) => Ok(()),
            _ => self.start(at, now),
        }
    }
}

/// One answer, as far as it came.
#[derive(Default)]
struct Answer {
    head: Vec<u8>,
    left: Option<u64>,
}

enum Verdict {
    More,
    Whole,
    Wrong(String),
}

impl Client {
    fn read(&mut self, scratch: &mut [u8], body: u64) -> Verdict {
        let Some(stream) = &mut self.stream else {
            return Verdict::More;
        };
        loop {
            let read = match stream.read(scratch) {
                Ok(0) => return Verdict::Wrong("closed before the end of the answer".to_owned()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Verdict::More,
                Err(error) => return Verdict::Wrong(error.to_string()),
            };
            match self.answer.take(&scratch[..read], body) {
                // Edges: what comes later is an event of its own.
                Verdict::More if read < scratch.len() && stream.tells_by_room() => {
                    return Verdict::More;
                }
                Verdict::More => {}
                verdict => return verdict,
            }
        }
    }
}

impl Answer {
    fn take(&mut self, bytes: &[u8], body: u64) -> Verdict {
        let mut got = bytes.len() as u64;
        if self.left.is_none() {
            self.head.extend_from_slice(bytes);
            let Some(end) = self.head.windows(4).position(|four| four == b"\r\n\r\n") else {
                return Verdict::More;
            };
            let head = String::from_utf8_lossy(&self.head[..end]).to_ascii_lowercase();
            let mut lines = head.split("\r\n");
            let status = lines.next().unwrap_or_default();
            let length = lines.find_map(|line| {
                line.strip_prefix("content-length:")?
                    .trim()
                    .parse::<u64>()
                    .ok()
            });
            if !status.starts_with("http/1.1 200") || length != Some(body) {
                return Verdict::Wrong(format!("{status:?} with a length of {length:?}"));
            }
            got = (self.head.len() - end - 4) as u64;
            self.left = Some(body);
        }
        match self.left.map(|left| left.checked_sub(got)) {
            Some(Some(0)) => Verdict::Whole,
            Some(None) => Verdict::Wrong("more than was announced".to_owned()),
            left => {
                self.left = left.flatten();
                Verdict::More
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Verdict};

    #[test]
    fn an_answer_is_whole_wherever_it_is_cut() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

        for cut in 1..bytes.len() {
            let mut answer = Answer::default();
            assert!(
                matches!(answer.take(&bytes[..cut], 5), Verdict::More),
                "{cut}"
            );
            assert!(
                matches!(answer.take(&bytes[cut..], 5), Verdict::Whole),
                "{cut}"
            );
        }
    }

    #[test]
    fn an_answer_of_another_status_or_size_is_an_error() {
        for wrong in [
            "HTTP/1.1 503 No\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhell",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!",
        ] {
            let verdict = Answer::default().take(wrong.as_bytes(), 5);
            assert!(matches!(verdict, Verdict::Wrong(_)), "{wrong}");
        }
    }
}
