//! Bytes in equal bytes out, whatever happens on the way: random bodies, chunkings, cuts, slow readers, aborts.
//!
//! ```text
//! seed ─▶ Story ─┬─▶ client: sends (or breaks off), reads (or leaves)
//!                └─▶ backend: reads, answers (or breaks off); it knows its story by the path, /SEED
//! ```
//!
//! `LB_BYTES_SECONDS` makes it longer, `LB_BYTES_STORY=SEED` tells one story again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::front::{Front, settings};
use crate::peer::{Message, Peer};
use crate::toy::Toy;

/// Clients at a time.
const CLIENTS: usize = 4;

/// How a message's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Sized,
    Chunked,
    UntilClose,
}

/// How a sender ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Whole,
    /// Closes after so many bytes of the framed body.
    Close(usize),
    /// The same, by a reset.
    Reset(usize),
}

/// One message: what is said, and in which pieces.
#[derive(Clone, Debug)]
struct Side {
    body: Vec<u8>,
    framing: Framing,
    framed: Vec<u8>,
    end: End,
    dice: ChaCha8Rng,
    /// The receiver takes its time.
    slow: bool,
}

/// One exchange.
#[derive(Clone, Debug)]
struct Story {
    seed: u64,
    method: &'static str,
    /// The client speaks HTTP/1.0.
    old: bool,
    request: Side,
    answer: Side,
    /// The client leaves after so many bytes of the answer's body.
    leaves: Option<usize>,
}

impl Side {
    fn new(dice: &mut ChaCha8Rng, framings: &[Framing], cut_one_in: u32) -> Self {
        let most = match dice.random_range(0..12) {
            0 => 1_500_000,
            1..=3 => 40_000,
            _ => 2_000,
        };
        let mut body = vec![0; dice.random_range(0..=most)];
        dice.fill_bytes(&mut body);
        let framing = framings[dice.random_range(0..framings.len())];
        let framed = match framing {
            Framing::Chunked => chunks(dice, &body),
            Framing::Sized | Framing::UntilClose => body.clone(),
        };
        let end = match dice.random_range(0..cut_one_in) {
            0 if !framed.is_empty() => {
                let at = dice.random_range(0..framed.len());
                match dice.random() {
                    true => End::Close(at),
                    false => End::Reset(at),
                }
            }
            _ => End::Whole,
        };
        Self {
            body,
            framing,
            framed,
            end,
            dice: ChaCha8Rng::seed_from_u64(dice.random()),
            slow: dice.random_range(0..6) == 0,
        }
    }

    /// Sends it in pieces, some with a pause behind. False: it broke off, by plan or because nobody listens.
    fn send(&self, peer: &mut Peer) -> bool {
        let mut dice = self.dice.clone();
        let most = match self.end {
            End::Whole => self.framed.len(),
            End::Close(at) | End::Reset(at) => at,
        };
        let mut rest = &self.framed[..most];
        while !rest.is_empty() {
            let most = if dice.random() {
                rest.len()
            } else {
                rest.len().min(3000)
            };
            let (piece, tail) = rest.split_at(dice.random_range(1..=most));
            if !peer.try_send(piece) {
                return false;
            }
            if dice.random_range(0..8) == 0 {
                std::thread::sleep(Duration::from_micros(dice.random_range(0..800)));
            }
            rest = tail;
        }
        self.end == End::Whole
    }

    fn fields(&self) -> String {
        match self.framing {
            Framing::Sized => format!("Content-Length: {}\r\n", self.body.len()),
            Framing::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
            Framing::UntilClose => String::new(),
        }
    }
}

