//! Which certificate a client gets: by the name that it asks for (SNI), and what it can verify.
//!
//! ```text
//! name ─▶ exact ─▶ *.rest ─▶ the first one;   of several, the first whose signature the client knows
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;

/// All certificates of a listener. There is at least one.
#[derive(Debug)]
pub(super) struct Store {
    /// By name, wildcards with their `*.`.
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
    all: Vec<Arc<CertifiedKey>>,
}

impl Store {
    /// The first of them is for everybody who asks for a name that none has, or for none.
    pub(super) fn new(certificates: &[Certificate]) -> Self {
        let mut by_name: HashMap<String, Vec<_>> = HashMap::new();
        for certificate in certificates {
            for name in &certificate.names {
                let keys = by_name.entry(name.clone()).or_default();
                keys.push(certificate.key.clone());
            }
        }
        Self {
            by_name,
            all: certificates.iter().map(|one| one.key.clone()).collect(),
        }
    }

    /// Those for `name`, which is in lower case.
    fn of(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let exact = |name: &str| self.by_name.get(name).map(Vec::as_slice);
        let wildcard = |name: &str| {
            let (_, rest) = name.split_once('.')?;
            exact(&format!("*.{rest}"))
        };
        let found = name.and_then(|name| exact(name).or_else(|| wildcard(name)));
        found.unwrap_or_else(|| &self.all[..self.all.len().min(1)])
    }
}

impl ResolvesServerCert for Store {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let keys = match hello.server_name() {
            Some(name) if name.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                self.of(Some(&name.to_ascii_lowercase()))
            }
            name => self.of(name),
        };
        let schemes = hello.signature_schemes();
        let fits = keys
            .iter()
            .find(|key| key.key.choose_scheme(schemes).is_some());
        fits.or_else(|| keys.first()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::tls::provider;

    fn certificate(names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names.clone()).unwrap();
        let der = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
        let key = CertifiedKey::from_der(vec![made.cert.der().clone()], der.unwrap(), provider());
        Certificate {
            key: Arc::new(key.unwrap()),
            names,
            until: UNIX_EPOCH,
            warning: None,
            bytes: Vec::new(),
        }
    }

    #[test]
    fn names_are_exact_then_wildcards_of_one_label_then_the_first() {
        let all = [
            certificate(&["default.example"]),
            certificate(&["*.example.org", "example.org"]),
            certificate(&["www.example.org"]),
        ];
        let store = Store::new(&all);
        let of = |name| {
            let key = &store.of(name)[0];
            all.iter().position(|one| Arc::ptr_eq(&one.key, key))
        };

        assert_eq!(of(None), Some(0));
        assert_eq!(of(Some("nobody.example")), Some(0));
        assert_eq!(of(Some("example.org")), Some(1));
        assert_eq!(of(Some("a.example.org")), Some(1));
        assert_eq!(of(Some("www.example.org")), Some(2));
        // A wildcard stands for one label only.
        assert_eq!(of(Some("a.b.example.org")), Some(0));
        assert_eq!(of(Some("*")), Some(0));
        assert_eq!(of(Some("")), Some(0));
    }
}
