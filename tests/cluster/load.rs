//! A steady load with its failures counted: 200 requests a second, half on new connections, 10 % POST, 10 % slow.
//! And the rule by which its failures decide.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::net::Host;
use crate::peers::Front;
use crate::world::World;

/// Whether all bars held; if not, the first that did not.
pub(crate) type Held = Result<(), String>;

/// A bar, and what to say where it did not hold.
pub(crate) fn bar(held: bool, why: impl FnOnce() -> String) -> Held {
    held.then_some(()).ok_or_else(why)
}

/// Holds `run` to its bars, on a fresh world each time. Other fronts than ours run once, for the figures.
///
/// Which packet is lost and whom a busy machine keeps waiting is chance, so one run decides nothing that is not clear:
/// after one that failed two more have to hold.
pub(crate) fn holds(fresh: impl Fn() -> World, run: impl Fn(&mut World) -> Held) {
    match run(&mut fresh()) {
        Err(why) if Front::chosen() == Front::Lb => println!("once more, twice: {why}"),
        _ => return,
    }
    for _ in 0..2 {
        // It ends after the panic, so that its programs show what they printed.
        let mut world = fresh();
        run(&mut world).unwrap_or_else(|why| panic!("two runs of three: {why}"));
    }
}

/// One request and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) number: usize,
    pub(crate) post: bool,
    pub(crate) begun: Instant,
    pub(crate) took: Duration,
    /// The node that answered, or why nobody did.
    pub(crate) outcome: Result<String, String>,
}

/// A load under way.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Sample>>>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) samples: Vec<Sample>,
}

impl Load {
    /// From `host` to `target`, `per_second`.
    pub(crate) fn start(host: &Host, target: SocketAddr, per_second: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let next = Arc::new(AtomicUsize::new(0));
        let start = Instant::now();
        let gap = Duration::from_secs(1) / per_second;
        let threads = (0..THREADS)
            .map(|_| {
                let (stop, next) = (Arc::clone(&stop), Arc::clone(&next));
                host.run(move || {
                    let mut samples = Vec::new();
                    let mut kept = None;
                    while !stop.load(Ordering::Relaxed) {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let due = start + gap * u32::try_from(number).expect("a short run");
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                        samples.push(request(target, number, &mut kept));
                    }
                    samples
                })
            })
            .collect();
        Self { stop, threads }
    }

    /// Ends it; requests under way are waited for.
    pub(crate) fn finish(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let mut samples: Vec<Sample> = self
            .threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("a client does not panic"))
            .collect();
        samples.sort_by_key(|sample| sample.number);
        Report { samples }
    }
}

impl Report {
    /// Requests that nobody answered.
    pub(crate) fn failed(&self, post: bool) -> Vec<&Sample> {
        self.samples
            .iter()
            .filter(|sample| sample.post == post && sample.outcome.is_err())
            .collect()
    }

    /// How long after `fault` the last request was begun that failed, or took a second more than it should.
    pub(crate) fn last_hurt(&self, fault: Instant) -> Option<Duration> {
        let hurt = |sample: &&Sample| {
            let honest = if is_slow(sample.number) {
                SLOW
            } else {
                Duration::ZERO
            };
            sample.outcome.is_err() || sample.took > honest + HURT
        };
        let after = self.samples.iter().filter(hurt).map(|sample| sample.begun);
        after
            .max()
            .map(|last| last.saturating_duration_since(fault))
    }

    /// Of GETs and of POSTs no more than so many failed.
    pub(crate) fn at_most(&self, gets: usize, posts: usize) -> Held {
        for (kind, post, most) in [("GETs", false, gets), ("POSTs", true, posts)] {
            let failed = self.failed(post);
            bar(failed.len() <= most, || {
                format!("{} {kind} failed, first {:?}", failed.len(), failed[0])
            })?;
        }
        Ok(())
    }

    /// Nothing was hurt later than `longest` after `fault`.
    pub(crate) fn hurt_within(&self, fault: Instant, longest: Duration) -> Held {
        let last = self.last_hurt(fault).unwrap_or_default();
        bar(last <= longest, || {
            format!("a request was hurt {last:?} after the fault")
        })
    }

    /// One line of figures.
    pub(crate) fn summary(&self, fault: Instant) -> String {
        let (gets, posts) = (self.failed(false).len(), self.failed(true).len());
        let hurt = match self.last_hurt(fault) {
            Some(after) => format!("last hurt {:.1} s after", after.as_secs_f64()),
            None => "none hurt".to_owned(),
        };
        format!(
            "{} requests, failed {gets} GET and {posts} POST, {hurt}",
            self.samples.len()
        )
    }

