//! Plays a story through the proxy, step by step, and judges every step.
//!
//! ```text
//! piece of the client ─▶ quiet ─▶ backend reads, judges, answers in pieces ─▶ quiet ─▶ client reads ─▶ …
//! ```
//!
//! The proxy serves one connection in order. So whatever a backend receives belongs to the request whose number
//! is the count of answers that the client has got by then.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::front::Front;
use crate::oracle::{self, Answer, Framed, Framing, Read, Tail};
use crate::story::{FINE, Script, Story, cut};

/// Nothing takes longer: no wait of the proxy is that short.
const PATIENCE: Duration = Duration::from_secs(3);

/// One connection from the proxy to the backend.
struct Link {
    stream: Option<TcpStream>,
    got: Vec<u8>,
    /// Where the current request begins.
    at: usize,
    /// The number of the current request, once its head is there.
    current: Option<usize>,
    answered: bool,
    /// Bytes of another protocol from here on.
    tunnel: Option<usize>,
}

/// What a backend did with one request.
pub struct Delivery {
    pub head: Vec<u8>,
    pub whole: bool,
    pub said: Option<Read<Answer>>,
    pub reset: bool,
    pub early: bool,
}

/// A response as the client saw it.
#[derive(Debug)]
pub struct Seen {
    pub answer: Answer,
    pub complete: bool,
}

/// How it went.
pub struct Outcome {
    pub framed: Vec<Framed>,
    /// By the number of the client's request.
    pub deliveries: Vec<Vec<Delivery>>,
    pub seen: Vec<Seen>,
    pub tunnel: bool,
}

/// One play.
pub struct Play<'a> {
    front: &'a Front,
    listener: &'a TcpListener,
    story: &'a Story<'a>,
    backend_cuts: u8,
    framed: Vec<Framed>,
    tail: Tail,
    client: TcpStream,
    got: Vec<u8>,
    ended: bool,
    by_reset: bool,
    links: Vec<Link>,
    deliveries: Vec<Vec<Delivery>>,
    asked: usize,
    tunnel: bool,
}

/// Plays it with the story's cuts, or in one piece.
pub fn play<'a>(
    front: &'a Front,
    listener: &'a TcpListener,
    story: &'a Story<'a>,
    cuts: bool,
) -> Outcome {
    let (framed, tail) = oracle::requests(story.client);
    let client = TcpStream::connect(front.address).expect("the front accepts");
    client.set_nodelay(true).expect("a socket");
    client.set_nonblocking(true).expect("a socket");
    let deliveries = framed.iter().map(|_| Vec::new()).collect();
    let mut play = Play {
        front,
        listener,
        story,
        backend_cuts: if cuts { story.backend_cuts } else { 0 },
        framed,
        tail,
        client,
        got: Vec::new(),
        ended: false,
        by_reset: false,
        links: Vec::new(),
        deliveries,
        asked: 0,
        tunnel: false,
    };
    front.quiet();
    for piece in cut(story.client, if cuts { story.client_cuts } else { 0 }) {
        if play.client.write_all(piece).is_err() {
            break;
        }
        front.quiet();
        play.settle();
    }
    play.end()
}

/// Reads what has come. True: that is all there will be.
fn read_all(stream: &mut TcpStream, into: &mut Vec<u8>) -> Result<bool, ErrorKind> {
    let mut room = [0; 16 * 1024];
    loop {
        match stream.read(&mut room) {
            Ok(0) => return Ok(true),
            Ok(bytes) => into.extend_from_slice(&room[..bytes]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.kind()),
        }
    }
}

