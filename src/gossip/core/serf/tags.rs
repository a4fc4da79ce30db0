//! Tags as carried in a node's `Meta`: `ff` and a msgpack map.

use crate::announce::Tags;

/// `Meta` of `tags`.
pub fn encode(_tags: &Tags) -> Vec<u8> {
    unimplemented!()
}

/// Tags of a `Meta`; without the leading `ff`, the whole is the value of `role`. Never fails: what can't be read is left out.
pub fn decode(_meta: &[u8]) -> Tags {
    unimplemented!()
}
