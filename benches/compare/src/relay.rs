//! The floor: what it costs to pass bytes on, and nothing else.
//!
//!   client readable ─▶ recv ─▶ next backend's idle connection ─▶ send
//!   backend readable ─▶ recv ─▶ its client ─▶ send; idle again
//!
//! It reads no request and no answer: one read is taken for a whole one, which holds for small ones on loopback. Backends
//! take turns, as with the proxies. No proxy that reads what it passes on can cost less with the same system calls.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::net::{self, SocketFlags};

use crate::failure::{During, Failure};

/// What a token is of: a client's place, or a connection's to a backend.
const LISTENER: u64 = 1 << 63;
const UPSTREAM: u64 = 1 << 62;

struct Upstream {
    stream: TcpStream,
    /// Whose turn it is again when it is idle.
    backend: usize,
    /// Who waits for its answer.
    client: usize,
}

struct Relay {
    poll: std::os::fd::OwnedFd,
    first: u16,
    clients: Vec<Option<TcpStream>>,
    free: Vec<usize>,
    upstreams: Vec<Upstream>,
    /// Idle connections of each backend.
    idle: Vec<Vec<usize>>,
    turn: usize,
}

/// Relays from `port` to `count` backends from `first` on, until it is ended.
///
/// # Errors
/// The port is taken, a backend is not there.
pub(crate) fn run(port: u16, first: u16, count: u16) -> Result<(), Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).during("the relay's port")?;
    listener.set_nonblocking(true).during("the relay")?;
    net::listen(&listener, 4096).during("the relay")?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).during("the relay")?;
    epoll::add(
        &poll,
        &listener,
        EventData::new_u64(LISTENER),
        EventFlags::IN,
    )
    .during("the relay")?;
    let mut relay = Relay {
        poll,
        first,
        clients: Vec::new(),
        free: Vec::new(),
        upstreams: Vec::new(),
        idle: vec![Vec::new(); count.into()],
        turn: 0,
    };
    relay.serve(&listener).during("relaying")
}

impl Relay {
    fn serve(&mut self, listener: &TcpListener) -> io::Result<()> {
        let mut events = Vec::with_capacity(512);
        let mut scratch = vec![0; 1 << 18];
        loop {
            events.clear();
            match epoll::wait(
                &self.poll,
                rustix::buffer::spare_capacity(&mut events),
                None,
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept(listener)?,
                    token if token & UPSTREAM != 0 => {
                        self.answer((token ^ UPSTREAM) as usize, &mut scratch)?;
                    }
                    token => self.ask(token as usize, &mut scratch)?,
                }
            }
        }
    }

    fn watch(&self, stream: &TcpStream, token: u64) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let interest = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.poll, stream, EventData::new_u64(token), interest)?;
        Ok(())
    }

    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        while let Ok(fd) = net::accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
        {
            let at = self.free.pop().unwrap_or_else(|| {
                self.clients.push(None);
                self.clients.len() - 1
            });
            let stream = TcpStream::from(fd);
            self.watch(&stream, at as u64)?;
            self.clients[at] = Some(stream);
        }
        Ok(())
    }

    /// A client asks: the next backend's turn.
    fn ask(&mut self, client: usize, scratch: &mut [u8]) -> io::Result<()> {
        let Some(stream) = &mut self.clients[client] else {
            return Ok(());
        };
        let read = match stream.read(scratch) {
            Ok(read @ 1..) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            _ => {
                self.clients[client] = None;
                self.free.push(client);
                return Ok(());
            }
        };
        let backend = self.turn % self.idle.len();
        self.turn += 1;
        let at = match self.idle[backend].pop() {
            Some(at) => at,
            None => self.connect(backend)?,
        };
        let upstream = &mut self.upstreams[at];
        upstream.client = client;
        upstream.stream.write_all(&scratch[..read])
    }

    fn connect(&mut self, backend: usize) -> io::Result<usize> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.first + backend as u16))?;
        stream.set_nonblocking(true)?;
        let at = self.upstreams.len();
        self.watch(&stream, UPSTREAM | at as u64)?;
        self.upstreams.push(Upstream {
            stream,
            backend,
            client: 0,
        });
        Ok(at)
    }

    /// A backend answers.
    fn answer(&mut self, at: usize, scratch: &mut [u8]) -> io::Result<()> {
        let upstream = &mut self.upstreams[at];
        let read = match upstream.stream.read(scratch) {
            Ok(read @ 1..) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            _ => return Err(ErrorKind::UnexpectedEof.into()),
        };
        // A client that has left takes nothing.
        if let Some(stream) = &mut self.clients[upstream.client] {
            let _ = stream.write_all(&scratch[..read]);
        }
        self.idle[upstream.backend].push(at);
        Ok(())
    }
}
