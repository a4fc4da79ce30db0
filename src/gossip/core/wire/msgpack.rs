//! The msgpack dialects of Serf's two ports, by hand.
//!
//! ```text
//! what Go writes            Writer: shortest integers, and
//!   gossip port               raw strings (a0|n, da, db; never d9 or c4): raw
//!   RPC port                  strings (a0|n, d9, da, db) and byte arrays (c4, c5, c6): str, bin
//! what Go accepts and more  Reader: all of these, any integer width, nil for anything, unknown keys
//! ```
//!
//! A struct is a map whose keys are the Go field names in byte order; an array in declaration
//! order is read as well. `Truncated` means that more bytes could still make it good;
//! everything else is final. Nothing is allocated from a declared length.

use super::WireError;

/// Deepest nesting that is skipped over. Serf's own messages need three.
const DEPTH_MAX: u32 = 16;

/// Unknown values skipped in one message. A peer from the future adds a few, not thousands.
const SKIPPED_MAX: u32 = 1024;

/// Entries of one struct map. The largest Serf struct has 13 fields.
const FIELDS_MAX: usize = 64;

/// Items of all lists and maps of one message together, so that memory follows the bytes that came and is
/// not fifty times as much. Far above any cluster with its event ring of 512.
const ITEMS_MAX: usize = 131_072;

/// A declared length beyond this never becomes whole.
const LENGTH_MAX: usize = super::STREAM_BYTES_MAX;

/// Appends values in the form that Go writes.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// Starts with a message's type byte.
    pub(crate) fn message(kind: u8) -> Self {
        Self { out: vec![kind] }
    }

    /// The bytes so far.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.out
    }

    /// Begins anew in the same memory.
    pub(crate) fn clear(&mut self) {
        self.out.clear();
    }

    /// What was written so far.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.out
    }

    /// Raw bytes outside msgpack.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(crate) fn nil(&mut self) {
        self.out.push(0xc0);
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.out.push(0xc2 + u8::from(value));
    }

    pub(crate) fn uint(&mut self, value: u64) {
        match value {
            0..=0x7f => self.out.push(value as u8),
            0x80..=0xff => self.out.extend([0xcc, value as u8]),
            0x100..=0xffff => self.wide(0xcd, &(value as u16).to_be_bytes()),
            0x1_0000..=0xffff_ffff => self.wide(0xce, &(value as u32).to_be_bytes()),
            _ => self.wide(0xcf, &value.to_be_bytes()),
        }
    }

    pub(crate) fn int(&mut self, value: i64) {
        match value {
            0.. => self.uint(value as u64),
            -32..=-1 => self.out.push(value as u8),
            -0x80..=-33 => self.out.extend([0xd0, value as u8]),
            -0x8000..=-0x81 => self.wide(0xd1, &(value as i16).to_be_bytes()),
            -0x8000_0000..=-0x8001 => self.wide(0xd2, &(value as i32).to_be_bytes()),
            _ => self.wide(0xd3, &value.to_be_bytes()),
        }
    }

    /// A string or a byte array: on the gossip port the same thing.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        match bytes.len() {
            len @ 0..=31 => self.out.push(0xa0 | len as u8),
            len @ 32..=0xffff => self.wide(0xda, &(len as u16).to_be_bytes()),
            len => self.wide(0xdb, &(len as u32).to_be_bytes()),
        }
        self.append(bytes);
    }

    pub(crate) fn raw_or_nil(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.raw(bytes),
            None => self.nil(),
        }
    }

    /// A string on the RPC port.
    pub(crate) fn str(&mut self, text: &str) {
        match text.len() {
            len @ 32..=0xff => self.out.extend([0xd9, len as u8]),
            _ => return self.raw(text.as_bytes()),
        }
        self.append(text.as_bytes());
    }

    /// A byte array on the RPC port; nil for an empty one.
    pub(crate) fn bin_or_nil(&mut self, bytes: &[u8]) {
        match bytes.len() {
            0 => return self.nil(),
            len @ 1..=0xff => self.out.extend([0xc4, len as u8]),
            len @ 0x100..=0xffff => self.wide(0xc5, &(len as u16).to_be_bytes()),
            len => self.wide(0xc6, &(len as u32).to_be_bytes()),
        }
        self.append(bytes);
    }

    pub(crate) fn float(&mut self, value: f64) {
        self.wide(0xcb, &value.to_be_bytes());
    }

    pub(crate) fn map(&mut self, entries: usize) {
        self.container(0x80, 0xde, entries);
    }

    pub(crate) fn array(&mut self, items: usize) {
        self.container(0x90, 0xdc, items);
    }

    /// A struct's field name; its value must follow.
    pub(crate) fn key(&mut self, name: &str) {
        self.raw(name.as_bytes());
    }

    fn container(&mut self, fix: u8, wide: u8, len: usize) {
        match len {
            0..=15 => self.out.push(fix | len as u8),
            16..=0xffff => self.wide(wide, &(len as u16).to_be_bytes()),
            _ => self.wide(wide + 1, &(len as u32).to_be_bytes()),
        }
    }

    fn wide(&mut self, marker: u8, bytes: &[u8]) {
        self.out.push(marker);
        self.append(bytes);
    }
}

