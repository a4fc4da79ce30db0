//! What encryption puts around packets and streams.
//!
//! ```text
//! packet  [version: u8][nonce: 12][ciphertext][tag: 16]                          nothing else authenticated
//! stream  [10: u8][length: u32 be][version: u8][nonce: 12][ciphertext][tag: 16]  the first five bytes as well
//! ```
//!
//! `length` counts what follows it. We send version 1; version 0 pads the plaintext as PKCS#7 does and is read too.
//! With keys everything has to be sealed, without keys nothing may be. Source: memberlist `security.go`, `net.go`.

use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{STREAM_BYTES_MAX, WireError};
use crate::gossip::core::keyring::{Keyring, NONCE_BYTES, TAG_BYTES};

/// What a sealed packet is longer than its plaintext.
pub const OVERHEAD_BYTES: usize = 1 + NONCE_BYTES + TAG_BYTES;

/// First byte of an encrypted stream.
pub(super) const ENCRYPT: u8 = 10;

const PADDED: u8 = 0;
const PLAIN: u8 = 1;

/// Of AES.
const BLOCK_BYTES: usize = 16;

/// Type byte and length of a stream.
const STREAM_HEADER_BYTES: usize = 5;

/// A field of every ping and indirect ping, as everybody writes it.
const PING_FIELD: &[u8] = b"\xa5SeqNo";

/// The last type byte of a packet in clear.
const TYPE_MAX: u8 = 13;

/// A keyring and where its nonces come from.
///
/// Nonces are 96 random bits, as memberlist's are. Two of `n` packets meet with a chance of about n²/2⁹⁷: under one in
/// four billion after 2³² packets, which a cluster of a thousand sends in more than a day. So keys are to be rotated.
///
/// Not `Clone`: two of one would draw the same nonces.
#[derive(Debug)]
pub(crate) struct Sealer {
    keys: Arc<Keyring>,
    nonces: ChaCha8Rng,
}

impl Sealer {
    /// `nonces` is for this alone, and seeded from the system except in a simulation.
    pub(crate) fn new(keys: Keyring, nonces: ChaCha8Rng) -> Self {
        Self {
            keys: Arc::new(keys),
            nonces,
        }
    }

    pub(crate) fn keys(&self) -> &Arc<Keyring> {
        &self.keys
    }

    /// The ring, to be changed. Streams that are under way go on with the one they began with.
    pub(crate) fn keys_mut(&mut self) -> &mut Keyring {
        Arc::make_mut(&mut self.keys)
    }

    pub(crate) fn seal_packet(&mut self, packet: Vec<u8>) -> Vec<u8> {
        let nonce = self.nonces.random();
        seal_packet(&self.keys, nonce, &packet)
    }

    pub(crate) fn seal_stream(&mut self, message: Vec<u8>) -> Vec<u8> {
        let nonce = self.nonces.random();
        seal_stream(&self.keys, nonce, &message)
    }
}

/// A packet for the wire. `nonce` must be new for the key.
pub fn seal_packet(keys: &Keyring, nonce: [u8; NONCE_BYTES], packet: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(OVERHEAD_BYTES + packet.len());
    seal(keys, nonce, 0, packet, &mut sealed);
    sealed
}

/// What [`super::packet::open`] takes.
///
/// # Errors
/// [`WireError::Decrypt`]; [`WireError::Plaintext`] for what reads as a packet in clear.
pub fn open_packet(keys: &Keyring, packet: &[u8]) -> Result<Vec<u8>, WireError> {
    if packet.is_empty() {
        return Err(WireError::Truncated);
    }
    open(keys, &[], packet).map_err(|error| {
        if reads_as_plain(packet) {
            WireError::Plaintext
        } else {
            error
        }
    })
}

/// A message of a stream, for the wire. `nonce` must be new for the key.
pub fn seal_stream(keys: &Keyring, nonce: [u8; NONCE_BYTES], message: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(STREAM_HEADER_BYTES + OVERHEAD_BYTES + message.len());
    let length = OVERHEAD_BYTES + message.len();
    sealed.push(ENCRYPT);
    // Our own state is limited far below 4 GiB, and what does not fit is refused by every reader.
    sealed.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    seal(keys, nonce, STREAM_HEADER_BYTES, message, &mut sealed);
    sealed
}

