//! How clients get to the front: as they are, or within TLS.
//!
//! ```text
//! plain ─TCP─▶ [listener.web]      secure ─TCP─TLS─▶ [listener.secure], a certificate of the test's own Authority
//! ```

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::authority::Authority;
use crate::rig::LONG;

const NAME: &str = "a.example";

/// A connection of either way.
pub(crate) trait Duplex: Read + Write + Send {}

impl<T: Read + Write + Send> Duplex for T {}

/// What `h2` sends requests by.
pub(crate) type Sender = h2::client::SendRequest<bytes::Bytes>;

/// One of the front's doors.
#[derive(Clone)]
pub(crate) struct Way {
    to: SocketAddr,
    tls: Option<Tls>,
}

/// For HTTP/1 and for HTTP/2; all clients of a way share the sessions that they resume.
#[derive(Clone)]
struct Tls {
    messages: Arc<ClientConfig>,
    streams: Arc<ClientConfig>,
}

impl Way {
    pub(crate) fn plain(to: SocketAddr) -> Self {
        Self { to, tls: None }
    }

    /// The way, and the tables by which the front listens there.
    pub(crate) fn secure(to: SocketAddr, authority: &Authority) -> (Self, String) {
        let files = authority.issue("front", &[NAME]);
        let tables = format!(
            "[listener.secure]\nlisten = \"{to}\"\n[listener.secure.tls]\ncert = \"{}\"\nkey = \"{}\"\n",
            files.cert.display(),
            files.key.display(),
        );
        let tls = Tls {
            messages: config(authority, "http/1.1"),
            streams: config(authority, "h2"),
        };
        let tls = Some(tls);
        (Self { to, tls }, tables)
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// A connection for HTTP/1, its handshake done.
    pub(crate) fn connect(&self) -> io::Result<Box<dyn Duplex>> {
        let socket = TcpStream::connect(self.to)?;
        socket.set_read_timeout(Some(LONG))?;
        socket.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(socket));
        };
        let session = ClientConnection::new(Arc::clone(&tls.messages), name());
        let mut stream = StreamOwned::new(session.map_err(io::Error::other)?, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Box::new(stream))
    }

    /// A connection for HTTP/2: by prior knowledge, or as agreed on within TLS.
    pub(crate) async fn connect_streams(&self) -> io::Result<Sender> {
        let socket = tokio::net::TcpStream::connect(self.to).await?;
        socket.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return open(socket).await;
        };
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&tls.streams));
        let stream = connector.connect(name(), socket).await?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(io::Error::other("HTTP/2 was not agreed on"));
        }
        open(stream).await
    }

    /// What a request over HTTP/2 asks for.
    pub(crate) fn url(&self, number: u64) -> String {
        match self.tls {
            None => format!("http://{}/{number}", self.to),
            Some(_) => format!("https://{NAME}/{number}"),
        }
    }
}

fn name() -> ServerName<'static> {
    ServerName::try_from(NAME).expect("a name")
}

fn config(authority: &Authority, protocol: &str) -> Arc<ClientConfig> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(authority.roots())
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.into()];
    config.into()
}

async fn open<S>(stream: S) -> io::Result<Sender>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = h2::client::handshake(stream)
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(async {
        let _ = connection.await;
    });
    Ok(sender)
}