/// The head of a value; a `Raw`'s bytes follow it, a container's items too.
enum Head {
    Nil,
    Bool(bool),
    Uint(u64),
    Int(i64),
    Raw(usize),
    Array(usize),
    Map(usize),
    /// Floats and extensions: nobody here reads them, so their length is enough.
    Opaque(usize),
}

/// Reads values from the front of a slice.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// How long the slice must at least be before a retry after `Truncated` makes sense.
    wanted: usize,
    skips_left: u32,
    items_left: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            wanted: 0,
            skips_left: SKIPPED_MAX,
            items_left: ITEMS_MAX,
        }
    }

    /// Bytes consumed so far.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// After `Truncated`: the least length of the slice that gets further.
    pub(crate) fn wanted(&self) -> usize {
        self.wanted
    }

    /// What was not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// The next `len` bytes as they are.
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        if len > LENGTH_MAX {
            return Err(WireError::TooLarge);
        }
        let end = self.at + len;
        let Some(taken) = self.bytes.get(self.at..end) else {
            self.wanted = end;
            return Err(WireError::Truncated);
        };
        self.at = end;
        Ok(taken)
    }

    /// An unsigned integer of any width; nil is 0.
    pub(crate) fn uint(&mut self) -> Result<u64, WireError> {
        match self.head()? {
            Head::Nil => Ok(0),
            Head::Uint(value) => Ok(value),
            Head::Int(_) => Err(WireError::Msgpack("negative where unsigned is needed")),
            _ => Err(WireError::Msgpack("integer expected")),
        }
    }

    /// An unsigned integer that must fit, as field `name`.
    pub(crate) fn uint_as<T: TryFrom<u64>>(&mut self, name: &'static str) -> Result<T, WireError> {
        T::try_from(self.uint()?).map_err(|_| WireError::Field(name))
    }

    /// A signed integer of any width; nil is 0.
    pub(crate) fn int(&mut self) -> Result<i64, WireError> {
        match self.head()? {
            Head::Nil => Ok(0),
            Head::Uint(value) => {
                i64::try_from(value).map_err(|_| WireError::Msgpack("integer too large"))
            }
            Head::Int(value) => Ok(value),
            _ => Err(WireError::Msgpack("integer expected")),
        }
    }

    /// A bool; nil is false, and Go takes 0 and 1 as well.
    pub(crate) fn bool(&mut self) -> Result<bool, WireError> {
        match self.head()? {
            Head::Nil | Head::Uint(0) => Ok(false),
            Head::Uint(1) => Ok(true),
            Head::Bool(value) => Ok(value),
            _ => Err(WireError::Msgpack("bool expected")),
        }
    }

    /// A float of either width; nil is 0.
    pub(crate) fn float(&mut self) -> Result<f64, WireError> {
        match self.take(1)?[0] {
            0xc0 => Ok(0.0),
            0xca => Ok(f64::from(f32::from_bits(self.big_endian(4)? as u32))),
            0xcb => Ok(f64::from_bits(self.big_endian(8)?)),
            _ => Err(WireError::Msgpack("float expected")),
        }
    }

    /// Consumes a nil, if one is next.
    pub(crate) fn nil(&mut self) -> bool {
        let nil = self.bytes.get(self.at) == Some(&0xc0);
        self.at += usize::from(nil);
        nil
    }

    /// A byte array in any of its forms, or nil.
    pub(crate) fn raw(&mut self) -> Result<Option<&'a [u8]>, WireError> {
        match self.head()? {
            Head::Nil => Ok(None),
            Head::Raw(len) => self.take(len).map(Some),
            _ => Err(WireError::Msgpack("bytes expected")),
        }
    }

    /// A byte array; nil is empty.
    pub(crate) fn bytes(&mut self) -> Result<Vec<u8>, WireError> {
        Ok(self.raw()?.unwrap_or_default().to_vec())
    }

    /// A string, as field `name`; nil is empty.
    ///
    /// Go's strings are bytes, so a name may be anything. One that is not UTF-8 is refused here: every
    /// text of ours (logs, metrics, JSON) would have to lie about it.
    pub(crate) fn string(&mut self, name: &'static str) -> Result<String, WireError> {
        let bytes = self.raw()?.unwrap_or_default();
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(WireError::Field(name)),
        }
    }

    /// Number of items of an array, which follow; nil is `None`.
    pub(crate) fn array(&mut self) -> Result<Option<usize>, WireError> {
        match self.head()? {
            Head::Nil => Ok(None),
            Head::Array(len) => self.claim(len).map(Some),
            _ => Err(WireError::Msgpack("array expected")),
        }
    }

    /// Number of entries of a map, which follow; nil is 0.
    pub(crate) fn map(&mut self) -> Result<usize, WireError> {
        match self.head()? {
            Head::Nil => Ok(0),
            Head::Map(len) => self.claim(len),
            _ => Err(WireError::Msgpack("map expected")),
        }
    }

    fn claim(&mut self, items: usize) -> Result<usize, WireError> {
        self.items_left = self
            .items_left
            .checked_sub(items)
            .ok_or(WireError::TooLarge)?;
        Ok(items)
    }

    /// A struct: calls `field` with the name of each value, which it must read or skip.
    ///
    /// `declared` names the fields in Go's declaration order, for the array form.
    pub(crate) fn fields(
        &mut self,
        declared: &[&'static str],
        mut field: impl FnMut(&mut Self, &str) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        match self.head()? {
            Head::Nil => Ok(()),
            Head::Map(len) | Head::Array(len) if len > FIELDS_MAX => {
                Err(WireError::Msgpack("too many fields"))
            }
            Head::Map(len) => {
                for _ in 0..len {
                    let key = self.raw()?.unwrap_or_default();
                    // A name that is not UTF-8 is not one of ours.
                    field(self, std::str::from_utf8(key).unwrap_or_default())?;
                }
                Ok(())
            }
            Head::Array(len) => {
                for index in 0..len {
                    field(self, declared.get(index).copied().unwrap_or_default())?;
                }
                Ok(())
            }
            _ => Err(WireError::Msgpack("map expected")),
        }
    }

    /// Passes over one value of any kind.
    pub(crate) fn skip(&mut self) -> Result<(), WireError> {
        self.skip_within(DEPTH_MAX)
    }

    fn skip_within(&mut self, depth: u32) -> Result<(), WireError> {
        self.skips_left = self
            .skips_left
            .checked_sub(1)
            .ok_or(WireError::Msgpack("too many unknown values"))?;
        let inner = match self.head()? {
            Head::Raw(len) | Head::Opaque(len) => {
                self.take(len)?;
                0
            }
            Head::Array(len) => len,
            Head::Map(len) => len.saturating_mul(2),
            _ => 0,
        };
        if inner > 0 && depth == 0 {
            return Err(WireError::TooDeep);
        }
        for _ in 0..inner {
            self.skip_within(depth - 1)?;
        }
        Ok(())
    }

    fn head(&mut self) -> Result<Head, WireError> {
        let marker = self.take(1)?[0];
        Ok(match marker {
            0x00..=0x7f => Head::Uint(marker.into()),
            0x80..=0x8f => Head::Map((marker & 0x0f).into()),
            0x90..=0x9f => Head::Array((marker & 0x0f).into()),
            0xa0..=0xbf => Head::Raw((marker & 0x1f).into()),
            0xc0 => Head::Nil,
            0xc1 => return Err(WireError::Msgpack("reserved marker")),
            0xc2 | 0xc3 => Head::Bool(marker == 0xc3),
            0xc4 | 0xd9 => Head::Raw(self.big_endian(1)? as usize),
            0xc5 | 0xda => Head::Raw(self.big_endian(2)? as usize),
            0xc6 | 0xdb => Head::Raw(self.big_endian(4)? as usize),
            // The length of an extension does not count its type byte.
            0xc7 => Head::Opaque(self.big_endian(1)? as usize + 1),
            0xc8 => Head::Opaque(self.big_endian(2)? as usize + 1),
            0xc9 => Head::Opaque(self.big_endian(4)? as usize + 1),
            0xca => Head::Opaque(4),
            0xcb => Head::Opaque(8),
            0xcc..=0xcf => Head::Uint(self.big_endian(1 << (marker - 0xcc))?),
            0xd0..=0xd3 => self.signed(1 << (marker - 0xd0))?,
            0xd4..=0xd8 => Head::Opaque((1 << (marker - 0xd4)) + 1),
            0xdc => Head::Array(self.big_endian(2)? as usize),
            0xdd => Head::Array(self.big_endian(4)? as usize),
            0xde => Head::Map(self.big_endian(2)? as usize),
            0xdf => Head::Map(self.big_endian(4)? as usize),
            0xe0..=0xff => Head::Int((marker as i8).into()),
        })
    }

    fn signed(&mut self, width: usize) -> Result<Head, WireError> {
        let unused = 64 - 8 * width as u32;
        let value = ((self.big_endian(width)? << unused) as i64) >> unused;
        Ok(match u64::try_from(value) {
            Ok(value) => Head::Uint(value),
            Err(_) => Head::Int(value),
        })
    }

    fn big_endian(&mut self, width: usize) -> Result<u64, WireError> {
        let bytes = self.take(width)?;
        Ok(bytes
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }
}

#[cfg(test)]
mod tests;