/// `body` in chunks of random sizes, some with extensions, and trailers now and then.
fn chunks(dice: &mut ChaCha8Rng, body: &[u8]) -> Vec<u8> {
    let (mut framed, mut rest) = (Vec::new(), body);
    while !rest.is_empty() {
        let most = if dice.random() {
            rest.len()
        } else {
            rest.len().min(500)
        };
        let (chunk, tail) = rest.split_at(dice.random_range(1..=most));
        let extension = if dice.random_range(0..5) == 0 {
            ";a=\"b\""
        } else {
            ""
        };
        framed.extend(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
        framed.extend(chunk);
        framed.extend(b"\r\n");
        rest = tail;
    }
    let trailer = if dice.random_range(0..5) == 0 {
        "x: y\r\n"
    } else {
        ""
    };
    framed.extend(format!("0\r\n{trailer}\r\n").as_bytes());
    framed
}

impl Story {
    fn new(seed: u64) -> Self {
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        let old = dice.random_range(0..5) == 0;
        let request_framings: &[Framing] = match old {
            true => &[Framing::Sized],
            false => &[Framing::Sized, Framing::Chunked],
        };
        let answer_framings = &[Framing::Sized, Framing::Chunked, Framing::UntilClose];
        let request = Side::new(&mut dice, request_framings, 10);
        let answer = Side::new(&mut dice, answer_framings, 5);
        let leaves =
            (dice.random_range(0..10) == 0).then(|| dice.random_range(0..=answer.body.len()));
        Self {
            seed,
            method: ["POST", "PUT", "GET", "PATCH"][dice.random_range(0..4)],
            old,
            request,
            answer,
            leaves,
        }
    }

    /// As the client. True: the connection can be used for another story.
    fn ask(&self, client: &mut Peer, last: bool) -> bool {
        let version = if self.old { "HTTP/1.0" } else { "HTTP/1.1" };
        let close = if last && !self.old {
            "Connection: close\r\n"
        } else {
            ""
        };
        client.send(format!(
            "{} /{} {version}\r\nHost: t\r\n{close}{}\r\n",
            self.method,
            self.seed,
            self.request.fields()
        ));
        if !self.request.send(client) {
            if matches!(self.request.end, End::Reset(_)) {
                client.reset_at_end();
            }
            return false;
        }
        if self.answer.slow {
            client.slow_down(8 * 1024, Duration::from_micros(300));
        }
        if let Some(bytes) = self.leaves {
            let comes = match self.answer.end {
                End::Whole => usize::MAX,
                End::Close(at) | End::Reset(at) => at,
            };
            // Not what the proxy itself says, which may be shorter, and keeps the connection.
            if client
                .try_head()
                .is_some_and(|head| head.starts_with("HTTP/1.1 200"))
            {
                client.bytes(bytes.min(comes));
            }
            return false;
        }
        let got = match self.old {
            true => to_the_end(client),
            false => client.response(self.method),
        };
        self.judge_answer(&got);
        client.slow_down(16 * 1024, Duration::ZERO);
        !self.old && got.complete && got.status() == 200
    }

    fn judge_answer(&self, got: &Message) {
        let expected = &self.answer;
        let story = format!(
            "LB_BYTES_STORY={}, {got_bytes} bytes came",
            self.seed,
            got_bytes = got.body.len()
        );
        let cut_unseen = expected.framing == Framing::UntilClose;
        match expected.end {
            End::Whole => {
                assert_eq!(got.status(), 200, "{story}");
                assert!(got.complete, "{story}");
                assert!(got.body == expected.body, "{story}");
            }
            // Its end is the end of the connection, so this is a whole answer of another length.
            End::Close(at) if cut_unseen => {
                assert!(got.complete && got.status() == 200, "{story}");
                assert!(got.body == expected.body[..at], "{story}");
            }
            End::Close(_) | End::Reset(_) if got.status() == 502 => {
                assert!(got.complete, "{story}")
            }
            End::Close(_) | End::Reset(_) => {
                assert_eq!(got.status(), 200, "{story}");
                assert!(!got.complete, "cut short, and not seen to be: {story}");
                assert!(expected.body.starts_with(&got.body), "{story}");
            }
        }
    }

    /// What a backend got of the request.
    fn judge_request(&self, got: &Message) {
        let story = format!(
            "LB_BYTES_STORY={}, {} bytes came",
            self.seed,
            got.body.len()
        );
        if got.complete {
            assert_eq!(
                self.request.end,
                End::Whole,
                "broken off, and not seen to be: {story}"
            );
            assert!(got.body == self.request.body, "{story}");
        } else {
            assert_ne!(self.request.end, End::Whole, "{story}");
            assert!(self.request.body.starts_with(&got.body), "{story}");
        }
    }

    /// As the backend.
    fn answer(&self, mut peer: Peer) -> Option<Peer> {
        if !peer.try_send(format!("HTTP/1.1 200 OK\r\n{}\r\n", self.answer.fields())) {
            return None;
        }
        if !self.answer.send(&mut peer) {
            if matches!(self.answer.end, End::Reset(_)) {
                peer.reset();
            }
            return None;
        }
        (self.answer.framing != Framing::UntilClose).then_some(peer)
    }
}

/// An answer to HTTP/1.0: sized, or to the end of the connection, where a reset says that it is not whole.
fn to_the_end(client: &mut Peer) -> Message {
    let head = client.try_head().expect("a head");
    let mut message = Message {
        head,
        body: Vec::new(),
        complete: false,
    };
    let length: Option<usize> = message
        .field("content-length")
        .map(|text| text.parse().unwrap());
    let (body, in_order) = client.rest_and_end();
    assert_eq!(message.field("transfer-encoding"), None);
    message.complete = length.map_or(in_order, |length| body.len() == length);
    message.body = body;
    message
}

/// Requests by story, as backends saw them.
type Seen = Arc<Mutex<HashMap<u64, Vec<Message>>>>;

fn storyteller(seen: Seen, narrow: bool) -> Toy {
    let raw = match narrow {
        true => Toy::raw_and_narrow,
        false => Toy::raw,
    };
    raw(Box::new(move |mut peer: Peer, number| {
        let mut dice = ChaCha8Rng::seed_from_u64(number as u64);
        // An idle connection may stay so for as long as the test runs.
        while matches!(peer.stream().peek(&mut [0]), Ok(1)) {
            if dice.random_range(0..6) == 0 {
                peer.slow_down(8 * 1024, Duration::from_micros(200));
            }
            let Some(request) = peer.try_request() else {
                return;
            };
            let path = request.start().split(' ').nth(1).expect("a path");
            let story = Story::new(path[1..].parse().expect("a seed"));
            let whole = request.complete;
            seen.lock()
                .unwrap()
                .entry(story.seed)
                .or_default()
                .push(request);
            if !whole {
                return;
            }
            match story.answer(peer) {
                Some(kept) => peer = kept,
                None => return,
            }
        }
    }))
}

#[test]
fn bytes_in_equal_bytes_out_and_a_truncated_answer_is_seen_as_truncated() {
    let seconds = std::env::var("LB_BYTES_SECONDS").map_or(3, |text| text.parse().unwrap());
    let only: Option<u64> = std::env::var("LB_BYTES_STORY")
        .ok()
        .map(|text| text.parse().unwrap());
    let base = only.unwrap_or_else(|| lb::clock::random().random());
    println!("stories from LB_BYTES_STORY={base} on");
    let seen = Seen::default();
    // Kernels of both sides take all at once, or little.
    let toys = [false, true].map(|narrow| storyteller(seen.clone(), narrow));
    let mut settings = settings();
    settings.workers = 2;
    settings.limits.retries_per_second = 1000;
    let front = Front::with(settings, &[&toys[0], &toys[1]]);
    let told = AtomicUsize::new(0);
    let until = lb::clock::now() + Duration::from_secs(seconds);

    std::thread::scope(|scope| {
        for client in 0..if only.is_some() { 1 } else { CLIENTS } {
            let narrow = client % 2 == 1;
            let (told, front) = (&told, &front);
            scope.spawn(move || {
                let mut client = None;
                loop {
                    let number = told.fetch_add(1, Ordering::SeqCst);
                    if number > 0 && (only.is_some() || lb::clock::now() >= until) {
                        return;
                    }
                    let story = Story::new(base.wrapping_add(number as u64));
                    let mut connection = client.take().unwrap_or_else(|| match narrow {
                        true => Peer::connect_narrow(front.address),
                        false => front.client(),
                    });
                    let last = number.is_multiple_of(5);
                    if story.ask(&mut connection, last) && !last {
                        client = Some(connection);
                    }
                }
            });
        }
    });

    crate::until("nothing is under way any more", || {
        let stats = front.stats();
        let under_way: u32 = toys.iter().map(|toy| front.in_flight(toy)).sum();
        under_way == 0 && stats.requests_in_flight == 0 && stats.connections_open == 0
    });
    let seen = seen.lock().unwrap();
    for (seed, requests) in seen.iter() {
        let story = Story::new(*seed);
        let again = matches!(story.method, "GET" | "PUT");
        assert!(
            again || requests.len() == 1,
            "sent twice: LB_BYTES_STORY={seed}"
        );
        requests
            .iter()
            .for_each(|request| story.judge_request(request));
    }
    assert!(!seen.is_empty());
    println!("{} stories", seen.len());
}
