//! LZW as Go's `compress/lzw` speaks it with LSB order and literal width 8.
//!
//! ```text
//! 256 clear · codes of 9 to 12 bits, one wider as soon as the next code needs it (GIF's rule, not TIFF's) · 257 end
//! ```
//!
//! Our own, because a member compresses every packet: the tables here are as large as the message needs, where a
//! general library's take 120 kB each time, the largest piece of memory that an agent would touch.
//!
//! Source: Go `compress/lzw`, `Writer` and `Reader`.

use super::WireError;

const CLEAR: u16 = 256;
const END: u16 = 257;
const WIDTH_MIN: u32 = 9;
const WIDTH_MAX: u32 = 12;

/// The last code: once it is due the writer begins anew, and the reader learns no more.
const CODE_MAX: u16 = (1 << WIDTH_MAX) - 1;

/// No string has this key: a key is a code of 12 bits and a byte.
const FREE: u32 = u32::MAX;

/// Compresses all of `plain`.
pub(super) fn pack(plain: &[u8]) -> Vec<u8> {
    let mut packer = Packer::new(plain.len());
    packer.push(plain);
    packer.finish()
}

/// Compresses what comes piece by piece, so that it need not be in memory at once.
pub(super) struct Packer {
    out: Bits,
    strings: Strings,
    /// What was read last and is not written yet; none at the very beginning.
    code: Option<u16>,
    last: u16,
    width: u32,
}

impl Packer {
    /// For about so many bytes; there may be more.
    pub(super) fn new(bytes: usize) -> Self {
        let mut out = Bits::default();
        out.push(CLEAR, WIDTH_MIN);
        Self {
            out,
            strings: Strings::for_input(bytes),
            code: None,
            last: END,
            width: WIDTH_MIN,
        }
    }

    pub(super) fn push(&mut self, plain: &[u8]) {
        for &byte in plain {
            let Some(code) = self.code else {
                self.code = Some(u16::from(byte));
                continue;
            };
            let slot = match self.strings.find(code, byte) {
                Ok(longer) => {
                    self.code = Some(longer);
                    continue;
                }
                Err(slot) => slot,
            };
            if !self.write(code) {
                self.strings.add(slot, code, byte, self.last);
            }
            self.code = Some(u16::from(byte));
        }
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        // The reader counts one code more for the string that ends the message.
        if let Some(code) = self.code {
            self.write(code);
        }
        self.out.push(END, self.width);
        self.out.finish()
    }

    /// True if the table was full and was cleared.
    fn write(&mut self, code: u16) -> bool {
        self.out.push(code, self.width);
        self.last += 1;
        if self.last == 1 << self.width {
            self.width += 1;
        }
        let full = self.last == CODE_MAX;
        if full {
            self.out.push(CLEAR, self.width);
            (self.last, self.width) = (END, WIDTH_MIN);
            self.strings.clear();
        }
        full
    }
}

