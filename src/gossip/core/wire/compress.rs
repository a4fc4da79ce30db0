//! The compress envelope, alike in packets and streams.
//!
//! ```text
//! [9][msgpack map {Algo: 0, Buf: LZW of a whole message with its type byte}]
//! ```
//!
//! LZW as Go's `compress/lzw` with LSB order and literal width 8: GIF's rule for growing codes, not TIFF's.

use weezl::{BitOrder, LzwStatus, decode::Decoder, encode::Encoder};

use super::WireError;
use super::msgpack::{Reader, Writer};

pub(super) const COMPRESS: u8 = 9;

const LZW: u8 = 0;

/// `plain` in its envelope, type byte included. May be longer than `plain`.
pub(super) fn pack(plain: &[u8]) -> Vec<u8> {
    let packed = Encoder::new(BitOrder::Lsb, 8)
        .encode(plain)
        .expect("every byte is a literal at width 8");
    let mut w = Writer::message(COMPRESS);
    w.map(2);
    w.key("Algo");
    w.uint(LZW.into());
    w.key("Buf");
    w.raw(&packed);
    w.finish()
}

/// The body of the envelope (after its type byte): the LZW bytes.
pub(super) fn read<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], WireError> {
    let (mut algo, mut packed) = (0u8, &[][..]);
    r.fields(&["Algo", "Buf"], |r, field| {
        match field {
            "Algo" => algo = r.uint_as("Algo")?,
            "Buf" => packed = r.raw()?.unwrap_or_default(),
            _ => r.skip()?,
        }
        Ok(())
    })?;
    if algo == LZW {
        Ok(packed)
    } else {
        Err(WireError::Compression)
    }
}

/// Decompresses at most `bytes_max`, growing as the bytes come: what is declared nowhere can't lie.
pub(super) fn unpack(mut packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, WireError> {
    let mut decoder = Decoder::new(BitOrder::Lsb, 8);
    let mut plain = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let step = decoder.decode_bytes(packed, &mut chunk);
        packed = &packed[step.consumed_in..];
        if plain.len() + step.consumed_out > bytes_max {
            return Err(WireError::TooLarge);
        }
        plain.extend_from_slice(&chunk[..step.consumed_out]);
        match step.status {
            Ok(LzwStatus::Ok) => {}
            Ok(LzwStatus::Done) => return Ok(plain),
            // Go reads until the end code too, and refuses what stops before it.
            Ok(LzwStatus::NoProgress) | Err(_) => return Err(WireError::Compression),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(envelope: &[u8], bytes_max: usize) -> Result<Vec<u8>, WireError> {
        unpack(read(&mut Reader::new(&envelope[1..]))?, bytes_max)
    }

    #[test]
    fn what_is_packed_comes_back_below_and_above_a_full_table() {
        for len in [0, 1, 100, 5_000, 200_000] {
            let plain: Vec<u8> = (0..len as u32)
                .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
                .collect();

            assert_eq!(unpacked(&pack(&plain), len), Ok(plain), "{len} bytes");
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = pack(&vec![0; 8 << 20]);
        assert!(bomb.len() < 100_000, "it is a bomb: {}", bomb.len());

        assert_eq!(unpacked(&bomb, 1 << 20), Err(WireError::TooLarge));
    }

    #[test]
    fn an_unknown_algorithm_and_a_missing_end_are_refused() {
        assert_eq!(
            unpacked(&[9, 0x81, 0xa4, b'A', b'l', b'g', b'o', 1], 10),
            Err(WireError::Compression)
        );
        assert_eq!(unpack(&[], 10), Err(WireError::Compression));
        let whole = pack(b"hello hello hello");
        let packed = read(&mut Reader::new(&whole[1..])).unwrap();
        assert_eq!(
            unpack(&packed[..packed.len() - 2], 100),
            Err(WireError::Compression)
        );
    }
}
