//! Clients that never stop, and note everything that is not a whole, right answer.
//!
//! ```text
//! kept: one connection for as long as it is kept   fresh: one for each request   post: a body that comes back
//! slow: 300 ms an answer                           idle: a request every 400 ms on a connection that is kept
//! http2: streams on one connection, by prior knowledge, until it is told to go away
//! ```

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::common::eventually;
use crate::rig::{LONG, Notes, head};

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
    stop: Arc<AtomicBool>,
    counts: Vec<Arc<AtomicU64>>,
    failures: Notes,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Two of each kind.
    pub(crate) fn start(to: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let failures = Notes::default();
        let (mut counts, mut threads) = (Vec::new(), Vec::new());
        for kind in KINDS.into_iter().chain(KINDS) {
            let count = Arc::new(AtomicU64::new(0));
            counts.push(Arc::clone(&count));
            let (stop, failures) = (Arc::clone(&stop), Arc::clone(&failures));
            threads.push(std::thread::spawn(move || {
                let mut client = Client {
                    to,
                    kind,
                    kept: None,
                };
                let mut number = 0;
                let mut streams = (kind == Kind::Http2).then(|| Streams::new(to));
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
                            let note = format!("{kind:?} {number}: {error}");
                            failures.lock().unwrap().push(note);
                        }
                    }
                    std::thread::sleep(if kind == Kind::Idle { IDLE } else { PAUSE });
                }
            }));
        }
        Self {
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

    /// Ends it; how many were answered, with none failed.
    pub(crate) fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("a client does not panic");
        }
        self.none_failed();
        self.counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Client {
    to: SocketAddr,
    kind: Kind,
    kept: Option<BufReader<TcpStream>>,
}

impl Client {
    fn ask(&mut self, number: u64) -> io::Result<()> {
        let mut stream = match self.kept.take() {
            Some(kept) => kept,
            None => {
                let stream = TcpStream::connect(self.to)?;
                stream.set_read_timeout(Some(LONG))?;
                stream.set_nodelay(true)?;
                BufReader::new(stream)
            }
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
    to: SocketAddr,
    runtime: tokio::runtime::Runtime,
    kept: Option<h2::client::SendRequest<bytes::Bytes>>,
}

impl Streams {
    fn new(to: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        Self {
            to,
            runtime,
            kept: None,
        }
    }

    fn ask(&mut self, number: u64) -> io::Result<()> {
        let (to, mut kept) = (self.to, self.kept.take());
        let asked = async {
            // A connection that is told to go away takes no further request: that one was never sent.
            for _ in 0..3 {
                let sender = match kept.take() {
                    Some(sender) => sender,
                    None => connect(to).await?,
                };
                let mut sender = match sender.ready().await {
                    Ok(sender) => sender,
                    Err(error) if is_farewell(&error) => continue,
                    Err(error) => return Err(io::Error::other(error)),
                };
                let request = http::Request::get(format!("http://{to}/{number}"));
                let request = request.body(()).expect("a request");
                let answer = match sender.send_request(request, true) {
                    Ok((answer, _)) => answer,
                    Err(error) if is_farewell(&error) => continue,
                    Err(error) => return Err(io::Error::other(error)),
                };
                let (head, mut body) = answer.await.map_err(io::Error::other)?.into_parts();
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

async fn connect(to: SocketAddr) -> io::Result<h2::client::SendRequest<bytes::Bytes>> {
    let stream = tokio::net::TcpStream::connect(to).await?;
    let (sender, connection) = h2::client::handshake(stream)
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(async {
        let _ = connection.await;
    });
    Ok(sender)
}
