//! Packets: CRC, compression, compound.
//!
//! ```text
//! open:  datagram ─▶ (crypto, with keys) ─▶ [12 crc]? ─▶ ┌ [9 compress] ─┐
//!                                                        ├ [7 compound]  ─┼─▶ messages
//!                                                        └────────────────┘ nested, bounded
//! seal:  parts ─▶ compound when many ─▶ compress when shorter ─▶ crc ─▶ (crypto, with keys)
//! ```

use super::compress::{self, COMPRESS};
use super::lzw;
use super::message::Message;
use super::msgpack::Reader;
use super::{PACKET_BYTES_MAX, WireError};

const COMPOUND: u8 = 7;
const HAS_CRC: u8 = 12;

/// Type byte and checksum.
const CRC_HEADER_BYTES: usize = 5;

/// Envelopes within envelopes. Go nests compound in compress and no deeper, but does not limit it.
const DEPTH_MAX: u32 = 4;

/// Messages of one packet. A compound counts its parts in one byte; only nested ones could hold more.
const PARTS_MAX: usize = 1024;

/// Opens a packet into its messages, in order. A bad part does not hide the good ones before and after it.
pub fn open(packet: &[u8]) -> Vec<Result<Message, WireError>> {
    let mut opening = Opening {
        found: Vec::new(),
        bytes_left: PACKET_BYTES_MAX,
    };
    match without_crc(packet) {
        Ok(message) => opening.dispatch(message, DEPTH_MAX),
        Err(error) => opening.found.push(Err(error)),
    }
    opening.found
}

/// One packet of `parts` (encoded messages): bare for one, compound for more; then compressed when that is
/// shorter, then a CRC header.
///
/// Takes at most 255 parts of at most 64 KiB each, which a packet of 1,400 bytes is far from.
pub fn seal(parts: &[Vec<u8>], compress: bool, crc: bool) -> Vec<u8> {
    let mut packet = match parts {
        [alone] => alone.clone(),
        many => compound(many),
    };
    if compress {
        let packed = compress::pack(&packet);
        if packed.len() < packet.len() {
            packet = packed;
        }
    }
    if crc {
        let mut checked = Vec::with_capacity(CRC_HEADER_BYTES + packet.len());
        checked.push(HAS_CRC);
        checked.extend(crc32fast::hash(&packet).to_be_bytes());
        checked.append(&mut packet);
        packet = checked;
    }
    packet
}

/// `[7][count: u8][length: u16 be] × count, then the parts`
fn compound(parts: &[Vec<u8>]) -> Vec<u8> {
    debug_assert!(parts.len() <= 0xff, "a compound counts in one byte");
    let parts: Vec<(&Vec<u8>, u16)> = parts
        .iter()
        .filter_map(|part| Some((part, u16::try_from(part.len()).ok()?)))
        .take(0xff)
        .collect();
    let mut packet = vec![COMPOUND, parts.len() as u8];
    for (_, len) in &parts {
        packet.extend(len.to_be_bytes());
    }
    for (part, _) in &parts {
        packet.extend_from_slice(part);
    }
    packet
}

/// The checksum is looked at on the outside only, as Go does; inside, type 12 is unknown.
fn without_crc(packet: &[u8]) -> Result<&[u8], WireError> {
    if packet.first() != Some(&HAS_CRC) {
        return Ok(packet);
    }
    let (header, message) = packet
        .split_at_checked(CRC_HEADER_BYTES)
        .ok_or(WireError::Truncated)?;
    if header[1..] == crc32fast::hash(message).to_be_bytes() {
        Ok(message)
    } else {
        Err(WireError::Crc)
    }
}

struct Opening {
    found: Vec<Result<Message, WireError>>,
    /// One budget for the whole packet: many small bombs are one large bomb.
    bytes_left: usize,
}

impl Opening {
    fn dispatch(&mut self, message: &[u8], depth: u32) {
        if self.found.len() >= PARTS_MAX {
            return;
        }
        let outcome = match message.first() {
            Some(&(COMPRESS | COMPOUND)) if depth == 0 => Err(WireError::TooDeep),
            Some(&COMPRESS) => self.compressed(&message[1..], depth - 1),
            Some(&COMPOUND) => self.compound(&message[1..], depth - 1),
            _ => {
                self.found.push(Message::decode(message));
                Ok(())
            }
        };
        if let Err(error) = outcome {
            self.found.push(Err(error));
        }
    }

    fn compressed(&mut self, body: &[u8], depth: u32) -> Result<(), WireError> {
        let packed = compress::read(&mut Reader::new(body))?;
        let plain = lzw::unpack(packed, self.bytes_left).inspect_err(|error| {
            if *error == WireError::TooLarge {
                self.bytes_left = 0;
            }
        })?;
        self.bytes_left -= plain.len();
        self.dispatch(&plain, depth);
        Ok(())
    }