    /// What failed requests were told, and how many of them.
    pub(crate) fn reasons(&self) -> BTreeMap<&str, usize> {
        let mut reasons = BTreeMap::new();
        let told = self
            .samples
            .iter()
            .filter_map(|sample| sample.outcome.as_ref().err());
        for why in told {
            *reasons.entry(why.as_str()).or_default() += 1;
        }
        reasons
    }

    /// The first answer of `node` begun after `since`.
    pub(crate) fn first_of(&self, node: &str, since: Instant) -> Option<Duration> {
        let answers = self
            .samples
            .iter()
            .filter(|sample| sample.begun >= since && sample.outcome.as_deref() == Ok(node));
        answers
            .map(|sample| sample.begun + sample.took - since)
            .min()
    }

    /// How long after `since` the first good answer came, of whoever.
    pub(crate) fn first_good(&self, since: Instant) -> Option<Duration> {
        let good = self
            .samples
            .iter()
            .filter(|sample| sample.begun >= since && sample.outcome.is_ok());
        good.map(|sample| sample.begun + sample.took - since).min()
    }

    /// Requests begun after `since` that nobody answered.
    pub(crate) fn failed_since(&self, since: Instant) -> usize {
        let after = self.samples.iter().filter(|sample| sample.begun >= since);
        after.filter(|sample| sample.outcome.is_err()).count()
    }

    /// The last request begun after `since` that `node` answered.
    pub(crate) fn last_of(&self, node: &str) -> Option<Instant> {
        self.samples
            .iter()
            .filter(|sample| sample.outcome.as_deref() == Ok(node))
            .map(|sample| sample.begun)
            .max()
    }
}

/// Half the threads' requests reuse a connection; a connection that fails is not kept.
fn request(target: SocketAddr, number: usize, kept: &mut Option<TcpStream>) -> Sample {
    let post = number % 10 == 3;
    let slow = is_slow(number);
    let reuse = number.is_multiple_of(2);
    let begun = Instant::now();
    let mut outcome = Err("not tried".to_owned());
    // A kept connection may have been closed while idle: that is the client's to repeat, once, as any client does.
    let stale = if reuse { kept.take() } else { None };
    for stream in [
        stale.map(Ok),
        Some(TcpStream::connect_timeout(&target, LONGEST)),
    ]
    .into_iter()
    .flatten()
    {
        outcome = stream
            .map_err(|error| format!("connect: {error}"))
            .and_then(|stream| {
                let node = exchange(&stream, number, post, slow)?;
                if reuse {
                    *kept = Some(stream);
                }
                Ok(node)
            });
        if outcome.as_ref().err().is_none_or(|why| why != CLOSED_IDLE) {
            break;
        }
    }
    Sample {
        number,
        post,
        begun,
        took: begun.elapsed(),
        outcome,
    }
}

fn exchange(stream: &TcpStream, number: usize, post: bool, slow: bool) -> Result<String, String> {
    let text = |error: std::io::Error| error.to_string();
    stream.set_read_timeout(Some(LONGEST)).map_err(text)?;
    stream.set_nodelay(true).map_err(text)?;
    let path = if slow { "/slow" } else { "/" };
    let head = if post {
        let body = format!("post-{number}");
        format!(
            "POST {path} HTTP/1.1\r\nHost: vip\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    } else {
        format!("GET {path} HTTP/1.1\r\nHost: vip\r\n\r\n")
    };
    (&mut &*stream)
        .write_all(head.as_bytes())
        .map_err(|_| CLOSED_IDLE.to_owned())?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line).map_err(text)? == 0 {
        return Err(CLOSED_IDLE.to_owned());
    }
    let status = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut length = 0;
    loop {
        line.clear();
        if reader.read_line(&mut line).map_err(text)? == 0 {
            return Err("head cut short".to_owned());
        }
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().map_err(|_| "bad length".to_owned())?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).map_err(text)?;
    let body = String::from_utf8_lossy(&body).trim().to_owned();
    if status == "200" {
        Ok(body)
    } else {
        Err(format!("{status}: {body}"))
    }
}

/// One in ten asks for the slow page.
fn is_slow(number: usize) -> bool {
    number % 10 == 7
}

/// What the slow page takes.
const SLOW: Duration = Duration::from_millis(300);

/// A second more than it should take is felt by a person.
const HURT: Duration = Duration::from_secs(1);

const CLOSED_IDLE: &str = "closed while idle";
const THREADS: usize = 40;
const LONGEST: Duration = Duration::from_secs(10);
