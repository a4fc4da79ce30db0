//! Five hundred web servers in one thread, as cheap as can be: what is measured is the proxy.
//!
//!   accept ──▶ read a head ──▶ a ready answer ──▶ write (all of it, or the rest when there is room)
//!
//! `/1k`, `/64k` and `/1m` answer that many bytes, `/echo-head` the head that came, anything else
//! 128 bytes. Only requests without a body, one at a time on a connection.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::net::{self, SocketFlags};
use rustix::thread::{Pid, gettid};

use crate::failure::{During, Failure};

/// Marks the token of a listener.
const LISTENER: u64 = 1 << 63;

/// Starts the servers on ports from `first` on, and says which thread they are.
///
/// # Errors
/// A port is taken.
pub(crate) fn start(first: u16, count: u16) -> Result<Pid, Failure> {
    let mut listeners = Vec::new();
    for port in first..first + count {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .during(format_args!("a backend on port {port}"))?;
        listener.set_nonblocking(true).during("a backend")?;
        // The standard library's own backlog is short for 500 connects at once.
        net::listen(&listener, 4096).during("a backend")?;
        listeners.push(listener);
    }
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let _ = tell.send(gettid());
        let error = serve(&listeners);
        eprintln!("compare: the backends ended: {error:?}");
        std::process::exit(1);
    });
    told.recv().during("starting the backends")
}

/// A body's size by its path.
pub(crate) fn body_of(path: &str) -> usize {
    match path {
        "/1k" => 1 << 10,
        "/64k" => 1 << 16,
        "/1m" => 1 << 20,
        _ => 128,
    }
}

struct Client {
    stream: TcpStream,
    head: Vec<u8>,
    /// What is being answered, and how much of it has been.
    answer: Option<(Rc<[u8]>, usize)>,
}

fn serve(listeners: &[TcpListener]) -> io::Result<()> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (at, listener) in listeners.iter().enumerate() {
        let token = EventData::new_u64(LISTENER | at as u64);
        epoll::add(&poll, listener, token, EventFlags::IN)?;
    }
    let answers: HashMap<&[u8], Rc<[u8]>> = ["/", "/1k", "/64k", "/1m"]
        .map(|path| (path.as_bytes(), answer(&vec![b'x'; body_of(path)])))
        .into();
    let mut clients: HashMap<u64, Client> = HashMap::new();
    let mut next = 0;
    let mut events = Vec::with_capacity(512);
    let mut scratch = vec![0; 1 << 16];
    loop {
        events.clear();
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let token = event.data.u64();
            if token & LISTENER != 0 {
                let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
                while let Ok(fd) = net::accept_with(&listeners[(token ^ LISTENER) as usize], flags)
                {
                    clients.insert(next, admit(&poll, fd, next)?);
                    next += 1;
                }
            } else if let Some(client) = clients.get_mut(&token)
                && client.step(&answers, &mut scratch).is_err()
            {
                clients.remove(&token);
            }
        }
    }
}

fn admit(poll: &OwnedFd, fd: OwnedFd, token: u64) -> io::Result<Client> {
    let stream = TcpStream::from(fd);
    stream.set_nodelay(true)?;
    let interest = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
    epoll::add(poll, &stream, EventData::new_u64(token), interest)?;
    Ok(Client {
        stream,
        head: Vec::new(),
        answer: None,
    })
}

impl Client {
    /// Reads and answers as far as it goes without waiting; an error is the end of the connection.
    fn step(&mut self, answers: &HashMap<&[u8], Rc<[u8]>>, scratch: &mut [u8]) -> io::Result<()> {
        loop {
            self.write()?;
            if self.answer.is_some() {
                return Ok(());
            }
            let read = match self.stream.read(scratch) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            self.head.extend_from_slice(&scratch[..read]);
            if self.head.ends_with(b"\r\n\r\n") {
                let path = self.head.split(|&byte| byte == b' ').nth(1).unwrap_or(b"/");
                self.answer = Some(match answers.get(path) {
                    Some(ready) => (ready.clone(), 0),
                    None if path == b"/echo-head" => (answer(&self.head), 0),
                    None => (answers[&b"/"[..]].clone(), 0),
                });
                self.head.clear();
            }
            // Edges: more data or more room comes as an event of its own.
            if read < scratch.len() {
                return self.write();
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        while let Some((bytes, done)) = &mut self.answer {
            match self.stream.write(&bytes[*done..]) {
                Ok(wrote) => *done += wrote,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if *done == bytes.len() {
                self.answer = None;
            }
        }
        Ok(())
    }
}

fn answer(body: &[u8]) -> Rc<[u8]> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Sat, 21 Nov 2026 07:00:00 GMT\r\nContent-Type: text/plain\r\n\
         Content-Length: {}\r\nCache-Control: no-store\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat().into()
}