/// How many bytes a frame has that begins with `buffer`; `None`: not known yet.
///
/// # Errors
/// [`WireError::TooLarge`]; [`WireError::Decrypt`] when it is too small to hold anything.
pub(super) fn stream_bytes(buffer: &[u8]) -> Result<Option<usize>, WireError> {
    let Some(header) = buffer.first_chunk::<STREAM_HEADER_BYTES>() else {
        return Ok(None);
    };
    let [_, length @ ..] = *header;
    let length = u32::from_be_bytes(length) as usize;
    if length > STREAM_BYTES_MAX {
        Err(WireError::TooLarge)
    } else if length < OVERHEAD_BYTES {
        Err(WireError::Decrypt)
    } else {
        Ok(Some(STREAM_HEADER_BYTES + length))
    }
}

/// The message of a whole frame.
///
/// # Errors
/// [`WireError::Decrypt`].
pub(super) fn open_stream(keys: &Keyring, frame: &[u8]) -> Result<Vec<u8>, WireError> {
    let (header, sealed) = frame
        .split_at_checked(STREAM_HEADER_BYTES)
        .ok_or(WireError::Decrypt)?;
    open(keys, header, sealed)
}

/// Appends the sealed `text` to `out`, whose first `header` bytes are authenticated with it.
fn seal(keys: &Keyring, nonce: [u8; NONCE_BYTES], header: usize, text: &[u8], out: &mut Vec<u8>) {
    out.push(PLAIN);
    out.extend(nonce);
    let begin = out.len();
    out.extend_from_slice(text);
    let (before, text) = out.split_at_mut(begin);
    let tag = keys.seal(&nonce, &before[..header], text);
    out.extend(tag);
}

fn open(keys: &Keyring, header: &[u8], sealed: &[u8]) -> Result<Vec<u8>, WireError> {
    let (&version, rest) = sealed.split_first().ok_or(WireError::Decrypt)?;
    let parts = rest
        .split_first_chunk::<NONCE_BYTES>()
        .and_then(|(nonce, rest)| Some((nonce, rest.split_last_chunk::<TAG_BYTES>()?)));
    let Some((nonce, (text, tag))) = parts.filter(|_| version <= PLAIN) else {
        return Err(WireError::Decrypt);
    };
    let mut plain = keys
        .open(nonce, header, text, tag)
        .ok_or(WireError::Decrypt)?;
    if version == PADDED {
        let padding = padding_of(&plain).ok_or(WireError::Decrypt)?;
        plain.truncate(plain.len() - padding);
    }
    Ok(plain)
}

/// Bytes of PKCS#7 padding. Go believes the last byte without a look at it.
fn padding_of(plain: &[u8]) -> Option<usize> {
    let last = *plain.last()?;
    let padding = usize::from(last);
    let is_whole = plain.len().is_multiple_of(BLOCK_BYTES);
    let in_range = (1..=BLOCK_BYTES).contains(&padding);
    (is_whole
        && in_range
        && plain[plain.len() - padding..]
            .iter()
            .all(|byte| *byte == last))
    .then_some(padding)
}

