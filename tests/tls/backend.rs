//! A backend that speaks TLS, and does what a test tells it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use lb::tls::certificate::Files;
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};

use crate::DEADLINE;
use crate::authority::{Authority, read};

/// A connection after its handshake.
pub(crate) type Stream = StreamOwned<ServerConnection, TcpStream>;

/// A handshake: from scratch or resumed, and the name that was asked for.
pub(crate) type Shaken = (Option<HandshakeKind>, Option<String>);

/// Listens; its threads end with the process.
pub(crate) struct Backend {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    handshakes: Arc<Mutex<Vec<Shaken>>>,
    failed: Arc<AtomicUsize>,
}

impl Backend {
    /// Answers each head with `answer`'s bytes, until those end with a connection to be closed: `false`.
    pub(crate) fn new(
        files: &Files,
        clients: Option<&Authority>,
        answer: impl Fn(&str, &mut Stream) -> bool + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let backend = Self {
            address: listener.local_addr().expect("an address"),
            requests: Arc::default(),
            handshakes: Arc::default(),
            failed: Arc::default(),
        };
        let config = config(files, clients);
        let (requests, handshakes) = (backend.requests.clone(), backend.handshakes.clone());
        let (failed, answer) = (backend.failed.clone(), Arc::new(answer));
        thread::spawn(move || {
            for socket in listener.incoming() {
                let Ok(socket) = socket else { return };
                socket.set_read_timeout(Some(DEADLINE)).expect("set");
                let session = ServerConnection::new(config.clone()).expect("a session");
                let mut stream = StreamOwned::new(session, socket);
                let (requests, handshakes) = (requests.clone(), handshakes.clone());
                let (failed, answer) = (failed.clone(), answer.clone());
                thread::spawn(move || {
                    while stream.conn.is_handshaking() {
                        if stream.conn.complete_io(&mut stream.sock).is_err() {
                            failed.fetch_add(1, Ordering::SeqCst);
                            return;
                        }
                    }
                    let name = stream.conn.server_name().map(str::to_owned);
                    let kind = stream.conn.handshake_kind();
                    handshakes.lock().unwrap().push((kind, name));
                    while let Some(head) = head(&mut stream) {
                        requests.lock().unwrap().push(head.clone());
                        if !answer(&head, &mut stream) {
                            return;
                        }
                    }
                });
            }
        });
        backend
    }

    /// Answers everything with `200` and its name.
    pub(crate) fn named(files: &Files, clients: Option<&Authority>, name: &'static str) -> Self {
        Self::new(files, clients, move |_, stream| {
            let length = name.len();
            let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}");
            stream.write_all(text.as_bytes()).is_ok()
        })
    }

    /// Heads so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// Handshakes so far, and the names that were asked for.
    pub(crate) fn handshakes(&self) -> Vec<Shaken> {
        self.handshakes.lock().unwrap().clone()
    }

    /// Handshakes that failed.
    pub(crate) fn failed(&self) -> usize {
        self.failed.load(Ordering::SeqCst)
    }
}

fn head(stream: &mut Stream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => bytes.push(byte[0]),
            _ => return None,
        }
    }
    String::from_utf8(bytes).ok()
}

/// What shakes hands, for HTTP/1.
pub(crate) fn config(files: &Files, clients: Option<&Authority>) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(authority.roots(), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
    };
    let (chain, key) = read(files);
    let mut config = builder.with_single_cert(chain, key).expect("a pair");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.into()
}
