//! What a backend is told of a client's certificate.

use std::fmt::Write;

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A longer subject is cut: it is somebody else's text in our head.
const SUBJECT_CHARS_MAX: usize = 1024;

/// Field lines for a client that showed `certificates`, each ended: whether it is verified, and then who it is
/// (RFC 4514 text, as OpenSSL writes it for people, and the SHA-256 of the certificate).
pub fn lines(certificates: &[CertificateDer<'_>]) -> Vec<u8> {
    let Some(own) = certificates.first() else {
        return b"x-client-verified: NONE\r\n".to_vec();
    };
    let subject = match X509Certificate::from_der(own) {
        Ok((_, read)) => read.subject().to_string(),
        Err(_) => String::new(),
    };
    // Nothing that could end a field, and nothing outside of ASCII.
    let visible = |letter: char| match letter {
        ' '..='~' => letter,
        _ => '?',
    };
    let subject: String = subject
        .chars()
        .take(SUBJECT_CHARS_MAX)
        .map(visible)
        .collect();
    let digest = aws_lc_digest(own);
    let mut text = format!(
        "x-client-verified: SUCCESS\r\nx-client-subject: {}\r\nx-client-fingerprint: ",
        subject.trim()
    );
    for byte in digest {
        let _ = write!(text, "{byte:02x}");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// SHA-256, by what TLS itself uses.
fn aws_lc_digest(bytes: &[u8]) -> Vec<u8> {
    use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let suite = TLS13_AES_128_GCM_SHA256;
    suite.tls13().map_or_else(Vec::new, |suite| {
        suite.common.hash_provider.hash(bytes).as_ref().to_vec()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_without_a_certificate_is_not_verified() {
        assert_eq!(lines(&[]), b"x-client-verified: NONE\r\n");
    }

    #[test]
    fn a_subject_cannot_add_a_field() {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        let name = &mut params.distinguished_name;
        name.push(rcgen::DnType::CommonName, "eve\r\nx-admin: yes\u{e9}");
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();

        let text = String::from_utf8(lines(&[certificate.der().clone()])).unwrap();

        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(lines[0], "x-client-verified: SUCCESS");
        assert!(lines[1].starts_with("x-client-subject: "), "{text}");
        assert!(lines[1].contains("eve??x-admin"), "{text}");
        let digest = lines[2].strip_prefix("x-client-fingerprint: ").unwrap();
        assert_eq!(digest.len(), 64);
    }
}
