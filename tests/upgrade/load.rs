//! Clients that never stop, and note everything that is not a whole, right answer.
//!
//! ```text
//! kept: one connection for as long as it is kept   fresh: one for each request   post: a body that comes back
//! slow: 300 ms an answer                           idle: a request every 400 ms on a connection that is kept
//! http2: streams on one connection, until it is told to go away
//! ```
//!
//! Each kind there is on each way to the front.

use std::io::{self, BufReader, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::common::eventually;
use crate::rig::{LONG, Notes, head};
use crate::way::{Duplex, Sender, Way};

/// Between two requests of one client: many connections are open and few wait.
const PAUSE: Duration = Duration::from_millis(2);

/// Longer than most upgrades take.
const IDLE: Duration = Duration::from_millis(400);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Kept,
    Fresh,
    Post,
    Slow,
    Idle,
    Http2,
}

const KINDS: [Kind; 6] = [
    Kind::Kept,
    Kind::Fresh,
    Kind::Post,
    Kind::Slow,
    Kind::Idle,
    Kind::Http2,
];

/// Clients at work.
pub(crate) struct Load {
    ways: Vec<Way>,
    stop: Arc<AtomicBool>,
    /// Of each client, way by way.
    counts: Vec<Arc<AtomicU64>>,
    failures: Notes,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Two of each kind, within nothing.
    pub(crate) fn start(to: SocketAddr) -> Self {
        Self::over(vec![Way::plain(to)])
    }

    /// Two of each kind on each way.
    pub(crate) fn over(ways: Vec<Way>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let failures = Notes::default();
        let (mut counts, mut threads) = (Vec::new(), Vec::new());
        for way in &ways {
            for kind in KINDS.into_iter().chain(KINDS) {
                let count = Arc::new(AtomicU64::new(0));
                counts.push(Arc::clone(&count));
                let (stop, failures) = (Arc::clone(&stop), Arc::clone(&failures));
                let way = way.clone();
                threads.push(std::thread::spawn(move || {
                    work(way, kind, &stop, &count, &failures);
                }));
            }
        }
        Self {
            ways,
            stop,
            counts,
            failures,
            threads,
        }
    }

    /// Waits until every client had `more` further answers.
    pub(crate) fn flows(&self, more: u64) {
        for count in &self.counts {
            let enough = count.load(Ordering::Relaxed) + more;
            eventually("requests are answered", LONG, || {
                self.none_failed();
                (count.load(Ordering::Relaxed) >= enough).then_some(())
            });
        }
    }

    pub(crate) fn none_failed(&self) {
        let failures = self.failures.lock().unwrap();
        assert!(failures.is_empty(), "{failures:#?}");
    }

    /// Ends it; how many were answered on each way, with none failed or reset.
    pub(crate) fn end(mut self) -> Vec<u64> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("a client does not panic");
        }
        self.none_failed();
        let of = |counts: &[Arc<AtomicU64>]| {
            let counts = counts.iter();
            counts.map(|count| count.load(Ordering::Relaxed)).sum()
        };
        let clients = self.counts.len() / self.ways.len();
        self.counts.chunks(clients).map(of).collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// What one client does until it is stopped.
fn work(way: Way, kind: Kind, stop: &AtomicBool, count: &AtomicU64, failures: &Notes) {
    let within = if way.is_secure() { " within TLS" } else { "" };
    let mut streams = (kind == Kind::Http2).then(|| Streams::new(way.clone()));
    let mut client = Client {
        way,
        kind,
        kept: None,
    };
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let outcome = match &mut streams {
            Some(streams) => streams.ask(number),
            None => client.ask(number),
        };
        match outcome {
            Ok(()) => {
                count.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                client.kept = None;
                let note = format!("{kind:?}{within} {number}: {error}");
                failures.lock().unwrap().push(note);
            }
        }
        std::thread::sleep(if kind == Kind::Idle { IDLE } else { PAUSE });
    }
}

struct Client {
    way: Way,
    kind: Kind,
    kept: Option<BufReader<Box<dyn Duplex>>>,
}

impl Client {
    fn ask(&mut self, number: u64) -> io::Result<()> {
        let mut stream = match self.kept.take() {
            Some(kept) => kept,
            None => BufReader::new(self.way.connect()?),
        };
        let body = match self.kind {
            Kind::Post => format!("{number} ").repeat(500),
            _ => String::new(),
        };
        let request = match self.kind {
            Kind::Post => format!(
                "POST /{number} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
            Kind::Slow => "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            _ => format!("GET /{number} HTTP/1.1\r\nHost: x\r\n\r\n"),
        };
        stream.get_mut().write_all(request.as_bytes())?;
        stream.get_mut().flush()?;
        let mut status = String::new();
        io::BufRead::read_line(&mut stream, &mut status)?;
        if !status.starts_with("HTTP/1.1 200 ") {
            return Err(io::Error::other(format!("answered {status:?}")));
        }
        let (length, closes) = head(&mut stream)?;
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer)?;
        let expected = if body.is_empty() { "here" } else { &body };
        if answer != expected.as_bytes() {
            return Err(io::Error::other("another answer than expected"));
        }
        if !closes && self.kind != Kind::Fresh {
            self.kept = Some(stream);
        }
        Ok(())
    }
}

/// A client that speaks HTTP/2.
struct Streams {
    way: Way,
    runtime: tokio::runtime::Runtime,
    kept: Option<Sender>,
}

impl Streams {
    fn new(way: Way) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        Self {
            way,
            runtime,
            kept: None,
        }
    }

    fn ask(&mut self, number: u64) -> io::Result<()> {
        let (way, mut kept) = (&self.way, self.kept.take());
        let asked = async {
            // A connection that is told to go away takes no further request: that one was never sent.
            for _ in 0..3 {
                let sender = match kept.take() {
                    Some(sender) => sender,
                    None => way.connect_streams().await?,
                };
                let mut sender = match sender.ready().await {
                    Ok(sender) => sender,
                    Err(error) if is_farewell(&error) => continue,
                    Err(error) => return Err(io::Error::other(error)),
                };
                let request = http::Request::get(way.url(number));
                let request = request.body(()).expect("a request");
                let answer = match sender.send_request(request, true) {
                    Ok((answer, _)) => answer,
                    Err(error) if is_farewell(&error) => continue,
                    Err(error) => return Err(io::Error::other(error)),
                };
                let (head, mut body) = match answer.await {
                    Ok(answer) => answer.into_parts(),
                    // Sent while the last word was on its way, and beyond the last stream that it names: nobody has
                    // taken it, and clients ask again (RFC 9113 §6.8).
                    Err(error) if is_farewell(&error) => continue,
                    Err(error) => return Err(io::Error::other(error)),
                };
                let mut whole = Vec::new();
                while let Some(chunk) = body.data().await {
                    whole.extend_from_slice(&chunk.map_err(io::Error::other)?);
                }
                if head.status != 200 || whole != b"here" {
                    return Err(io::Error::other(format!("answered {head:?} {whole:?}")));
                }
                return Ok(Some(sender));
            }
            Err(io::Error::other("three connections in a row go away"))
        };
        let limited = async { tokio::time::timeout(LONG, asked).await };
        self.kept = self.runtime.block_on(limited)??;
        Ok(())
    }
}

fn is_farewell(error: &h2::Error) -> bool {
    error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR)
}
