//! Bytes on the gossip port, both ways. Pure functions; every nesting and size is bounded.
//!
//! ```text
//! packet  ── open ──▶ [crc] → [compress] → [compound] → message → (user) serf
//! stream  ── Decoder.feed ──▶ [compress] → push/pull · ping · ack · user · err
//! ```
//!
//! Source: the protocol as spoken by `serf agent` 0.9.4; vectors in `tests/data/serf`.

mod compress;
pub mod crypto;
mod lzw;
pub mod message;
pub(crate) mod msgpack;
pub mod packet;
pub mod serf;
pub mod stream;

/// What one packet may grow to when decompressed. A datagram holds 64 KiB; Go has no limit.
pub const PACKET_BYTES_MAX: usize = 1 << 20;

/// What one stream may carry, before and after decompression. As memberlist's limit on encrypted streams.
pub const STREAM_BYTES_MAX: usize = 20 << 20;

/// Why bytes were refused. `reason()` is the label of the drop counter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Ended too early.
    #[error("ends too early")]
    Truncated,
    /// Not the msgpack that this place needs.
    #[error("bad msgpack: {0}")]
    Msgpack(&'static str),
    /// The checksum differs.
    #[error("checksum differs")]
    Crc,
    /// Nested deeper than allowed.
    #[error("nested too deep")]
    TooDeep,
    /// Larger than allowed.
    #[error("larger than allowed")]
    TooLarge,
    /// No such message type.
    #[error("unknown message type {0}")]
    UnknownType(u8),
    /// LZW or its algorithm number is bad.
    #[error("bad compression")]
    Compression,
    /// Encrypted, but we have no key.
    #[error("encrypted, and no key is configured")]
    Encrypted,
    /// Sealed, and no key of ours opens it: another key, or damaged.
    #[error("no key of ours opens it")]
    Decrypt,
    /// Not encrypted, but we have keys.
    #[error("not encrypted, and we have a key")]
    Plaintext,
    /// A field has a value that cannot be.
    #[error("bad field {0}")]
    Field(&'static str),
}

impl WireError {
    /// A short constant for counters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Msgpack(_) => "msgpack",
            Self::Crc => "crc",
            Self::TooDeep => "too_deep",
            Self::TooLarge => "too_large",
            Self::UnknownType(_) => "unknown_type",
            Self::Compression => "compression",
            Self::Encrypted => "encrypted",
            Self::Decrypt => "decrypt",
            Self::Plaintext => "plaintext",
            Self::Field(_) => "field",
        }
    }
}
