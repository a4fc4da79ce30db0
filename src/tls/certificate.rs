//! One certificate with its key: what it is good for, and until when.
//!
//! ```text
//! cert, key, ocsp (files) ─▶ read ─▶ match? expired? ─▶ Certificate { names, key, valid until }
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Problem, pem, provider};

/// A certificate that ends within this time is spoken of: by then a renewal that works has happened.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Where a certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The chain.
    pub cert: PathBuf,
    /// Its key; may be in the same file.
    pub key: PathBuf,
    /// An OCSP response (DER) to be stapled.
    pub ocsp: Option<PathBuf>,
}

/// A certificate that can be used.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    /// DNS names, in lower case, wildcards included.
    pub(super) names: Vec<String>,
    pub(super) until: SystemTime,
    /// What is worth knowing, though it works.
    pub(super) warning: Option<Problem>,
    /// All that was read, to tell whether anything has changed.
    pub(super) bytes: Vec<u8>,
}

impl Certificate {
    /// Reads it, and judges it at `now`.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its file.
    pub(super) fn read(files: &Files, now: SystemTime) -> Result<Self, Vec<Problem>> {
        let one = |problem| vec![problem];
        let (cert, key) = (pem::bytes(&files.cert), pem::bytes(&files.key));
        let ocsp = files.ocsp.as_deref().map(pem::bytes).transpose();
        let (cert, key, ocsp) = match (cert, key, ocsp) {
            (Ok(cert), Ok(key), Ok(ocsp)) => (cert, key, ocsp),
            (cert, key, ocsp) => {
                let all = [cert.err(), key.err(), ocsp.err()];
                let mut all: Vec<Problem> = all.into_iter().flatten().collect();
                // One file may hold both.
                all.dedup();
                return Err(all);
            }
        };
        let chain = pem::chain(&files.cert, &cert);
        let private = pem::key(&files.key, &key);
        let (chain, private) = match (chain, private) {
            (Ok(chain), Ok(private)) => (chain, private),
            (chain, private) => {
                return Err([chain.err(), private.err()].into_iter().flatten().collect());
            }
        };
        let facts = Facts::of(files, &chain[0]).map_err(one)?;
        let private = provider()
            .key_provider
            .load_private_key(private)
            .map_err(|error| {
                one(Problem::new(
                    &files.key,
                    format!("is a key that cannot be used: {error}"),
                ))
            })?;
        let mut certified = CertifiedKey::new(chain, private);
        certified.ocsp.clone_from(&ocsp);
        matching(files, &certified).map_err(one)?;
        let warning = facts.judge(files, now).map_err(one)?;
        let mut bytes = cert;
        bytes.extend(key);
        bytes.extend(ocsp.unwrap_or_default());
        Ok(Self {
            key: Arc::new(certified),
            names: facts.names,
            until: facts.until,
            warning,
            bytes,
        })
    }
}

/// The key is the certificate's.
fn matching(files: &Files, certified: &CertifiedKey) -> Result<(), Problem> {
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => return Ok(()),
        Err(Error::InconsistentKeys(_)) => {}
        Err(error) => {
            return Err(Problem::new(
                &files.cert,
                format!("is no certificate that can be used: {error}"),
            ));
        }
    }
    let of_another = certified.cert.iter().skip(1).any(|other| {
        let other = CertifiedKey::new(vec![other.clone()], certified.key.clone());
        other.keys_match().is_ok()
    });
    if of_another {
        let why = "the certificate of the key is not the first in the file; put it first";
        return Err(Problem::new(&files.cert, why));
    }
    Err(Problem::new(
        &files.key,
        format!(
            "is not the key of {}; name the two files that belong together",
            files.cert.display()
        ),
    ))
}

/// What a certificate says.
struct Facts {
    names: Vec<String>,
    from: SystemTime,
    until: SystemTime,
}

impl Facts {
    fn of(files: &Files, certificate: &CertificateDer<'_>) -> Result<Self, Problem> {
        let (_, read) = X509Certificate::from_der(certificate).map_err(|error| {
            Problem::new(
                &files.cert,
                format!("has a section that is no certificate ({error}); write the file anew"),
            )
        })?;
        let mut names = Vec::new();
        if let Ok(Some(extension)) = read.subject_alternative_name() {
            for name in &extension.value.general_names {
                if let GeneralName::DNSName(name) = name {
                    names.push(name.to_ascii_lowercase());
                }
            }
        }
        let validity = read.validity();
        Ok(Self {
            names,
            from: time(validity.not_before.timestamp()),
            until: time(validity.not_after.timestamp()),
        })
    }

    /// Ok: it can be used, though perhaps not for long.
    fn judge(&self, files: &Files, now: SystemTime) -> Result<Option<Problem>, Problem> {
        let until = humantime::format_rfc3339_seconds(self.until);
        if now >= self.until {
            return Err(Problem::new(
                &files.cert,
                format!("the certificate expired at {until}; renew it and write it there"),
            ));
        }
        let warning = if now < self.from {
            let from = humantime::format_rfc3339_seconds(self.from);
            Some(format!(
                "the certificate is valid only from {from} on; is this machine's clock right?"
            ))
        } else if self.until <= now + SOON {
            Some(format!(
                "the certificate expires at {until}; is its renewal at work?"
            ))
        } else {
            None
        };
        Ok(warning.map(|why| Problem::new(&files.cert, why)))
    }
}

/// From when until when it is good.
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Option<(SystemTime, SystemTime)> {
    let (_, read) = X509Certificate::from_der(certificate).ok()?;
    let validity = read.validity();
    Some((
        time(validity.not_before.timestamp()),
        time(validity.not_after.timestamp()),
    ))
}

fn time(seconds: i64) -> SystemTime {
    let seconds = u64::try_from(seconds).unwrap_or_default();
    // Years far beyond what times are shown for mean "for ever".
    UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND))
}

/// The end of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;
