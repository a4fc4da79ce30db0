//! A backend whose certificate is itself in the file of authorities, byte for byte.
//!
//! ```text
//! certificate ─▶ webpki ─┬─ fine ──────────────────────────────────────────▶ taken
//!                        └─ not ─▶ in the file? ─▶ its name? its dates? ─▶ taken, or what is wrong with it
//! ```
//!
//! That is what self-signed certificates come to: `openssl req -x509` makes them authorities (CA:TRUE), which webpki
//! takes for nobody's own. Programs that use OpenSSL take them. Who shows one also proves that it has its key.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::certificate;

/// Takes what `authorities` take, and the certificates of the list for what they are.
#[derive(Debug)]
pub(super) struct Listed {
    authorities: Arc<dyn ServerCertVerifier>,
    list: Vec<CertificateDer<'static>>,
}

impl Listed {
    pub(super) fn new(
        authorities: Arc<dyn ServerCertVerifier>,
        list: Vec<CertificateDer<'static>>,
    ) -> Self {
        Self { authorities, list }
    }
}

/// Whether it is for this name and of this time; that it is believed was settled by whoever listed it.
fn judge(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    let (from, until) = certificate::validity(certificate)
        .ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let now = UNIX_EPOCH + Duration::from_secs(now.as_secs());
    if now < from {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > until {
        return Err(CertificateError::Expired.into());
    }
    verify_server_name(&parsed, name)
}

impl ServerCertVerifier for Listed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.authorities.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        let is_listed = || self.list.iter().any(|one| **one == **end_entity);
        match verified {
            Err(_) if is_listed() => {
                judge(end_entity, server_name, now).map(|()| ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities
            .verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities
            .verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}
