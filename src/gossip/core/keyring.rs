//! The keys of an encrypted cluster.
//!
//! ```text
//! base64 lines, or Serf's keyring.json ──parse──▶ Keyring [primary, others …]
//!                                                  │ seal: the primary      │ open: each in order
//!                                                  ▼                        ▼
//!                                  nonce, header, plain ─▶ cipher, tag ─▶ plain
//! ```
//!
//! AES-GCM with keys of 16, 24 or 32 bytes. What stands around nonce and tag on the wire is in `wire::crypto`.
//! Nothing here prints a key: `Debug` shows fingerprints.

use std::fmt;

use aes_gcm::aead::consts::U12;
use aes_gcm::aes::Aes192;
use aes_gcm::{AeadInOut, Aes128Gcm, Aes256Gcm, AesGcm, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 12;

/// Bytes of a tag.
pub const TAG_BYTES: usize = 16;

/// What is sealed to get a fingerprint; see [`Key::fingerprint`].
const FINGERPRINT_LABEL: &[u8] = b"lb gossip key fingerprint";

/// Of a fingerprint. No random nonce is expected to meet it within the life of a key.
const FINGERPRINT_NONCE: [u8; NONCE_BYTES] = [0xff; NONCE_BYTES];

/// Why a text gives no keys. It never repeats the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No key at all.
    #[error("holds no key")]
    Empty,
    /// Not base64.
    #[error("key {number} ({characters} characters, not shown) is not base64")]
    Base64 {
        /// Which, from 1.
        number: usize,
        /// How long it is.
        characters: usize,
    },
    /// No length that AES knows.
    #[error("key {number} has {bytes} bytes; AES takes 16, 24 or 32")]
    Length {
        /// Which, from 1.
        number: usize,
        /// Bytes behind the base64.
        bytes: usize,
    },
    /// It begins like a JSON list and is none of texts.
    #[error("begins with [ and is not a JSON list of texts")]
    List,
}

/// Why a keyring did not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// Not in the ring.
    #[error("the key is not in the keyring")]
    Unknown,
    /// What we send would be readable by nobody.
    #[error("the primary key can't be removed; use another first")]
    Primary,
}

/// One key, ready for use.
#[derive(Clone)]
pub struct Key {
    bytes: Vec<u8>,
    cipher: Cipher,
}

/// The expanded key, on the heap: it is a kilobyte.
#[derive(Clone)]
enum Cipher {
    Aes128(Box<Aes128Gcm>),
    Aes192(Box<AesGcm<Aes192, U12>>),
    Aes256(Box<Aes256Gcm>),
}

impl Key {
    /// A key of 16, 24 or 32 bytes.
    ///
    /// # Errors
    /// [`KeyError::Length`] (as key 1).
    pub fn new(bytes: &[u8]) -> Result<Self, KeyError> {
        let length = KeyError::Length {
            number: 1,
            bytes: bytes.len(),
        };
        let cipher = match bytes.len() {
            16 => Aes128Gcm::new_from_slice(bytes).map(|cipher| Cipher::Aes128(Box::new(cipher))),
            24 => AesGcm::new_from_slice(bytes).map(|cipher| Cipher::Aes192(Box::new(cipher))),
            32 => Aes256Gcm::new_from_slice(bytes).map(|cipher| Cipher::Aes256(Box::new(cipher))),
            _ => return Err(length),
        };
        Ok(Self {
            bytes: bytes.to_vec(),
            cipher: cipher.map_err(|_| length)?,
        })
    }

    /// Eight hex digits that tell keys apart and say nothing about the key: the first four bytes of the tag that
    /// AES-GCM gives the text `lb gossip key fingerprint` as associated data, with no plaintext and a nonce of twelve `ff`.
    ///
    /// The same for the same key on every node and after every start. A key made from a guessable passphrase can be
    /// guessed from it, as it can from any packet.
    pub fn fingerprint(&self) -> String {
        let tag = self
            .cipher
            .seal(&FINGERPRINT_NONCE, FINGERPRINT_LABEL, &mut []);
        tag[..4].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = 8 * self.bytes.len();
        write!(f, "Key({}, AES-{bits})", self.fingerprint())
    }
}

impl Cipher {
    /// Encrypts in place; the tag.
    fn seal(&self, nonce: &[u8; NONCE_BYTES], header: &[u8], text: &mut [u8]) -> [u8; TAG_BYTES] {
        let nonce = nonce.into();
        let tag = match self {
            Self::Aes128(cipher) => cipher.encrypt_inout_detached(nonce, header, text.into()),
            Self::Aes192(cipher) => cipher.encrypt_inout_detached(nonce, header, text.into()),
            Self::Aes256(cipher) => cipher.encrypt_inout_detached(nonce, header, text.into()),
        };
        tag.expect("the limit is 64 GiB, and no message comes near it")
            .into()
    }

