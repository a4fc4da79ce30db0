//! What the exit code says; service managers and scripts rely on it.

/// Failed while running.
pub const FAILED: u8 = 1;
/// Usage or configuration: a restart does not help.
pub const USAGE: u8 = 2;
/// A partial answer, or a failed check.
pub const PARTIAL: u8 = 3;
/// Another live node has our name, found at the start.
pub const NAME_CONFLICT: u8 = 4;
/// Nobody answers at the RPC or admin address.
pub const NOBODY: u8 = 5;
