//! Packets: CRC, compression, compound.

use super::WireError;
use super::message::Message;

/// Opens a packet into its messages, in order. A bad part does not hide the good ones before and after it.
pub fn open(_packet: &[u8]) -> Vec<Result<Message, WireError>> {
    unimplemented!()
}

/// One packet of `parts` (encoded messages): bare for one, compound for more; then compressed when that is
/// shorter, then a CRC header.
pub fn seal(_parts: &[Vec<u8>], _compress: bool, _crc: bool) -> Vec<u8> {
    unimplemented!()
}
