//! Tags as carried in a node's `Meta`: `ff` and a msgpack map.
//!
//! ```text
//! [ff][map string → string]      serf protocol 3 and later
//! [role]                         before
//! ```

use crate::announce::Tags;
use crate::gossip::core::wire::WireError;
use crate::gossip::core::wire::msgpack::{Reader, Writer};

/// First byte of a map of tags; no role of old began with it.
const MAGIC: u8 = 0xff;

/// `Meta` of `tags`.
pub fn encode(tags: &Tags) -> Vec<u8> {
    let mut w = Writer::message(MAGIC);
    w.map(tags.len());
    for (name, value) in tags {
        w.raw(name.as_bytes());
        w.raw(value.as_bytes());
    }
    w.finish()
}

/// Tags of a `Meta`; without the leading `ff`, the whole is the value of `role`. Never fails: what can't be read is left out.
///
/// An empty `Meta` has no tags. (Go makes it an empty `role`, which means the same to everyone.)
pub fn decode(meta: &[u8]) -> Tags {
    let mut tags = Tags::new();
    match meta.split_first() {
        None => {}
        Some((&MAGIC, map)) => {
            // A map that breaks off keeps the tags before the break.
            let _ = read(&mut Reader::new(map), &mut tags);
        }
        Some(_) => insert(&mut tags, b"role", meta),
    }
    tags
}

fn read(r: &mut Reader<'_>, tags: &mut Tags) -> Result<(), WireError> {
    for _ in 0..r.map()? {
        let name = r.raw()?.unwrap_or_default();
        let value = r.raw()?.unwrap_or_default();
        insert(tags, name, value);
    }
    Ok(())
}

fn insert(tags: &mut Tags, name: &[u8], value: &[u8]) {
    if let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) {
        tags.insert(name.to_owned(), value.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn tags_come_back() {
        for tags in [
            tags(&[]),
            tags(&[("role", "web")]),
            tags(&[("port", "80"), ("role", &"w".repeat(300))]),
        ] {
            assert_eq!(decode(&encode(&tags)), tags);
        }
        assert_eq!(encode(&tags(&[])), [0xff, 0x80]);
    }

    #[test]
    fn a_meta_of_old_is_the_role() {
        assert_eq!(decode(b"web"), tags(&[("role", "web")]));
        assert_eq!(decode(b""), tags(&[]));
    }

    #[test]
    fn what_is_not_text_is_left_out() {
        let meta = b"\xff\x83\xa1a\xa1\xfe\xa1\xfe\xa1b\xa1c\xa1d";
        assert_eq!(decode(meta), tags(&[("c", "d")]));
        assert_eq!(decode(b"\xfe"), tags(&[]));
    }

    #[test]
    fn a_map_that_breaks_off_keeps_what_came_before() {
        let meta = b"\xff\x8f\xa1a\xa1b\xa1c";
        assert_eq!(decode(meta), tags(&[("a", "b")]));
        assert_eq!(decode(b"\xff\xdf\xff\xff\xff\xff"), tags(&[]));
        assert_eq!(decode(b"\xff"), tags(&[]));
    }
}