    /// Decrypts in place; false, and `text` of no more use, when the tag does not fit.
    fn open(
        &self,
        nonce: &[u8; NONCE_BYTES],
        header: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> bool {
        let (nonce, tag, text) = (nonce.into(), tag.into(), text.into());
        match self {
            Self::Aes128(cipher) => cipher.decrypt_inout_detached(nonce, header, text, tag),
            Self::Aes192(cipher) => cipher.decrypt_inout_detached(nonce, header, text, tag),
            Self::Aes256(cipher) => cipher.decrypt_inout_detached(nonce, header, text, tag),
        }
        .is_ok()
    }
}

/// Keys in order, never none. The first is the primary: what we send is sealed with it. What we receive may be
/// sealed with any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyring(Vec<Key>);

impl Keyring {
    /// A ring of one.
    pub fn new(primary: Key) -> Self {
        Self(vec![primary])
    }

    /// Keys in base64 (standard alphabet, padded), one a line, or Serf's `keyring.json`: a JSON list of them.
    /// The first becomes the primary; one that is listed twice counts once.
    ///
    /// # Errors
    /// [`KeyError`], for the first that is wrong.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut keys: Vec<Key> = Vec::new();
        for (index, word) in words(text)?.into_iter().enumerate() {
            let number = index + 1;
            let bytes = STANDARD.decode(word).map_err(|_| KeyError::Base64 {
                number,
                characters: word.chars().count(),
            })?;
            let key = Key::new(&bytes).map_err(|_| KeyError::Length {
                number,
                bytes: bytes.len(),
            })?;
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        if keys.is_empty() {
            return Err(KeyError::Empty);
        }
        Ok(Self(keys))
    }

    /// The key that seals.
    pub fn primary(&self) -> &Key {
        &self.0[0]
    }

    /// Adds a key that opens. One that is there already changes nothing.
    pub fn install(&mut self, key: Key) {
        if !self.0.contains(&key) {
            self.0.push(key);
        }
    }

    /// Makes an installed key the primary.
    ///
    /// # Errors
    /// [`RingError::Unknown`].
    pub fn use_key(&mut self, key: &Key) -> Result<(), RingError> {
        let at = self.position(key)?;
        self.0[..=at].rotate_right(1);
        Ok(())
    }

    /// Removes a key.
    ///
    /// # Errors
    /// [`RingError::Unknown`], [`RingError::Primary`].
    pub fn remove(&mut self, key: &Key) -> Result<(), RingError> {
        match self.position(key)? {
            0 => Err(RingError::Primary),
            at => {
                self.0.remove(at);
                Ok(())
            }
        }
    }

    fn position(&self, key: &Key) -> Result<usize, RingError> {
        self.0
            .iter()
            .position(|own| own == key)
            .ok_or(RingError::Unknown)
    }

    /// Encrypts `text` in place with the primary; `header` is authenticated with it. The tag.
    ///
    /// A nonce must never seal twice: of two texts under one nonce anybody can learn their difference, and forge.
    pub(crate) fn seal(
        &self,
        nonce: &[u8; NONCE_BYTES],
        header: &[u8],
        text: &mut [u8],
    ) -> [u8; TAG_BYTES] {
        self.primary().cipher.seal(nonce, header, text)
    }

    /// Decrypts with the first key that fits.
    pub(crate) fn open(
        &self,
        nonce: &[u8; NONCE_BYTES],
        header: &[u8],
        text: &[u8],
        tag: &[u8; TAG_BYTES],
    ) -> Option<Vec<u8>> {
        self.0.iter().find_map(|key| {
            let mut plain = text.to_vec();
            key.cipher
                .open(nonce, header, &mut plain, tag)
                .then_some(plain)
        })
    }
}

/// The keys of a text, undecoded. Base64 needs no escapes, so a list is taken apart at its commas.
fn words(text: &str) -> Result<Vec<&str>, KeyError> {
    let text = text.trim();
    let Some(list) = text.strip_prefix('[') else {
        let lines = text.lines().map(str::trim);
        return Ok(lines.filter(|line| !line.is_empty()).collect());
    };
    let list = list.strip_suffix(']').ok_or(KeyError::List)?;
    if list.trim().is_empty() {
        return Ok(Vec::new());
    }
    list.split(',')
        .map(|item| {
            let item = item.trim().strip_prefix('"')?.strip_suffix('"')?;
            (!item.contains(['"', '\\'])).then_some(item)
        })
        .collect::<Option<_>>()
        .ok_or(KeyError::List)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key::new(&[byte; 16]).unwrap()
    }

    fn ring(bytes: &[u8]) -> Keyring {
        let mut keyring = Keyring::new(key(bytes[0]));
        for byte in &bytes[1..] {
            keyring.install(key(*byte));
        }
        keyring
    }

    #[test]
    fn the_vectors_of_the_standard_come_out() {
        // The Galois/Counter Mode of Operation (GCM), McGrew and Viega, test cases 2, 8 and 14: all zeros.
        for (len, cipher, tag) in [
            (
                16,
                "0388dace60b6a392f328c2b971b2fe78",
                "ab6e47d42cec13bdf53a67b21257bddf",
            ),
            (
                24,
                "98e7247c07f0fe411c267e4384b0f600",
                "2ff58d80033927ab8ef4d4587514f0fb",
            ),
            (
                32,
                "cea7403d4d606b6e074ec5d3baf39d18",
                "d0d1c8a799996bf0265b98b5d48ab919",
            ),
        ] {
            let keyring = Keyring::new(Key::new(&vec![0; len]).unwrap());
            let mut text = [0; 16];
            let found = keyring.seal(&[0; 12], &[], &mut text);

            let hex = |bytes: &[u8]| -> String {
                bytes.iter().map(|byte| format!("{byte:02x}")).collect()
            };
            assert_eq!((&*hex(&text), &*hex(&found)), (cipher, tag));
            assert_eq!(
                keyring.open(&[0; 12], &[], &text, &found),
                Some(vec![0; 16])
            );
        }
    }

