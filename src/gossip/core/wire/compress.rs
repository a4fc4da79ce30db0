//! The compress envelope, alike in packets and streams.
//!
//! ```text
//! [9][msgpack map {Algo: 0, Buf: LZW of a whole message with its type byte}]
//! ```
//!

use super::msgpack::{Reader, Writer};
use super::{WireError, lzw};

pub(super) const COMPRESS: u8 = 9;

const LZW: u8 = 0;

/// `plain` in its envelope, type byte included. May be longer than `plain`.
pub(super) fn pack(plain: &[u8]) -> Vec<u8> {
    envelope(&lzw::pack(plain))
}

/// The envelope of what is packed already.
pub(super) fn envelope(packed: &[u8]) -> Vec<u8> {
    let mut w = Writer::message(COMPRESS);
    w.map(2);
    w.key("Algo");
    w.uint(LZW.into());
    w.key("Buf");
    w.raw(packed);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(envelope: &[u8], bytes_max: usize) -> Result<Vec<u8>, WireError> {
        lzw::unpack(read(&mut Reader::new(&envelope[1..]))?, bytes_max)
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
        assert_eq!(lzw::unpack(&[], 10), Err(WireError::Compression));
        let whole = pack(b"hello hello hello");
        let packed = read(&mut Reader::new(&whole[1..])).unwrap();
        assert_eq!(
            lzw::unpack(&packed[..packed.len() - 2], 100),
            Err(WireError::Compression)
        );
    }
}
