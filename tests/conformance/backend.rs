//! A backend that plays what a case scripted and keeps every byte it received, per connection.
//!
//! ```text
//! begin(plays) ─▶ accept ─▶ thread per connection: request ─▶ next play ─▶ …   ─▶ finish(): all that was received
//!                             └── bytes, plays done, bytes the client read ──▶ Stage, one condition variable
//! ```
//!
//! What speaks HTTP/2 is in `streams`.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use lb::clock;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use socket2::{Domain, SockRef, Socket, Type};

use crate::streams::Streams;
use crate::wire::{self, Message, Tail, What};

/// Where the connection that ends a case comes from; no subject sends from there.
const MARKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// No wait of a backend may take longer.
const LONGEST: Duration = Duration::from_secs(20);

/// When a play begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// At the end of the request's head.
    Head,
    /// At the end of the request.
    Whole,
}

/// One thing that a backend does.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Sends bytes; in HTTP/2 they are frames, which say `ASKED` for the stream that was asked on.
    Send(Vec<u8>),
    /// Waits until the client has read this.
    AwaitClient(&'static str),
    /// Waits until this connection has brought this; in HTTP/2 the body of the request.
    AwaitReceived(&'static str),
    /// Waits until the subject resets the stream that was asked on.
    AwaitReset,
    /// Waits until the subject has read all that was sent: it answers a PING, or has ended the connection.
    AwaitPing,
    /// Waits until the subject ends this connection.
    AwaitEnd,
    /// Waits for time, where the rule is about time.
    Pause(Duration),
    /// Says that nothing more comes, and reads on.
    HalfClose,
    /// Closes.
    Close,
    /// Closes with a reset.
    Reset,
}

/// What is done at one request; the last one of a case is repeated.
#[derive(Clone, Debug)]
pub(crate) struct Play {
    /// When it begins.
    pub(crate) when: When,
    /// What is done.
    pub(crate) acts: Vec<Act>,
}

/// What the two ends of a case know of one another.
#[derive(Default)]
pub(crate) struct Stage {
    plays: Vec<Play>,
    /// What is said to a preface; nothing: this backend speaks HTTP/1.
    pub(crate) greeting: Option<Vec<u8>>,
    next: usize,
    /// Plays that are done.
    pub(crate) done: usize,
    /// What the client read.
    pub(crate) client: Vec<u8>,
    /// What was received, per connection.
    pub(crate) connections: Vec<Vec<u8>>,
    streams: Vec<Option<TcpStream>>,
    /// Heads that came by HTTP/2, as lines.
    pub(crate) heads: Vec<u8>,
    /// Connections that speak HTTP/2 and have not ended.
    pub(crate) framed: BTreeSet<usize>,
    threads: Vec<JoinHandle<()>>,
    pub(crate) requests: Vec<(usize, Message)>,
    pub(crate) unframed: Option<String>,
    over: bool,
    marked: bool,
}

impl Stage {
    /// The one for the next request.
    pub(crate) fn next_play(&mut self) -> Play {
        let last = self.plays.len() - 1;
        let play = self.plays[self.next.min(last)].clone();
        self.next += 1;
        play
    }
}

/// The stage, and the news of it.
#[derive(Clone)]
pub(crate) struct Shared(Arc<(Mutex<Stage>, Condvar)>);

impl Shared {
    /// A look at it, or a change of it that all are told.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Stage) -> T) -> T {
        let value = change(&mut self.lock());
        self.0.1.notify_all();
        value
    }

    /// Waits until it holds; false if it did not in time, or the case is over.
    pub(crate) fn until(&self, longest: Duration, holds: impl Fn(&Stage) -> bool) -> bool {
        self.wait(longest, |stage| match holds(stage) {
            true => Some(true),
            false => stage.over.then_some(false),
        })
    }

    fn wait(&self, longest: Duration, decided: impl Fn(&Stage) -> Option<bool>) -> bool {
        let deadline = clock::now() + longest;
        let mut stage = self.lock();
        loop {
            if let Some(decided) = decided(&stage) {
                return decided;
            }
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                return false;
            }
            stage = self.0.1.wait_timeout(stage, left).expect("no panic").0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.0.0.lock().expect("no thread panicked")
    }
}

