//! The msgpack dialect of the gossip port.
