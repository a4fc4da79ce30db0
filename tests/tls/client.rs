//! A client that speaks TLS by rustls, and HTTP/1 by hand.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use lb::tls::certificate::Files;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, StreamOwned, SupportedProtocolVersion,
};

use crate::DEADLINE;
use crate::authority::{Authority, read};

/// Versions by which all is tried.
pub(crate) const VERSIONS: [&SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

/// How to connect; sessions are remembered in it.
pub(crate) fn config(authority: &Authority) -> ClientConfig {
    of(authority, rustls::ALL_VERSIONS, None)
}

/// The same, of these versions, with a certificate of its own.
pub(crate) fn of(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    own: Option<&Files>,
) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(authority.roots());
    match own {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let (chain, key) = read(files);
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
    }
}

/// One connection.
pub(crate) struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
    ahead: Vec<u8>,
}

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Of its status line.
    pub status: u16,
    /// By its Content-Length, or to the end.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("a text")
    }
}

impl Client {
    /// After its handshake.
    pub(crate) fn connect(address: SocketAddr, config: &ClientConfig, name: &str) -> Self {
        let connected = Self::try_connect(address, config, name);
        connected.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// After its handshake, if that succeeds on this side.
    pub(crate) fn try_connect(
        address: SocketAddr,
        config: &ClientConfig,
        name: &str,
    ) -> std::io::Result<Self> {
        Self::shake(TcpStream::connect(address)?, config, name)
    }

    /// The same on a connection on which something may have been said in clear.
    pub(crate) fn shake(
        stream: TcpStream,
        config: &ClientConfig,
        name: &str,
    ) -> std::io::Result<Self> {
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let session = ClientConnection::new(config.clone().into(), name).expect("a session");
        let mut stream = StreamOwned::new(session, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self {
            stream,
            ahead: Vec::new(),
        })
    }

    /// The certificate that was shown.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        let shown = self.stream.conn.peer_certificates();
        shown.expect("certificates")[0].clone()
    }

    /// What was agreed on.
    pub(crate) fn session(&self) -> &ClientConnection {
        &self.stream.conn
    }

    /// The session goes on.
    pub(crate) fn is_resumed(&self) -> bool {
        self.stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The socket below.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.stream.sock
    }

    /// Sends all of it.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("sent");
        self.stream.flush().expect("sent");
    }

    /// Says that nothing more comes.
    pub(crate) fn say_end(&mut self) {
        self.stream.conn.send_close_notify();
        self.stream.flush().expect("sent");
    }

    /// Reads once. `Err`: an end without a word.
    pub(crate) fn more(&mut self) -> std::io::Result<usize> {
        let mut chunk = [0; 16 * 1024];
        let bytes = self.stream.read(&mut chunk)?;
        self.ahead.extend_from_slice(&chunk[..bytes]);
        Ok(bytes)
    }

    /// What has come and was not taken.
    pub(crate) fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// A GET and its answer.
    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        self.answer().expect("an answer")
    }

    /// An answer; `Err`: it, or the connection, was cut.
    pub(crate) fn answer(&mut self) -> std::io::Result<Answer> {
        let cut = || std::io::Error::from(ErrorKind::UnexpectedEof);
        let end = loop {
            let found = self.ahead.windows(4).position(|four| four == b"\r\n\r\n");
            match found {
                Some(end) => break end + 4,
                None if self.more()? == 0 => return Err(cut()),
                None => {}
            }
        };
        let head = String::from_utf8(self.ahead.drain(..end).collect()).expect("a text");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>().expect("a length"))
        });
        match length {
            Some(length) => {
                while self.ahead.len() < length {
                    if self.more()? == 0 {
                        return Err(cut());
                    }
                }
            }
            None => while self.more()? > 0 {},
        }
        let length = length.unwrap_or(self.ahead.len());
        Ok(Answer {
            status: status.expect("a status"),
            body: self.ahead.drain(..length).collect(),
        })
    }
}