/// Whether a packet that no key opens was not sealed at all.
///
/// The bytes cannot tell for sure, as a sealed packet has no type byte: its version is 0 or 1, like the type of a ping and
/// an indirect ping. Those are known by a field of theirs, which random bytes do not hold.
fn reads_as_plain(packet: &[u8]) -> bool {
    match packet {
        [PADDED | PLAIN, ..] => packet
            .windows(PING_FIELD.len())
            .any(|window| window == PING_FIELD),
        [kind, ..] => *kind <= TYPE_MAX,
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gossip::core::keyring::Key;
    use crate::gossip::core::wire::message::{Message, Ping};

    fn ring(bytes: &[u8]) -> Keyring {
        let mut keyring = Keyring::new(Key::new(&[bytes[0]; 32]).unwrap());
        for byte in &bytes[1..] {
            keyring.install(Key::new(&[*byte; 32]).unwrap());
        }
        keyring
    }

    /// A packet of version 0 with any padding.
    fn padded(plain: &[u8]) -> Vec<u8> {
        let mut sealed = vec![PADDED];
        sealed.extend([3; NONCE_BYTES]);
        let mut text = plain.to_vec();
        let tag = ring(&[1]).seal(&[3; NONCE_BYTES], &[], &mut text);
        sealed.extend(text);
        sealed.extend(tag);
        sealed
    }

    #[test]
    fn what_is_sealed_opens_and_is_29_bytes_longer() {
        for length in [0, 1, 15, 16, 17, 1400] {
            let plain = vec![8; length];
            let sealed = seal_packet(&ring(&[1]), [3; NONCE_BYTES], &plain);

            assert_eq!(sealed.len(), length + OVERHEAD_BYTES);
            assert_eq!(sealed[..13], [1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3]);
            assert_eq!(open_packet(&ring(&[2, 1]), &sealed), Ok(plain.clone()));
            assert_eq!(open_packet(&ring(&[2]), &sealed), Err(WireError::Decrypt));

            let frame = seal_stream(&ring(&[1]), [3; NONCE_BYTES], &plain);
            assert_eq!(stream_bytes(&frame), Ok(Some(frame.len())));
            assert_eq!(open_stream(&ring(&[2, 1]), &frame), Ok(plain));
        }
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let packet = seal_packet(&ring(&[1]), [3; NONCE_BYTES], b"\x08hello");
        for at in 0..packet.len() {
            let mut bad = packet.clone();
            bad[at] ^= 4;
            assert_eq!(open_packet(&ring(&[1]), &bad).ok(), None, "at {at}");
        }
        let frame = seal_stream(&ring(&[1]), [3; NONCE_BYTES], b"\x08hello");
        for at in 0..frame.len() {
            let mut bad = frame.clone();
            bad[at] ^= 4;
            assert_eq!(
                open_stream(&ring(&[1]), &bad),
                Err(WireError::Decrypt),
                "at {at}"
            );
        }
    }

    #[test]
    fn every_cut_packet_is_refused() {
        let packet = seal_packet(&ring(&[1]), [3; NONCE_BYTES], b"\x08hello");
        for length in 0..packet.len() {
            assert!(open_packet(&ring(&[1]), &packet[..length]).is_err());
        }
    }

    #[test]
    fn version_0_is_read_and_its_padding_is_not_believed() {
        let block = |end: &[u8]| {
            let mut block = vec![8; BLOCK_BYTES - end.len()];
            block.extend_from_slice(end);
            block
        };
        let open = |plain: &[u8]| open_packet(&ring(&[1]), &padded(plain));

        assert_eq!(open(&block(&[3, 3, 3])), Ok(vec![8; 13]));
        assert_eq!(open(&block(&[1])), Ok(vec![8; 15]));
        assert_eq!(open(&[16; 16]), Ok(vec![]));
        let two = [block(&[]), vec![16; 16]].concat();
        assert_eq!(open(&two), Ok(vec![8; 16]));
        for bad in [
            &[][..],
            &block(&[0]),
            &block(&[17]),
            &block(&[255]),
            &block(&[2, 3, 3]),
            &[1; 15],
        ] {
            assert_eq!(open(bad), Err(WireError::Decrypt), "{bad:?}");
        }
    }

    #[test]
    fn a_later_version_is_refused() {
        let mut packet = seal_packet(&ring(&[1]), [3; NONCE_BYTES], b"\x08hello");
        packet[0] = 200;

        assert_eq!(open_packet(&ring(&[1]), &packet), Err(WireError::Decrypt));
    }

    #[test]
    fn a_packet_in_clear_is_named_as_such() {
        let ping = Message::Ping(Ping {
            seq_no: 1,
            node: "web1".to_owned(),
            source: None,
        });
        for packet in [ping.encode(), vec![8, 1], vec![12, 0, 0, 0, 0, 8], vec![7]] {
            assert_eq!(
                open_packet(&ring(&[1]), &packet),
                Err(WireError::Plaintext),
                "{packet:?}"
            );
        }
        assert_eq!(open_packet(&ring(&[1]), &[]), Err(WireError::Truncated));
    }

    #[test]
    fn a_sealed_packet_is_hardly_ever_taken_for_one_in_clear() {
        use rand::SeedableRng;
        let mut random = ChaCha8Rng::seed_from_u64(5);
        for _ in 0..200_000 {
            let mut packet: [u8; 80] = random.random();
            packet[0] = random.random_range(PADDED..=PLAIN);
            assert!(!reads_as_plain(&packet), "{packet:?}");
        }
    }

    #[test]
    fn a_frame_that_cannot_be_is_refused_at_its_header() {
        assert_eq!(stream_bytes(&[ENCRYPT, 0, 0, 0]), Ok(None));
        assert_eq!(
            stream_bytes(&[ENCRYPT, 0, 0, 0, 28]),
            Err(WireError::Decrypt)
        );
        assert_eq!(stream_bytes(&[ENCRYPT, 0, 0, 0, 29]), Ok(Some(34)));
        assert_eq!(
            stream_bytes(&[ENCRYPT, 0xff, 0, 0, 0]),
            Err(WireError::TooLarge)
        );
    }
}
