//! The client's end: how backends are spoken to, and whom is believed that they are who they should be.
//!
//! ```text
//! address ─connect─▶ socket ─▶ Client::shake(name, protocol) ─▶ Stream
//!                                 └─ authorities (system's or a file's), own certificate, sessions to resume
//! ```
//!
//! Verification is on unless it was turned off by name.

use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio::net::TcpStream;

use super::certificate::{Certificate, Files};
use super::failure::Failure;
use super::listed::Listed;
use super::stream::Stream;
use super::{Problem, Version, pem, provider};
use crate::clock;

/// Backends whose sessions are remembered, for each pool and protocol.
const SESSIONS_MAX: usize = 1024;

/// Where the system keeps its authorities, for messages.
const SYSTEM: &str = "the system's authorities";

/// Keys of `[cluster.NAME.tls]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Authorities, or the backends' own certificates; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// Backends have to prove who they are.
    pub verify: bool,
    /// The name in their certificates, perhaps with a port; `None`: see [`Client::name_of`].
    pub server_name: Option<String>,
    /// Our own certificate, for backends that ask.
    pub own: Option<Files>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ca: None,
            verify: true,
            server_name: None,
            own: None,
        }
    }
}

/// What is spoken inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: a backend that does not agree to it is an error.
    Http2,
}

/// What backends of a pool are shaken hands with. Shared by all workers, so that sessions are resumed by any.
pub struct Client {
    settings: Settings,
    /// Read when first needed: a pool that speaks in clear needs none.
    ready: OnceLock<Result<Ready, Vec<Problem>>>,
}

/// What handshakes need.
struct Ready {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

impl Client {
    /// Nothing is read yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            ready: OnceLock::new(),
        }
    }

    /// Reads everything now.
    ///
    /// # Errors
    /// Everything that is wrong, each with its file.
    pub fn load(settings: Settings) -> Result<Self, Vec<Problem>> {
        let client = Self::new(settings);
        client.ready().map_err(<[Problem]>::to_vec)?;
        Ok(client)
    }

    fn ready(&self) -> Result<&Ready, &[Problem]> {
        let ready = self.ready.get_or_init(|| Ready::read(&self.settings));
        ready.as_ref().map_err(Vec::as_slice)
    }

    /// The name that a backend has to prove: that of the settings, else what it was configured as, else its address. A
    /// name that gossip alone tells proves nothing.
    pub fn name_of(&self, node: &str, address: SocketAddr) -> String {
        let given = self.settings.server_name.as_deref().map(host_of);
        // A static backend's node is its HOST:PORT, as it was written.
        let configured = || {
            let (host, port) = node.rsplit_once(':')?;
            (port.parse() == Ok(address.port())).then_some(host)
        };
        match given.or_else(configured) {
            Some(name) => name.trim_matches(['[', ']']).to_owned(),
            None => address.ip().to_string(),
        }
    }

    /// Shakes hands with who answered at the other end of `io`, which has to be `name`. The caller limits the time.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn shake(
        &self,
        io: TcpStream,
        name: &str,
        inside: Inside,
    ) -> Result<Stream, Failure> {
        let general = |why: String| Failure::Tls(rustls::Error::General(why));
        let ready = self.ready().map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(Problem::to_string).collect();
            general(problems.join("; "))
        })?;
        let config = match inside {
            Inside::Http1 => &ready.http1,
            Inside::Http2 => &ready.http2,
        };
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| general(format!("{name:?} is no name that a certificate can have")))?;
        let session = ClientConnection::new(config.clone(), name).map_err(Failure::Tls)?;
        let mut stream = Stream::client(io, session);
        poll_fn(|cx| stream.poll_handshake(cx)).await?;
        if inside == Inside::Http2 && stream.protocol() != Some(b"h2") {
            return Err(general("it does not speak HTTP/2 (ALPN)".to_owned()));
        }
        Ok(stream)
    }
}

impl Ready {
    fn read(settings: &Settings) -> Result<Self, Vec<Problem>> {
        let verifier = verifier(settings).map_err(|problem| vec![problem]);
        let own = settings.own.as_ref();
        let own = own.map(|files| Certificate::read(files, clock::wall()));
        let (verifier, own) = match (verifier, own.transpose()) {
            (Ok(verifier), Ok(own)) => (verifier, own),
            (verifier, own) => {
                let all = [verifier.err(), own.err()];
                return Err(all.into_iter().flatten().flatten().collect());
            }
        };
        let builder = ClientConfig::builder_with_provider(provider().clone())
            .with_protocol_versions(Version::Tls12.and_newer())
            .map_err(|error| vec![Problem::new(Path::new(SYSTEM), error.to_string())])?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let own: CertifiedKey = CertifiedKey::clone(&own.key);
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own)))
            }
        };
        let mut with = |protocol: &[u8]| {
            config.alpn_protocols = vec![protocol.to_vec()];
            config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
            Arc::new(config.clone())
        };
        Ok(Self {
            http1: with(b"http/1.1"),
            http2: with(b"h2"),
        })
    }
}

/// Without its port.
fn host_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') && port.parse::<u16>().is_ok() => {
            // `::1` has no port.
            if name.contains(':') && !name.ends_with(']') {
                host
            } else {
                name
            }
        }
        _ => host,
    }
}

fn verifier(settings: &Settings) -> Result<Arc<dyn ServerCertVerifier>, Problem> {
    if !settings.verify {
        return Ok(Arc::new(Anybody));
    }
    let (file, listed, roots) = match &settings.ca {
        Some(file) => {
            let listed = pem::chain(file, &pem::bytes(file)?)?;
            let roots = pem::store(file, &listed)?;
            (file.clone(), listed, roots)
        }
        None => (PathBuf::from(SYSTEM), Vec::new(), system()?),
    };
    let builder = WebPkiServerVerifier::builder_with_provider(roots, provider().clone());
    let verifier = builder
        .build()
        .map_err(|error| Problem::new(&file, format!("cannot be used: {error}")))?;
    Ok(match listed.is_empty() {
        true => verifier,
        false => Arc::new(Listed::new(verifier, listed)),
    })
}

fn system() -> Result<Arc<RootCertStore>, Problem> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    // Some systems carry one that nobody can read; the others are as good.
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        return Err(Problem::new(
            Path::new(SYSTEM),
            "there are none; install ca-certificates, or name a file with ca = \"FILE\"",
        ));
    }
    Ok(Arc::new(store))
}

/// Takes anybody for who it should be.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &provider().signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &provider().signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_has_to_be_who_it_was_configured_as() {
        let client = |server_name: Option<&str>| {
            Client::new(Settings {
                server_name: server_name.map(str::to_owned),
                ..Settings::default()
            })
        };
        let address: SocketAddr = "10.0.0.1:443".parse().unwrap();
        let plain = client(None);

        assert_eq!(plain.name_of("web1", address), "10.0.0.1");
        assert_eq!(plain.name_of("web1.example:443", address), "web1.example");
        assert_eq!(plain.name_of("web1.example:444", address), "10.0.0.1");
        assert_eq!(plain.name_of("[::1]:443", address), "::1");
        let given = client(Some("all.example:8443"));
        assert_eq!(given.name_of("web1", address), "all.example");
    }

    #[test]
    fn hosts_lose_their_ports() {
        for (host, expected) in [
            ("a", "a"),
            ("a:1", "a"),
            ("[::1]:1", "[::1]"),
            ("[::1]", "[::1]"),
            ("::1", "::1"),
        ] {
            assert_eq!(host_of(host), expected);
        }
    }
}