/// What a backend saw in one case.
pub(crate) struct Seen {
    /// Bytes per connection.
    pub(crate) connections: Vec<Vec<u8>>,
    /// Whole requests, with the number of their connection.
    pub(crate) requests: Vec<(usize, Message)>,
    /// Why something is no HTTP.
    pub(crate) unframed: Option<String>,
}

/// A listening backend; its thread ends with the process.
pub(crate) struct Backend {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its stage.
    pub(crate) shared: Shared,
}

impl Backend {
    /// Listens, and refuses everything until a case begins.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Shared(Arc::default());
        shared.with(|stage| stage.over = true);
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                accept(&accepting, stream);
            }
        });
        Self { address, shared }
    }

    /// A new case.
    pub(crate) fn begin(&self, plays: Vec<Play>, greeting: Option<Vec<u8>>) {
        self.shared.with(|stage| {
            *stage = Stage {
                plays,
                greeting,
                ..Stage::default()
            }
        });
    }

    /// Ends the case: everything that was sent to this backend until now is in what it saw.
    ///
    /// The subject is told that its connections of HTTP/2 have ended, and has `closing` to close them: on one that is
    /// left, the next case's request could be sent.
    pub(crate) fn finish(&self, closing: Duration) -> Seen {
        // Connections are accepted in order: once the marker is there, so is all before it.
        let marker = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        marker
            .bind(&SocketAddr::from((MARKER, 0)).into())
            .expect("all of 127/8 is ours");
        marker.connect(&self.address.into()).expect("it listens");
        let marked = self
            .shared
            .until(Duration::from_secs(120), |stage| stage.marked);
        assert!(marked, "the backend accepts");
        self.shared.with(|stage| {
            stage.over = true;
            let streams = stage.streams.iter().enumerate();
            for (number, stream) in streams.filter_map(|(at, one)| Some((at, one.as_ref()?))) {
                // What has arrived is still read.
                let _ = stream.shutdown(match stage.framed.contains(&number) {
                    true => Shutdown::Write,
                    false => Shutdown::Both,
                });
            }
        });
        self.shared
            .wait(closing, |stage| stage.framed.is_empty().then_some(true));
        let threads = self.shared.with(|stage| {
            for stream in stage.streams.iter().flatten() {
                let _ = stream.shutdown(Shutdown::Both);
            }
            std::mem::take(&mut stage.threads)
        });
        for thread in threads {
            thread.join().expect("no panic");
        }
        self.shared.with(|stage| {
            stage.streams.clear();
            stage.requests.sort_by_key(|(connection, _)| *connection);
            Seen {
                connections: std::mem::take(&mut stage.connections),
                requests: std::mem::take(&mut stage.requests),
                unframed: stage.unframed.take(),
            }
        })
    }
}

fn accept(shared: &Shared, stream: TcpStream) {
    let marks = stream.peer_addr().is_ok_and(|peer| peer.ip() == MARKER);
    let _ = stream.set_nodelay(true);
    let Ok(copy) = stream.try_clone() else { return };
    let other = shared.clone();
    shared.with(|stage| {
        stage.marked |= marks;
        if marks || stage.over {
            return;
        }
        let connection = Connection {
            shared: other,
            stream: Some(stream),
            number: stage.connections.len(),
            at: 0,
        };
        if stage.greeting.is_some() {
            stage.framed.insert(stage.connections.len());
        }
        stage.connections.push(Vec::new());
        stage.streams.push(Some(copy));
        let thread = std::thread::spawn(move || connection.serve());
        stage.threads.push(thread);
    });
}

/// One accepted connection.
pub(crate) struct Connection {
    pub(crate) shared: Shared,
    stream: Option<TcpStream>,
    pub(crate) number: usize,
    /// Where the current request begins.
    pub(crate) at: usize,
}

impl Connection {
    fn serve(mut self) {
        if let Some(greeting) = self.shared.with(|stage| stage.greeting.clone()) {
            return Streams::new(self).serve(&greeting);
        }
        while self.request() {}
        // Whatever comes now is no request, or belongs to none.
        while self.more() {}
    }

