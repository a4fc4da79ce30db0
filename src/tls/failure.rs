//! Why a handshake came to nothing: in a person's words, and as a metric's label.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

/// Why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The client speaks HTTP, without TLS.
    #[error("it speaks HTTP in clear to a TLS port")]
    PlainHttp,
    /// What came is no TLS at all.
    #[error("it does not speak TLS")]
    NotTls,
    /// It left within the handshake.
    #[error("it closed the connection within the TLS handshake")]
    Closed,
    /// Not done in time.
    #[error("the TLS handshake took too long")]
    Slow,
    /// The connection broke.
    #[error("{0}")]
    Io(io::Error),
    /// One side did not like what the other said.
    #[error("TLS: {}", in_words(.0))]
    Tls(Error),
}

/// Labels of the metric, in order.
pub const LABELS: [&str; 9] = [
    "plain_http",
    "not_tls",
    "closed",
    "timeout",
    "io",
    "client_certificate",
    "alert",
    "incompatible",
    "protocol",
];

impl Failure {
    /// Which of [`LABELS`] it is counted as.
    pub fn label(&self) -> usize {
        match self {
            Self::PlainHttp => 0,
            Self::NotTls => 1,
            Self::Closed => 2,
            Self::Slow => 3,
            Self::Io(_) => 4,
            Self::Tls(Error::InvalidCertificate(_) | Error::NoCertificatesPresented) => 5,
            Self::Tls(Error::AlertReceived(_)) => 6,
            Self::Tls(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => 7,
            Self::Tls(_) => 8,
        }
    }
}

/// For who reads a log at night: what it means rather than what it is called.
pub fn in_words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet".to_owned()
            }
            CertificateError::UnknownIssuer => {
                "its certificate is from an unknown authority".to_owned()
            }
            CertificateError::NotValidForName => "its certificate is for another name".to_owned(),
            CertificateError::NotValidForNameContext {
                expected,
                presented,
            } => {
                let expected = expected.to_str();
                match presented.as_slice() {
                    [] => format!("its certificate is for no name, not for {expected}"),
                    names => {
                        let names: Vec<&str> =
                            names.iter().take(3).map(|name| known(name)).collect();
                        let names = names.join(", ");
                        format!("its certificate is for {names}, not for {expected}")
                    }
                }
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                "its certificate is not meant for this end of a connection (extendedKeyUsage); issue it for serverAuth, or for clients clientAuth".to_owned()
            }
            CertificateError::Other(other) => odd(&other.to_string()),
            error => format!("its certificate is not valid: {error}"),
        },
        Error::NoCertificatesPresented => "it showed no certificate".to_owned(),
        Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => "it wants a certificate of ours".to_owned(),
            AlertDescription::UnknownCA => "it does not know the authority of ours".to_owned(),
            AlertDescription::NoApplicationProtocol => {
                "it speaks none of the protocols it was offered (ALPN); does it speak HTTP/2, or HTTP/1 only?".to_owned()
            }
            AlertDescription::ProtocolVersion => {
                "it speaks no version of TLS that we do (1.2 and 1.3)".to_owned()
            }
            AlertDescription::HandshakeFailure => {
                "it refused: no cipher in common, or it wants a certificate of ours (HandshakeFailure)".to_owned()
            }
            AlertDescription::UnrecognisedName => {
                "it has no certificate for the name it was asked for (SNI)".to_owned()
            }
            alert => format!("it refused with {alert:?}"),
        },
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "it answered something that is not TLS: is its port a plain HTTP one?".to_owned()
        }
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => "it speaks no version of TLS that we do (1.2 and 1.3)".to_owned(),
        Error::NoApplicationProtocol => "no protocol in common (ALPN)".to_owned(),
        error => error.to_string(),
    }
}

/// What the library has no type for, by its name there.
fn odd(name: &str) -> String {
    if name.contains("CaUsedAsEndEntity") {
        "its certificate is an authority's (CA:TRUE), as self-signed ones are; give ca that very certificate, have an authority issue one, or set verify = false".to_owned()
    } else if name.contains("UnsupportedCertVersion") {
        "its certificate is of an old version (X.509 v1); issue it anew with a subjectAltName, which makes it version 3".to_owned()
    } else {
        format!("its certificate is not valid: {name}")
    }
}

/// `DnsName("a.example")` is how the library has it.
fn known(name: &str) -> &str {
    let quoted = name.split('"').nth(1);
    quoted.unwrap_or(name)
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Io(error) => error,
            Failure::Closed => Self::new(io::ErrorKind::ConnectionReset, failure),
            Failure::Slow => Self::new(io::ErrorKind::TimedOut, failure),
            failure => Self::new(io::ErrorKind::InvalidData, failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::OtherError;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Named(&'static str);

    #[test]
    fn no_reason_is_a_name_of_the_library() {
        let other = |name| Error::from(CertificateError::Other(OtherError(Arc::new(Named(name)))));
        for (error, expected) in [
            (
                Error::InvalidMessage(InvalidMessage::InvalidContentType),
                "is its port a plain HTTP one?",
            ),
            (
                Error::AlertReceived(AlertDescription::NoApplicationProtocol),
                "HTTP/1 only?",
            ),
            (
                Error::AlertReceived(AlertDescription::ProtocolVersion),
                "(1.2 and 1.3)",
            ),
            (
                Error::AlertReceived(AlertDescription::UnrecognisedName),
                "(SNI)",
            ),
            (CertificateError::InvalidPurpose.into(), "serverAuth"),
            (other("UnsupportedCertVersion"), "issue it anew"),
            (other("CaUsedAsEndEntity"), "verify = false"),
        ] {
            let told = in_words(&error);
            assert!(told.contains(expected), "{error:?}: {told}");
        }
    }
}
