//! Tags as carried in a node's `Meta`: `ff` and a msgpack map.
//!
//! ```text
//! [ff][map string → string]      serf protocol 3 and later
//! [role]                         before
//! ```
//!
//! A member keeps them so, in the very bytes that its node has: a map of maps for each member of a large cluster
//! would take most of an agent's memory, and an agent never looks into the tags of others.

use std::fmt;
use std::sync::Arc;

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
    each(meta, |name, value| {
        tags.insert(name.to_owned(), value.to_owned());
    });
    tags
}

/// A member's tags as they came, shared; decoded when asked for.
#[derive(Clone, PartialEq, Eq)]
pub struct Encoded(Arc<[u8]>);

impl Encoded {
    /// `tags`, encoded.
    pub fn of(tags: &Tags) -> Self {
        Self(encode(tags).into())
    }

    pub(crate) fn from_meta(meta: Arc<[u8]>) -> Self {
        Self(meta)
    }

    /// All of them.
    pub fn decode(&self) -> Tags {
        decode(&self.0)
    }

    /// The value of one.
    pub fn get(&self, wanted: &str) -> Option<&str> {
        let mut found = None;
        each(&self.0, |name, value| {
            if name == wanted {
                found = Some(value);
            }
        });
        found
    }
}

impl Default for Encoded {
    fn default() -> Self {
        Self::of(&Tags::new())
    }
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.decode().fmt(f)
    }
}

fn each<'a>(meta: &'a [u8], mut tag: impl FnMut(&'a str, &'a str)) {
    let mut text = |name, value| {
        if let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) {
            tag(name, value);
        }
    };
    match meta.split_first() {
        None => {}
        Some((&MAGIC, map)) => {
            // A map that breaks off keeps the tags before the break.
            let _ = read(&mut Reader::new(map), text);
        }
        Some(_) => text(b"role", meta),
    }
}

fn read<'a>(r: &mut Reader<'a>, mut tag: impl FnMut(&'a [u8], &'a [u8])) -> Result<(), WireError> {
    for _ in 0..r.map()? {
        let name = r.raw()?.unwrap_or_default();
        let value = r.raw()?.unwrap_or_default();
        tag(name, value);
    }
    Ok(())
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

    #[test]
    fn one_tag_is_found_without_decoding_all_and_the_last_of_a_name_counts() {
        let encoded = Encoded::of(&tags(&[("port", "80"), ("role", "web")]));

        assert_eq!(encoded.get("role"), Some("web"));
        assert_eq!(encoded.get("rol"), None);
        let twice: Arc<[u8]> = Arc::from(&b"\xff\x82\xa1a\xa1b\xa1a\xa1c"[..]);
        let twice = Encoded::from_meta(twice);
        assert_eq!(twice.get("a"), twice.decode().get("a").map(String::as_str));
        assert_eq!(
            Encoded::from_meta(Arc::from(&b"web"[..])).get("role"),
            Some("web")
        );
    }
}
