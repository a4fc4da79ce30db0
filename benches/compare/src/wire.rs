//! A client's connection: in clear, or TLS 1.3.
//!
//! Certificates are not looked at: the comparison made them itself. Sessions are never resumed, so that each connection
//! is a full handshake.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

use crate::failure::{During, Failure};

/// Bytes both ways.
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<ClientConnection>, TcpStream),
}

/// How TLS is spoken; none in clear.
pub(crate) type Tls = Option<Arc<ClientConfig>>;

/// TLS 1.3 with the suite that OpenSSL and browsers name first.
pub(crate) fn tls13() -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

impl Wire {
    /// Over `stream`, which may still be connecting.
    pub(crate) fn new(stream: TcpStream, tls: &Tls) -> Self {
        match tls {
            None => Self::Plain(stream),
            Some(config) => {
                let name = ServerName::try_from("bench.example.com").expect("a name");
                let session = ClientConnection::new(config.clone(), name);
                Self::Tls(Box::new(session.expect("a session")), stream)
            }
        }
    }

    /// A read that leaves room has taken all there was.
    pub(crate) fn tells_by_room(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// What is sealed and not sent goes out, as far as it goes.
    fn flush_sealed(&mut self) -> io::Result<()> {
        if let Self::Tls(session, stream) = self {
            while session.wants_write() {
                session.write_tls(stream)?;
            }
        }
        Ok(())
    }
}

fn or_blocked(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        done => done,
    }
}

impl Read for Wire {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let (session, stream) = match self {
            Self::Plain(stream) => return stream.read(room),
            Self::Tls(session, stream) => (session, stream),
        };
        let mut filled = 0;
        loop {
            match session.reader().read(&mut room[filled..]) {
                Ok(0) => return Ok(filled),
                Ok(read) => {
                    filled += read;
                    continue;
                }
                // What is still in the socket is for the next read.
                Err(_) if filled > 0 => return Ok(filled),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if session.read_tls(stream)? > 0 {
                session.process_new_packets().map_err(io::Error::other)?;
            }
            while session.wants_write() {
                session.write_tls(stream)?;
            }
        }
    }
}

impl Write for Wire {
    /// Takes all of it, also within a handshake: what is sealed goes out as it can.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(session, _) => {
                let taken = session.writer().write(bytes)?;
                or_blocked(self.flush_sealed())?;
                Ok(taken)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        or_blocked(self.flush_sealed())
    }
}

/// A certificate for the run, of the kind that authorities give today, in `cert.pem`, `key.pem` and, both, `both.pem`.
pub(crate) fn certificate(run: &Path) -> Result<(), Failure> {
    let (cert, key) = (run.join("cert.pem"), run.join("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-days", "30", "-subj", "/CN=bench.example.com"])
        .args(["-addext", "subjectAltName=DNS:bench.example.com"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .during("openssl")?;
    if !made.success() {
        return Err(Failure("openssl made no certificate".to_owned()));
    }
    let mut both = std::fs::read(&cert).during("cert.pem")?;
    both.extend(std::fs::read(&key).during("key.pem")?);
    std::fs::write(run.join("both.pem"), both).during("both.pem")
}

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