    #[test]
    fn only_three_lengths_are_keys() {
        for len in 0..70 {
            assert_eq!(
                Key::new(&vec![7; len]).is_ok(),
                [16, 24, 32].contains(&len),
                "{len}"
            );
        }
    }

    #[test]
    fn lines_and_serfs_list_mean_the_same() {
        let one = "MDEyMzQ1Njc4OWFiY2RlZg==";
        let two = "tDtuy7Kl/mktI0I4uxaNMixEdCC/vnjmNNEC8BHRjxw=";
        let lines = Keyring::parse(&format!("{one}\n{two}\n")).unwrap();

        assert_eq!(*lines.primary(), Key::new(b"0123456789abcdef").unwrap());
        for text in [
            format!("\r\n{one}\r\n\r\n  {two}  "),
            format!("[\"{one}\",\"{two}\"]"),
            format!(" [\n  \"{one}\",\n  \"{two}\"\n]\n"),
            format!("{one}\n{two}\n{one}"),
        ] {
            assert_eq!(Keyring::parse(&text), Ok(lines.clone()), "{text}");
        }
    }

    #[test]
    fn what_is_no_key_is_told_without_being_shown() {
        let good = "MDEyMzQ1Njc4OWFiY2RlZg==";
        for (text, error) in [
            ("", "holds no key"),
            ("\n \n", "holds no key"),
            ("[]", "holds no key"),
            ("secret", "key 1 (6 characters, not shown) is not base64"),
            ("c2VjcmV0", "key 1 has 6 bytes; AES takes 16, 24 or 32"),
            (
                &format!("{good}\n{good}="),
                "key 2 (25 characters, not shown) is not base64",
            ),
            (
                &format!("[\"{good}\""),
                "begins with [ and is not a JSON list of texts",
            ),
            (
                &format!("[{good}]"),
                "begins with [ and is not a JSON list of texts",
            ),
            (
                "[\"a\", 5]",
                "begins with [ and is not a JSON list of texts",
            ),
            ("[\"\"]", "key 1 has 0 bytes; AES takes 16, 24 or 32"),
        ] {
            let found = Keyring::parse(text).unwrap_err().to_string();
            assert_eq!(found, error, "of {text:?}");
        }
    }

    #[test]
    fn debug_shows_fingerprints_and_nothing_of_the_key() {
        let keyring = Keyring::parse("tDtuy7Kl/mktI0I4uxaNMixEdCC/vnjmNNEC8BHRjxw=").unwrap();
        let shown = format!("{keyring:?} {keyring:#?}");

        let fingerprint = keyring.primary().fingerprint();
        assert!(shown.contains(&fingerprint), "{shown}");
        for secret in ["tDtu", "b43b6e", "180, 59", "0xb4"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert_eq!(fingerprint.len(), 8);
        assert_ne!(key(1).fingerprint(), key(2).fingerprint());
        // Fixed for ever: operators compare it between nodes of different versions.
        assert_eq!(key(1).fingerprint(), FINGERPRINT_OF_ONES);
    }

    const FINGERPRINT_OF_ONES: &str = "216462ff";

    #[test]
    fn a_ring_is_turned_without_losing_a_key() {
        let mut keyring = ring(&[1, 2, 3]);

        assert_eq!(keyring.use_key(&key(3)), Ok(()));
        assert_eq!(keyring, ring(&[3, 1, 2]));
        assert_eq!(keyring.use_key(&key(3)), Ok(()));
        assert_eq!(keyring.use_key(&key(9)), Err(RingError::Unknown));
        assert_eq!(keyring.remove(&key(3)), Err(RingError::Primary));
        assert_eq!(keyring.remove(&key(9)), Err(RingError::Unknown));
        assert_eq!(keyring.remove(&key(1)), Ok(()));
        keyring.install(key(2));
        assert_eq!(keyring, ring(&[3, 2]));
    }

    #[test]
    fn any_key_opens_and_only_the_primary_seals() {
        let mut text = *b"hello";
        let tag = ring(&[2, 1]).seal(&[5; 12], b"head", &mut text);

        let opened = |keyring: &Keyring| keyring.open(&[5; 12], b"head", &text, &tag);
        assert_eq!(opened(&ring(&[3, 1, 2])), Some(b"hello".to_vec()));
        assert_eq!(opened(&ring(&[1])), None);
        assert_eq!(ring(&[2]).open(&[6; 12], b"head", &text, &tag), None);
        assert_eq!(ring(&[2]).open(&[5; 12], b"heaD", &text, &tag), None);
    }
}