    /// The whole parts count; a cut tail is one error at the end.
    fn compound(&mut self, body: &[u8], depth: u32) -> Result<(), WireError> {
        let (&count, rest) = body.split_first().ok_or(WireError::Truncated)?;
        let (lengths, mut parts) = rest
            .split_at_checked(2 * usize::from(count))
            .ok_or(WireError::Truncated)?;
        for length in lengths.chunks_exact(2) {
            let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
            let (part, rest) = parts.split_at_checked(length).ok_or(WireError::Truncated)?;
            self.dispatch(part, depth);
            parts = rest;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::Nack;
    use super::*;

    fn nack(seq_no: u32) -> Message {
        Message::Nack(Nack { seq_no })
    }

    #[test]
    fn every_way_of_sealing_opens_again() {
        let messages: Vec<Message> = (0..40).map(nack).collect();
        let parts: Vec<Vec<u8>> = messages.iter().map(Message::encode).collect();
        for compress in [false, true] {
            for crc in [false, true] {
                for many in [1, 2, 40] {
                    let packet = seal(&parts[..many], compress, crc);
                    let opened: Result<Vec<Message>, WireError> =
                        open(&packet).into_iter().collect();

                    assert_eq!(opened.as_deref(), Ok(&messages[..many]));
                    assert_eq!(packet[0] == HAS_CRC, crc);
                }
            }
        }
    }

    #[test]
    fn compression_is_kept_only_when_it_helps() {
        let short = nack(1).encode();
        assert_eq!(seal(std::slice::from_ref(&short), true, false), short);

        let long = seal(&vec![short; 100], true, false);
        assert_eq!(long[0], COMPRESS);
    }

    #[test]
    fn a_bad_part_does_not_hide_its_neighbours() {
        let parts = [nack(1).encode(), vec![200], vec![], nack(2).encode()];

        assert_eq!(
            open(&seal(&parts, false, false)),
            [
                Ok(nack(1)),
                Err(WireError::UnknownType(200)),
                Err(WireError::Truncated),
                Ok(nack(2))
            ]
        );
    }

    #[test]
    fn a_cut_tail_leaves_the_whole_parts() {
        let mut packet = seal(&[nack(1).encode(), nack(2).encode()], false, false);
        packet.pop();

        assert_eq!(open(&packet), [Ok(nack(1)), Err(WireError::Truncated)]);
    }

    #[test]
    fn a_flipped_bit_fails_the_checksum() {
        let mut packet = seal(&[nack(1).encode()], false, true);
        *packet.last_mut().unwrap() ^= 1;

        assert_eq!(open(&packet), [Err(WireError::Crc)]);
    }

    #[test]
    fn a_checksum_inside_an_envelope_is_unknown() {
        let inner = seal(&[nack(1).encode()], false, true);

        assert_eq!(
            open(&seal(&[inner, nack(2).encode()], false, false)),
            [Err(WireError::UnknownType(HAS_CRC)), Ok(nack(2))]
        );
    }

    #[test]
    fn envelopes_nest_only_so_deep() {
        let nested = |depth: usize| {
            (0..depth).fold(nack(1).encode(), |inner, level| {
                if level % 2 == 0 {
                    compress::pack(&inner)
                } else {
                    compound(&[inner])
                }
            })
        };

        assert_eq!(open(&nested(4)), [Ok(nack(1))]);
        assert_eq!(open(&nested(5)), [Err(WireError::TooDeep)]);
        assert_eq!(open(&nested(200)), [Err(WireError::TooDeep)]);
    }

    #[test]
    fn many_small_bombs_share_one_budget() {
        let bomb = compress::pack(&vec![0; PACKET_BYTES_MAX * 2 / 3]);
        let good = nack(1).encode();

        let opened = open(&compound(&[bomb.clone(), bomb.clone(), bomb, good]));

        assert_eq!(opened.len(), 4);
        assert!(opened[0].is_err(), "zeros are no ping");
        assert_eq!(opened[1], Err(WireError::TooLarge));
        assert_eq!(opened[2], Err(WireError::TooLarge));
        assert_eq!(opened[3], Ok(nack(1)));
    }

    #[test]
    fn nested_compounds_do_not_multiply_without_end() {
        let flat = compound(&vec![vec![]; 255]);
        let nested = compound(&vec![flat; 100]);
        let packet = seal(&[nested], true, false);

        assert!(open(&packet).len() <= PARTS_MAX + 1);
    }

    #[test]
    fn nothing_at_all_is_too_short() {
        assert_eq!(open(&[]), [Err(WireError::Truncated)]);
        assert_eq!(open(&[HAS_CRC, 1]), [Err(WireError::Truncated)]);
        assert_eq!(open(&[COMPOUND]), [Err(WireError::Truncated)]);
    }
}