/// Decompresses at most `bytes_max`, growing as the bytes come: what is declared nowhere can't lie.
///
/// # Errors
/// [`WireError::TooLarge`]; [`WireError::Compression`] for a code that cannot be, and where the end code is missing.
pub(super) fn unpack(packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, WireError> {
    // What each code from 258 on means: an earlier code, and a byte after it.
    let mut before = [0_u16; CODE_MAX as usize + 1];
    let mut byte = [0_u8; CODE_MAX as usize + 1];
    let mut plain = Vec::new();
    let (mut next, mut width, mut previous) = (END, WIDTH_MIN, None);
    let (mut held, mut bits) = (0_u32, 0);
    let mut input = packed.iter();
    loop {
        while bits < width {
            let more = input.next().ok_or(WireError::Compression)?;
            held |= u32::from(*more) << bits;
            bits += 8;
        }
        let code = (held & ((1 << width) - 1)) as u16;
        held >>= width;
        bits -= width;
        if code == CLEAR {
            (next, width, previous) = (END, WIDTH_MIN, None);
            continue;
        }
        if code == END {
            return Ok(plain);
        }
        if code > next || (code == next && previous.is_none() && next < CODE_MAX) {
            return Err(WireError::Compression);
        }
        // The code that is only being learned: the last string, and its own first byte again.
        let learning = previous.filter(|_| code == next);
        let start = plain.len();
        let mut at = learning.unwrap_or(code);
        plain.extend(learning.map(|_| 0));
        while at > END {
            plain.push(byte[usize::from(at)]);
            at = before[usize::from(at)];
        }
        let first = at as u8;
        plain.push(first);
        if learning.is_some() {
            plain[start] = first;
        }
        plain[start..].reverse();
        if plain.len() > bytes_max {
            return Err(WireError::TooLarge);
        }
        if let Some(previous) = previous {
            before[usize::from(next)] = previous;
            byte[usize::from(next)] = first;
        }
        if next == CODE_MAX {
            previous = None;
            continue;
        }
        previous = Some(code);
        next += 1;
        if next == 1 << width && width < WIDTH_MAX {
            width += 1;
        }
    }
}

/// The strings known so far, by their first part's code and their last byte: open addressing, no more than half full.
struct Strings {
    /// Key in the upper 20 bits, code in the lower 12.
    slots: Vec<u32>,
    mask: usize,
    known: usize,
}

impl Strings {
    /// A string is learned for each byte at most, and never more than there are codes.
    fn for_input(bytes: usize) -> Self {
        let slots = (2 * bytes.clamp(1, usize::from(CODE_MAX))).next_power_of_two();
        Self {
            slots: vec![FREE; slots],
            mask: slots - 1,
            known: 0,
        }
    }

    fn clear(&mut self) {
        self.slots.fill(FREE);
        self.known = 0;
    }

    /// The code of a known string, or where it belongs.
    fn find(&self, code: u16, byte: u8) -> Result<u16, usize> {
        self.find_key(u32::from(code) << 8 | u32::from(byte))
    }

    fn find_key(&self, key: u32) -> Result<u16, usize> {
        // Fibonacci hashing: neighbouring keys land far from each other.
        let mut at = (key.wrapping_mul(0x9e37_79b9) >> 12) as usize & self.mask;
        loop {
            match self.slots[at] {
                FREE => return Err(at),
                slot if slot >> WIDTH_MAX == key => return Ok(slot as u16 & CODE_MAX),
                _ => at = (at + 1) & self.mask,
            }
        }
    }

    fn add(&mut self, slot: usize, code: u16, byte: u8, new: u16) {
        let key = u32::from(code) << 8 | u32::from(byte);
        self.slots[slot] = key << WIDTH_MAX | u32::from(new);
        self.known += 1;
        if 2 * self.known > self.slots.len() {
            self.widen();
        }
    }

    fn widen(&mut self) {
        let wider = Self::for_input(self.slots.len());
        let narrow = std::mem::replace(self, wider);
        self.known = narrow.known;
        for slot in narrow.slots.into_iter().filter(|slot| *slot != FREE) {
            if let Err(at) = self.find_key(slot >> WIDTH_MAX) {
                self.slots[at] = slot;
            }
        }
    }
}

/// Codes, the lowest bit first.
#[derive(Default)]
struct Bits {
    out: Vec<u8>,
    held: u32,
    bits: u32,
}

impl Bits {
    fn push(&mut self, code: u16, width: u32) {
        self.held |= u32::from(code) << self.bits;
        self.bits += width;
        while self.bits >= 8 {
            self.out.push(self.held as u8);
            self.held >>= 8;
            self.bits -= 8;
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.bits > 0 {
            self.out.push(self.held as u8);
        }
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_learned_from_itself_comes_back() {
        let plain = [b'a'; 9];

        assert_eq!(unpack(&pack(&plain), 9).as_deref(), Ok(&plain[..]));
        assert_eq!(unpack(&pack(&plain), 8), Err(WireError::TooLarge));
    }

    #[test]
    fn pieces_of_an_unforeseen_number_give_the_same_bytes_as_the_whole() {
        let plain: Vec<u8> = (0..30_000_u32)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 27) as u8)
            .collect();
        for foreseen in [0, 100, 30_000] {
            let mut packer = Packer::new(foreseen);
            for piece in plain.chunks(77) {
                packer.push(piece);
            }

            assert_eq!(packer.finish(), pack(&plain), "{foreseen}");
        }
        assert_eq!(unpack(&pack(&plain), plain.len()), Ok(plain));
    }

    #[test]
    fn a_code_that_nothing_taught_is_refused() {
        for codes in [[CLEAR, 258], [CLEAR, 300], [u16::from(b'a'), 259]] {
            let mut bits = Bits::default();
            for code in codes.into_iter().chain([END]) {
                bits.push(code, WIDTH_MIN);
            }

            let packed = bits.finish();
            assert_eq!(
                unpack(&packed, 100),
                Err(WireError::Compression),
                "{codes:?}"
            );
        }
    }

    #[test]
    fn a_full_table_goes_on_in_use_when_the_writer_does_not_begin_anew() {
        // As other writers than Go's may do: 4,000 different pairs, no clear code.
        let mut bits = Bits::default();
        let (mut next, mut width) = (END, WIDTH_MIN);
        let mut plain = Vec::new();
        for at in 0..5_000_u32 {
            let byte = (at.wrapping_mul(2_654_435_761) >> 24) as u8;
            bits.push(u16::from(byte), width);
            plain.push(byte);
            next = (next + 1).min(CODE_MAX);
            if next == 1 << width && width < WIDTH_MAX {
                width += 1;
            }
        }
        bits.push(CODE_MAX, width);
        bits.push(END, width);

        let unpacked = unpack(&bits.finish(), 10_000).expect("good codes");
        assert_eq!(unpacked[..5_000], plain);
        assert_eq!(unpacked.len(), 5_002);
    }
}
