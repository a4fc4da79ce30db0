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

    /// A key in base64 (standard alphabet, padded).
    ///
    /// # Errors
    /// [`KeyError::Base64`], [`KeyError::Length`] (as key 1).
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        Self::numbered(1, text)
    }

    fn numbered(number: usize, text: &str) -> Result<Self, KeyError> {
        let bytes = STANDARD.decode(text).map_err(|_| KeyError::Base64 {
            number,
            characters: text.chars().count(),
        })?;
        Self::new(&bytes).map_err(|_| KeyError::Length {
            number,
            bytes: bytes.len(),
        })
    }

    /// The key itself in base64, for files and for members of the cluster.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(&self.bytes)
    }

    /// The key itself.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
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
            let key = Key::numbered(index + 1, word)?;
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

    /// All of them, the primary first.
    pub fn keys(&self) -> &[Key] {
        &self.0
    }

    /// As Serf's `keyring.json`, which [`Self::parse`] reads: a list in JSON, the primary first.
    pub fn to_json(&self) -> String {
        let keys: Vec<String> = self
            .0
            .iter()
            .map(|key| format!("  \"{}\"", key.to_base64()))
            .collect();
        format!("[\n{}\n]", keys.join(",\n"))
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
mod tests;
