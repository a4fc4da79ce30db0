//! The client of a case: its steps, and what it read.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use lb::clock;

use crate::backend::Shared;
use crate::case::{Case, Protocol, Side};
use crate::outcome::{Ended, Outcome};
use crate::two;
use crate::wire::{self, Message, Tail, What};

/// One thing that a client does.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Sends bytes; a connection that has ended meanwhile is no fault of the client.
    Send(Vec<u8>),
    /// Waits until the backend has received this.
    AwaitBackend(&'static str),
    /// Waits until this client has read this.
    AwaitClient(&'static str),
    /// Waits until the backend is done with so many plays.
    AwaitPlays(usize),
    /// Waits for time, where the rule is about time.
    Pause(Duration),
    /// Says that nothing more comes.
    HalfClose,
    /// Closes with a reset.
    Reset,
}

/// One connection, read by a thread of its own.
struct Client {
    stream: TcpStream,
    shared: Shared,
    ended: Arc<Mutex<Ended>>,
    reader: JoinHandle<()>,
    longest: Duration,
    two: bool,
}

/// What was read, taken apart.
#[derive(Default)]
pub(crate) struct Parsed {
    pub(crate) interim: Vec<Message>,
    pub(crate) responses: Vec<Message>,
    pub(crate) garbage: Option<String>,
}

/// Plays the client's part; what the backend saw is added later.
pub(crate) fn play(case: &Case, stream: TcpStream, shared: &Shared, longest: Duration) -> Outcome {
    let client = Client::new(case, stream, shared.clone(), longest);
    let mut stuck = None;
    for step in &case.steps() {
        if let Err(why) = client.step(step) {
            stuck = Some(why);
            break;
        }
    }
    let begun = clock::now();
    if stuck.is_none() && !client.read(&case.methods, case.methods.len()) {
        stuck = Some(format!("{} responses did not come", case.methods.len()));
    }
    if stuck.is_none() && case.end && !client.until(|_, ended| ended != Ended::Open) {
        stuck = Some("the connection did not end".to_owned());
    }
    let took = begun.elapsed();
    let parsed = client.parsed(&case.methods);
    let read = shared.with(|stage| stage.client.clone());
    let probe = (stuck.is_none() && case.probe).then(|| client.probe(&case.methods));
    Outcome {
        interim: parsed.interim,
        responses: parsed.responses,
        garbage: parsed.garbage,
        probe,
        took,
        stuck,
        read,
        ended: client.close(),
        connections: Vec::new(),
        requests: Vec::new(),
        unframed: None,
    }
}

impl Client {
    fn new(case: &Case, stream: TcpStream, shared: Shared, longest: Duration) -> Self {
        let two = case.protocol(Side::Client) == Protocol::Two;
        let _ = stream.set_nodelay(true);
        let _ = stream.set_write_timeout(Some(longest));
        if two {
            let _ = (&stream).write_all(&two::greeting());
        }
        let ended = Arc::new(Mutex::new(Ended::Open));
        let mut reading = stream.try_clone().expect("a second descriptor");
        let (told, news) = (ended.clone(), shared.clone());
        let reader = std::thread::spawn(move || {
            let mut chunk = [0; 64 * 1024];
            let end = loop {
                match reading.read(&mut chunk) {
                    Ok(0) => break Ended::InOrder,
                    Ok(count) => {
                        news.with(|stage| stage.client.extend_from_slice(&chunk[..count]));
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => break Ended::Reset,
                }
            };
            news.with(|_| *told.lock().expect("no panic") = end);
        });
        Self {
            stream,
            shared,
            ended,
            reader,
            longest,
            two,
        }
    }

    fn step(&self, step: &Step) -> Result<(), String> {
        let arrived = match step {
            Step::Send(bytes) => {
                // An end or a reset shows in what is read; only a full buffer is noted.
                let sent = (&self.stream).write_all(bytes);
                !sent.is_err_and(|error| {
                    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
                })
            }
            Step::AwaitBackend(needle) => self.shared.until(self.longest, |stage| {
                let mut all = stage.connections.iter().chain([&stage.heads]);
                all.any(|bytes| wire::find(bytes, needle.as_bytes()).is_some())
            }),
            Step::AwaitClient(needle) => {
                self.until(|read, _| wire::find(read, needle.as_bytes()).is_some())
            }
            Step::AwaitPlays(count) => self
                .shared
                .until(self.longest, |stage| stage.done >= *count),
            Step::Pause(time) => {
                std::thread::sleep(*time);
                true
            }
            Step::HalfClose => {
                let _ = self.stream.shutdown(Shutdown::Write);
                true
            }
            Step::Reset => {
                // The reader holds the socket too, so closing this one would say nothing.
                let _ = rustix::net::connect_unspec(&self.stream);
                true
            }
        };
        match arrived {
            true => Ok(()),
            false => Err(format!("waited in vain: {step:?}")),
        }
    }

    /// Waits until `count` final responses are whole, or nothing more comes; false if neither happens in time.
    fn read(&self, methods: &[&'static str], count: usize) -> bool {
        self.until(|read, ended| {
            let parsed = self.parse(read, methods, ended);
            ended != Ended::Open || parsed.garbage.is_some() || parsed.responses.len() >= count
        })
    }

    /// Whether the connection answers one more request.
    fn probe(&self, methods: &[&'static str]) -> bool {
        let _ = (&self.stream).write_all(&match self.two {
            true => two::probe(methods.len()),
            false => b"GET /probe HTTP/1.1\r\nHost: probe\r\n\r\n".to_vec(),
        });
        let methods = [methods, &["GET"]].concat();
        self.read(&methods, methods.len());
        let parsed = self.parsed(&methods);
        let last = parsed.responses.get(methods.len() - 1);
        last.is_some_and(|response| response.complete && response.text() == "probe")
    }

    fn parsed(&self, methods: &[&'static str]) -> Parsed {
        let end = *self.ended.lock().expect("no panic");
        self.shared
            .with(|stage| self.parse(&stage.client, methods, end))
    }

    fn parse(&self, bytes: &[u8], methods: &[&'static str], ended: Ended) -> Parsed {
        match self.two {
            true => two::parse(bytes, methods.len()),
            false => parse(bytes, methods, tail(ended)),
        }
    }

    fn until(&self, holds: impl Fn(&[u8], Ended) -> bool) -> bool {
        self.shared.until(self.longest, |stage| {
            holds(&stage.client, *self.ended.lock().expect("no panic"))
        })
    }

    fn close(self) -> Ended {
        let ended = *self.ended.lock().expect("no panic");
        let _ = self.stream.shutdown(Shutdown::Both);
        self.reader.join().expect("no panic");
        ended
    }
}

fn tail(ended: Ended) -> Tail {
    match ended {
        Ended::Open => Tail::More,
        Ended::InOrder => Tail::End,
        Ended::Reset => Tail::Cut,
    }
}

/// Takes responses apart; `methods` says what they answer. An unasked one behind them is garbage.
fn parse(mut bytes: &[u8], methods: &[&'static str], tail: Tail) -> Parsed {
    let mut parsed = Parsed::default();
    let mut tunnel = false;
    while !bytes.is_empty() && !tunnel {
        let method = methods.get(parsed.responses.len());
        match wire::read(bytes, What::Response(method == Some(&"HEAD")), tail) {
            Ok(None) => break,
            Ok(Some((message, used))) => {
                bytes = &bytes[used..];
                tunnel = message.status() == 101;
                match message.status() {
                    100 | 102..200 => parsed.interim.push(message),
                    _ => parsed.responses.push(message),
                }
            }
            Err(why) => {
                parsed.garbage = Some(why);
                break;
            }
        }
    }
    parsed
}
