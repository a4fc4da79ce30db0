//! Certificates and keys, read from PEM files, or why not and what to do.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Problem;

/// A bundle of all the world's authorities has a quarter of a megabyte; so that a device or a wrong file is not read
/// to its end.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// All of a file.
///
/// # Errors
/// It can't be read, or is far too large.
pub fn bytes(file: &Path) -> Result<Vec<u8>, Problem> {
    let read = || {
        let opened = File::open(file)?;
        if opened.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let mut bytes = Vec::new();
        opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| Problem::new(file, unreadable(&error)))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Problem::new(file, "is too large; name a PEM file"));
    }
    Ok(bytes)
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "permission denied; let the user that runs this read it".to_owned()
        }
        io::ErrorKind::NotFound => "there is no such file; check the path".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory; name a PEM file".to_owned(),
        _ => {
            let text = error.to_string();
            let words = text.split(" (os error").next().unwrap_or_default();
            format!("cannot be read: {}", words.to_ascii_lowercase())
        }
    }
}

/// A chain: the certificate itself, then those that lead to an authority.
///
/// # Errors
/// There is none in it, or something that is none.
pub fn chain(file: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let chain = read.map_err(|error| Problem::new(file, broken(&error)))?;
    if chain.is_empty() {
        let why = match has_key(bytes) {
            true => "has a key but no certificate; key and certificate are probably swapped",
            false => {
                "has no certificate; write it in PEM, beginning with -----BEGIN CERTIFICATE-----"
            }
        };
        return Err(Problem::new(file, why));
    }
    Ok(chain)
}

fn has_key(bytes: &[u8]) -> bool {
    PrivateKeyDer::from_pem_slice(bytes).is_ok()
}

/// A private key: PKCS #8, PKCS #1 or SEC 1.
///
/// # Errors
/// There is none in it, or an encrypted one.
pub fn key(file: &Path, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, Problem> {
    if memchr::memmem::find(bytes, b"ENCRYPTED").is_some() {
        let why = "the key is encrypted, and there is nobody to ask for its password; decrypt it with `openssl pkey -in FILE -out NEW`";
        return Err(Problem::new(file, why));
    }
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| {
        let why = match error {
            pem::Error::NoItemsFound if CertificateDer::from_pem_slice(bytes).is_ok() => {
                "has a certificate but no key; key and certificate are probably swapped".to_owned()
            }
            pem::Error::NoItemsFound => {
                "has no private key; write it in PEM, beginning with -----BEGIN PRIVATE KEY-----"
                    .to_owned()
            }
            error => broken(&error),
        };
        Problem::new(file, why)
    })
}

fn broken(error: &pem::Error) -> String {
    let what = match error {
        pem::Error::MissingSectionEnd { .. } => "ends in the middle".to_owned(),
        pem::Error::IllegalSectionStart { .. } => {
            "has a line that begins a section badly".to_owned()
        }
        pem::Error::Base64Decode(_) => "has a section that is not base64".to_owned(),
        error => error.to_string().to_lowercase(),
    };
    format!("is broken PEM: it {what}; write the file anew")
}

/// Authorities that are believed.
///
/// # Errors
/// There is none in the file, or something that can't be one.
pub fn authorities(file: &Path) -> Result<Arc<RootCertStore>, Problem> {
    store(file, &chain(file, &bytes(file)?)?)
}

/// The same of what was read of it.
///
/// # Errors
/// One that can't be an authority.
pub fn store(
    file: &Path,
    certificates: &[CertificateDer<'static>],
) -> Result<Arc<RootCertStore>, Problem> {
    let mut store = RootCertStore::empty();
    for certificate in certificates {
        store
            .add(certificate.clone())
            .map_err(|error| Problem::new(file, format!("has what is no authority: {error}")))?;
    }
    Ok(Arc::new(store))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> &'static Path {
        Path::new("/x.pem")
    }

    #[test]
    fn what_is_no_certificate_is_told_apart() {
        let why = |bytes: &[u8]| chain(file(), bytes).unwrap_err().why;

        assert!(why(b"").starts_with("has no certificate"));
        assert!(why(b"-----BEGIN CERTIFICATE-----\nAAAA\n").contains("ends in the middle"));
        assert!(
            why(b"-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n")
                .contains("not base64")
        );
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        assert!(why(key.as_bytes()).contains("swapped"));
    }

    #[test]
    fn what_is_no_key_is_told_apart() {
        let why = |bytes: &[u8]| key(file(), bytes).unwrap_err().why;

        assert!(why(b"").starts_with("has no private key"));
        assert!(why(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n").contains("is encrypted"));
        let certificate = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        assert!(why(certificate.cert.pem().as_bytes()).contains("swapped"));
    }

    #[test]
    fn files_that_cannot_be_read_say_why() {
        let absent = bytes(Path::new("/nowhere/at/all.pem")).unwrap_err();
        assert_eq!(
            absent.to_string(),
            "/nowhere/at/all.pem: there is no such file; check the path"
        );
        let directory = bytes(Path::new("/")).unwrap_err();
        assert_eq!(directory.why, "is a directory; name a PEM file");
    }
}
