//! Backends that do exactly what a test tells them.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use socket2::SockRef;

use crate::peer::{Message, Peer};

/// What to do after a request.
pub(crate) enum Then {
    /// Read the next one.
    Keep,
    /// Close.
    Close,
    /// Close with a reset.
    Reset,
}

/// A listening backend; its threads end with the process.
pub(crate) struct Toy {
    pub address: SocketAddr,
    listener: Arc<TcpListener>,
    log: Arc<Mutex<Vec<Message>>>,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Toy {
    /// Gives each connection, and its number from 0 on, to `handler`.
    pub(crate) fn raw(handler: impl Fn(Peer, usize) + Send + Sync + 'static) -> Self {
        let listener = listen();
        Self::raw_at(listener, handler)
    }

    /// The same, where the kernel of whoever sends takes little at once, as on a network: loopback takes megabytes.
    pub(crate) fn raw_and_narrow(handler: impl Fn(Peer, usize) + Send + Sync + 'static) -> Self {
        let listener = listen();
        narrow(&listener);
        Self::raw_at(listener, handler)
    }

    fn raw_at(
        listener: TcpListener,
        handler: impl Fn(Peer, usize) + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("an address");
        let listener = Arc::new(listener);
        let toy = Self {
            address,
            listener: listener.clone(),
            log: Arc::default(),
            connections: Arc::default(),
            open: Arc::default(),
        };
        let (connections, open) = (toy.connections.clone(), toy.open.clone());
        let handler = Arc::new(handler);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let number = connections.fetch_add(1, Ordering::SeqCst);
                open.fetch_add(1, Ordering::SeqCst);
                let guard = Open(open.clone());
                let handler = handler.clone();
                thread::spawn(move || {
                    handler(Peer::new(stream), number);
                    drop(guard);
                });
            }
        });
        toy
    }

    /// Its queue is full, so that whoever connects has to wait, until `gate` opens; then it hears everybody and says nothing.
    pub(crate) fn crowded(gate: Arc<Barrier>) -> Self {
        let listener = listen();
        // One may wait, and that is this one.
        rustix::net::listen(&listener, 0).expect("a shorter queue");
        let address = listener.local_addr().expect("an address");
        let first = TcpStream::connect(address).expect("room for one");
        let toy = Self {
            address,
            listener: Arc::new(listener),
            log: Arc::default(),
            connections: Arc::default(),
            open: Arc::default(),
        };
        let (listener, log) = (toy.listener.clone(), toy.log.clone());
        thread::spawn(move || {
            gate.wait();
            drop(first);
            for stream in listener.incoming().flatten() {
                let log = log.clone();
                thread::spawn(move || {
                    let mut peer = Peer::new(stream);
                    while let Some(request) = peer.try_request() {
                        log.lock().unwrap().push(request);
                    }
                });
            }
        });
        toy
    }

    /// Gives each request, and its number from 0 on over all connections, to `script`.
    pub(crate) fn scripted(
        script: impl Fn(&Message, usize, &mut Peer) -> Then + Send + Sync + 'static,
    ) -> Self {
        let log: Arc<Mutex<Vec<Message>>> = Arc::default();
        let kept = log.clone();
        let toy = Self::raw(move |mut peer, _| {
            while let Some(request) = peer.try_request() {
                let number = {
                    let mut log = kept.lock().unwrap();
                    log.push(request.clone());
                    log.len() - 1
                };
                match script(&request, number, &mut peer) {
                    Then::Keep => {}
                    Then::Close => return,
                    Then::Reset => return peer.reset(),
                }
            }
        });
        Self { log, ..toy }
    }

    /// One whose handler writes down what it hears.
    pub(crate) fn logging(self, log: Arc<Mutex<Vec<Message>>>) -> Self {
        Self { log, ..self }
    }

    /// Answers everything with `200` and its name.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::scripted(move |request, _, peer| {
            answer(peer, request, name);
            Then::Keep
        })
    }

    /// An address where nothing listens, and nobody else will as long as this is there.
    pub(crate) fn refusing() -> Self {
        let toy = Self::raw(|_, _| {});
        toy.stop();
        toy
    }

    /// Stops listening; connections go on.
    ///
    /// The port stays taken: another test's listener would else get it, and answer where nobody should.
    pub(crate) fn stop(&self) {
        let listener = SockRef::from(&*self.listener);
        listener
            .shutdown(std::net::Shutdown::Read)
            .expect("it listens");
        crate::until("the toy stops listening", || {
            TcpStream::connect(self.address).is_err()
        });
    }

    /// Requests so far, oldest first.
    pub(crate) fn requests(&self) -> Vec<Message> {
        self.log.lock().unwrap().clone()
    }

    /// How many requests so far.
    pub(crate) fn count(&self) -> usize {
        self.log.lock().unwrap().len()
    }

    /// Connections ever.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Connections now.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

/// On a port asked for by number: one that the kernel chose is its own again once nobody listens there, and not ours.
fn listen() -> TcpListener {
    loop {
        let chosen = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = chosen.local_addr().expect("an address");
        drop(chosen);
        // Another test may have been faster.
        if let Ok(listener) = TcpListener::bind(address) {
            return listener;
        }
    }
}

/// Small packets and a small buffer to receive into; for a listener, those of its connections.
pub(crate) fn narrow(socket: impl AsFd) {
    let socket = SockRef::from(&socket);
    socket.set_tcp_mss(536).expect("a TCP socket");
    socket.set_recv_buffer_size(4096).expect("a socket");
}

/// `200` with a text.
pub(crate) fn answer(peer: &mut Peer, request: &Message, text: &str) {
    let body = if request.start().starts_with("HEAD ") {
        ""
    } else {
        text
    };
    peer.try_send(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        text.len()
    ));
}