fn close_hard(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

impl Play<'_> {
    /// Goes on until nothing moves any more.
    fn settle(&mut self) {
        while self.step() {
            self.front.quiet();
        }
    }

    /// True: something moved.
    fn step(&mut self) -> bool {
        let mut moved = self.read_client();
        while let Ok((stream, _)) = self.listener.accept() {
            stream.set_nodelay(true).expect("a socket");
            stream.set_nonblocking(true).expect("a socket");
            self.links.push(Link {
                stream: Some(stream),
                got: Vec::new(),
                at: 0,
                current: None,
                answered: false,
                tunnel: None,
            });
            moved = true;
        }
        for number in 0..self.links.len() {
            moved |= self.read_link(number);
            while self.look_at(number) {
                moved = true;
            }
        }
        moved
    }

    fn read_client(&mut self) -> bool {
        if self.ended {
            return false;
        }
        let had = self.got.len();
        match read_all(&mut self.client, &mut self.got) {
            Ok(ended) => self.ended = ended,
            Err(_) => (self.ended, self.by_reset) = (true, true),
        }
        self.got.len() > had || self.ended
    }

    fn read_link(&mut self, number: usize) -> bool {
        let link = &mut self.links[number];
        let Some(stream) = &mut link.stream else {
            return false;
        };
        let had = link.got.len();
        let ended = read_all(stream, &mut link.got).unwrap_or(true);
        if ended {
            close_hard(stream);
            link.stream = None;
        }
        link.got.len() > had || ended
    }

    /// Final answers that the client has got in full.
    fn answered(&self) -> usize {
        let seen = responses(&self.got, &self.framed, self.ended);
        seen.iter().filter(|seen| seen.complete).count()
    }

    /// Judges what a link has received. True: there may be more to say about it.
    fn look_at(&mut self, number: usize) -> bool {
        if self.links[number].tunnel.is_some() {
            return false;
        }
        let (at, known) = (self.links[number].at, self.links[number].current);
        let bytes = self.links[number].got[at..].to_vec();
        let Some((head, used)) = oracle::request_head(&bytes) else {
            return false;
        };
        let head = head.unwrap_or_else(|| panic!("a backend got no request: {}", text(&bytes)));
        let framing = oracle::request_framing(&head);
        let framing = framing.unwrap_or_else(|| panic!("two ways to read: {}", text(&bytes)));
        let (body, end) = match oracle::body(&bytes[used..], framing, false) {
            Read::Whole(body, end) => (body, Some(used + end)),
            Read::Partial(body) => (body, None),
            Read::Bad(_) => panic!("a backend got a bad body: {}", text(&bytes)),
        };
        let index = known.unwrap_or_else(|| {
            self.read_client();
            let mut index = self.answered();
            // Answered before its end by the proxy itself, which found fault with it.
            let broken = index
                .checked_sub(1)
                .filter(|last| !self.framed[*last].complete);
            if let Some(last) = broken {
                index = last;
            }
            self.begins(index, &head, framing);
            self.deliveries[index].push(Delivery {
                head: bytes[..used].to_vec(),
                whole: false,
                said: None,
                reset: false,
                early: false,
            });
            self.links[number].current = Some(index);
            index
        });
        let framed = &self.framed[index];
        assert!(
            framed.body.starts_with(&body),
            "request {index} has another body: {}",
            text(&bytes)
        );
        if end.is_some() {
            assert!(framed.complete, "the client has not ended request {index}");
            assert_eq!(
                framed.body.len(),
                body.len(),
                "request {index} is cut short"
            );
            self.deliveries[index].last_mut().expect("this one").whole = true;
        }
        let script = self.story.answers.get(self.asked).copied().unwrap_or(FINE);
        if !self.links[number].answered && (end.is_some() || script.early) {
            self.asked += 1;
            self.links[number].answered = true;
            let delivery = self.deliveries[index].last_mut().expect("this one");
            delivery.early = end.is_none();
            self.answer(number, index, script, end);
        }
        let link = &mut self.links[number];
        if let (Some(end), None) = (end, link.tunnel) {
            link.at += end;
            link.current = None;
            link.answered = false;
            return true;
        }
        false
    }

    /// A request with this number begins at the backend.
    fn begins(&self, index: usize, head: &oracle::Head, framing: Framing) {
        let framed = self.framed.get(index);
        let framed = framed.unwrap_or_else(|| panic!("the client framed {index} requests only"));
        assert_eq!(head.words[0], framed.head.words[0], "request {index}");
        assert_eq!(head.words[2], b"HTTP/1.1");
        assert_eq!(
            text(&head.words[1]),
            text(&path(&framed.head.words[1])),
            "request {index}"
        );
        assert_eq!(framing, framed.framing, "request {index}");
        assert_eq!(head.all("host").count(), 1);
        let again = framed.head.words[0] != b"POST" && framed.head.words[0] != b"PATCH";
        let before = &self.deliveries[index];
        assert!(before.len() < 4, "request {index} is sent for ever");
        // What was never read is no delivery; so a second one is one too many.
        assert!(before.is_empty() || again, "request {index} is sent twice");
    }

    /// Sends an answer to the request on a link.
    fn answer(&mut self, number: usize, index: usize, script: Script<'_>, end: Option<usize>) {
        let framed = &self.framed[index];
        let is_head = framed.is_head();
        let asks = self.deliveries[index].last().expect("this one");
        let (asks, _) = oracle::request_head(&asks.head).expect("whole");
        let upgrades = asks.is_some_and(|head| head.has("upgrade"));
        let said = oracle::answer(script.bytes, is_head, upgrades);
        // What comes after the answer comes together with its end: a proxy can't tell it from the next answer later.
        let (last, mut close) = match &said {
            Read::Whole(answer, end) => (*end, script.close || answer.until_close),
            Read::Partial(_) | Read::Bad(_) => (script.bytes.len(), true),
        };
        close |= script.reset;
        let mut pieces = cut(&script.bytes[..last], self.backend_cuts);
        let tail = pieces.pop().unwrap_or_default();
        let tail = [tail, &script.bytes[last..]].concat();
        let switches = matches!(&said, Read::Whole(answer, _) if answer.switches);
        let delivery = self.deliveries[index].last_mut().expect("this one");
        delivery.said = Some(said);
        delivery.reset = script.reset;
        for piece in pieces {
            self.write_link(number, piece);
            self.front.quiet();
            self.read_client();
        }
        let link = &mut self.links[number];
        if close && let Some(stream) = &link.stream {
            let _ = SockRef::from(stream).set_tcp_cork(true);
        }
        self.write_link(number, &tail);
        let link = &mut self.links[number];
        if switches {
            self.tunnel = true;
            link.tunnel = Some(link.at + end.unwrap_or(0));
        }
        if close && let Some(stream) = link.stream.take() {
            if script.reset {
                close_hard(&stream);
            }
            drop(stream);
        }
        self.front.quiet();
        self.read_client();
    }

    fn write_link(&mut self, number: usize, bytes: &[u8]) {
        if let Some(stream) = &mut self.links[number].stream {
            // It may have closed already, on what came so far.
            let _ = stream.write_all(bytes);
        }
    }

    /// All has been sent: what is due must come now, and then the end.
    fn end(mut self) -> Outcome {
        self.wait("an answer that is due", |play| play.is_served());
        let _ = self.client.shutdown(Shutdown::Write);
        if self.tunnel {
            // The other side of a tunnel is told, and ends it.
            self.front.quiet();
            self.settle();
            self.check_tunnel();
            for link in &mut self.links {
                link.stream = None;
            }
        }
        self.wait("the connection's end", |play| play.ended);
        close_hard(&self.client);
        for link in &self.links {
            if let Some(stream) = &link.stream {
                close_hard(stream);
            }
        }
        self.links.clear();
        let begun = Instant::now();
        while self.front.open() != (0, 0, 0) {
            assert!(
                begun.elapsed() < PATIENCE,
                "left over: {:?}",
                self.front.open()
            );
            std::thread::yield_now();
        }
        let seen = match self.tunnel {
            true => Vec::new(),
            false => responses(&self.got, &self.framed, self.ended),
        };
        let outcome = Outcome {
            framed: self.framed,
            deliveries: self.deliveries,
            seen,
            tunnel: self.tunnel,
        };
        if !outcome.tunnel {
            super::judge::fair(&outcome, self.tail, self.by_reset, &self.got);
        }
        outcome
    }

    /// Everybody who sent a whole request has an answer, and who sent garbage was hung up on.
    fn is_served(&self) -> bool {
        if self.ended || self.tunnel {
            return true;
        }
        let whole = self.framed.iter().filter(|framed| framed.complete).count();
        self.tail == Tail::Open && self.answered() >= whole
    }

    fn wait(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        loop {
            self.front.quiet();
            self.settle();
            if done(self) {
                return;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "waited in vain: {what}; the client has got {}",
                text(&self.got)
            );
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    fn check_tunnel(&self) {
        for link in &self.links {
            let (Some(at), Some(index)) = (link.tunnel, link.current) else {
                continue;
            };
            let sent = &self.story.client[self.framed[index].end..];
            let got = &link.got[at.min(link.got.len())..];
            assert!(
                sent.starts_with(got),
                "a tunnel changes bytes: {}",
                text(got)
            );
        }
    }
}

/// The path that a backend is to be asked for.
fn path(target: &[u8]) -> Vec<u8> {
    let lower = target.to_ascii_lowercase();
    let scheme = ["http://", "https://"]
        .iter()
        .find(|scheme| lower.starts_with(scheme.as_bytes()));
    let Some(scheme) = scheme else {
        return target.to_vec();
    };
    let rest = &target[scheme.len()..];
    match rest.iter().position(|byte| matches!(byte, b'/' | b'?')) {
        None => b"/".to_vec(),
        Some(at) if rest[at] == b'?' => [b"/", &rest[at..]].concat(),
        Some(at) => rest[at..].to_vec(),
    }
}

/// What a client got, response by response.
pub fn responses(got: &[u8], framed: &[Framed], ended: bool) -> Vec<Seen> {
    let (mut all, mut at) = (Vec::new(), 0);
    while at < got.len() {
        let asked = framed.get(all.len());
        let is_head = asked.is_some_and(Framed::is_head);
        match oracle::answer(&got[at..], is_head, false) {
            Read::Whole(answer, used) => {
                at += used;
                all.push(Seen {
                    answer,
                    complete: true,
                });
            }
            Read::Partial(answer) => {
                let complete = answer.until_close && ended;
                all.push(Seen { answer, complete });
                break;
            }
            // A tunnel's bytes are looked at elsewhere.
            Read::Bad(answer) if got[at..].starts_with(b"HTTP/1.1 101") => {
                all.push(Seen {
                    answer,
                    complete: false,
                });
                break;
            }
            Read::Bad(_) => panic!("a client got no response: {}", text(&got[at..])),
        }
    }
    all
}

pub fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