    /// Plays one request; false if there is no next one.
    fn request(&mut self) -> bool {
        while wire::head_end(&self.received()).is_none() {
            if !self.more() {
                return false;
            }
        }
        let probe = self.received().starts_with(b"GET /probe ");
        let play = match probe {
            true => Play {
                when: When::Whole,
                acts: vec![Act::Send(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nprobe".to_vec(),
                )],
            },
            false => self.shared.with(Stage::next_play),
        };
        if play.when == When::Head {
            let goes_on = self.play(&play);
            self.whole(probe) && goes_on
        } else {
            self.whole(probe) && self.play(&play)
        }
    }

    /// Reads to the end of the request and notes it; false if it never ends.
    fn whole(&mut self, probe: bool) -> bool {
        loop {
            let message = match wire::read(&self.received(), What::Request, Tail::More) {
                Ok(message) => message,
                Err(why) => {
                    self.shared.with(|stage| stage.unframed = Some(why));
                    return false;
                }
            };
            if let Some((message, used)) = message {
                self.at += used;
                let number = self.number;
                self.shared.with(|stage| match probe {
                    true => {}
                    false => stage.requests.push((number, message)),
                });
                return true;
            }
            if !self.more() {
                return false;
            }
        }
    }

    /// False if the connection is closed then, or carries no requests any more.
    fn play(&mut self, play: &Play) -> bool {
        let mut goes_on = true;
        for act in &play.acts {
            goes_on &= self.act(act);
        }
        self.shared.with(|stage| stage.done += 1);
        goes_on
    }

    /// False if the connection is closed then, or carries no requests any more.
    pub(crate) fn act(&mut self, act: &Act) -> bool {
        match act {
            Act::Send(bytes) => {
                if let Some(mut stream) = self.stream.as_ref() {
                    let _ = stream.write_all(bytes);
                }
                // A tunnel from now on.
                !bytes.starts_with(b"HTTP/1.1 101")
            }
            Act::AwaitClient(needle) => self.shared.until(LONGEST, |stage| {
                wire::find(&stage.client, needle.as_bytes()).is_some()
            }),
            Act::AwaitReceived(needle) => {
                while wire::find(&self.received(), needle.as_bytes()).is_none() {
                    if !self.more() {
                        return false;
                    }
                }
                true
            }
            // Nothing of HTTP/1.
            Act::AwaitReset | Act::AwaitPing => true,
            Act::AwaitEnd => {
                while self.more() {}
                false
            }
            Act::Pause(time) => {
                std::thread::sleep(*time);
                true
            }
            Act::HalfClose => {
                self.shutdown(Shutdown::Write);
                false
            }
            Act::Close => {
                self.shutdown(Shutdown::Both);
                false
            }
            Act::Reset => {
                // The copy that `finish` uses goes too, or nothing would be closed.
                let number = self.number;
                let copy = self.shared.with(|stage| stage.streams[number].take());
                let own = self.stream.take();
                for stream in copy.iter().chain(&own) {
                    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
                }
                false
            }
        }
    }

    /// What this connection has brought since the current request began.
    pub(crate) fn received(&self) -> Vec<u8> {
        self.shared
            .with(|stage| stage.connections[self.number][self.at..].to_vec())
    }

    pub(crate) fn shutdown(&self, how: Shutdown) {
        if let Some(stream) = &self.stream {
            let _ = stream.shutdown(how);
        }
    }

    /// Sends all of it, and reads meanwhile: each end might wait for the other to read. False: the subject has gone.
    pub(crate) fn exchange(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let Some(stream) = &self.stream else {
                return false;
            };
            let mut ready = [PollFd::new(stream, PollFlags::IN | PollFlags::OUT)];
            if poll(&mut ready, None).is_err() {
                continue;
            }
            let ready = ready[0].revents();
            if ready.contains(PollFlags::OUT) {
                match send(stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                    Ok(count) => bytes = &bytes[count..],
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(_) => return false,
                }
            } else if !self.more() {
                return false;
            }
            if ready.contains(PollFlags::IN) && !self.more() {
                return false;
            }
        }
        true
    }

    /// Reads more; false at the end.
    pub(crate) fn more(&mut self) -> bool {
        let mut chunk = [0; 64 * 1024];
        let Some(stream) = &mut self.stream else {
            return false;
        };
        match stream.read(&mut chunk) {
            Ok(count) if count > 0 => {
                let number = self.number;
                self.shared
                    .with(|stage| stage.connections[number].extend_from_slice(&chunk[..count]));
                true
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            _ => false,
        }
    }
}
