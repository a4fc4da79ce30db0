//! The part of an output that is kept, whatever its length.

/// Which part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The first bytes.
    First(usize),
    /// The last bytes.
    Last(usize),
}

/// Bytes of an output, and how many there were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    keep: Keep,
    bytes: Vec<u8>,
    written: u64,
}

impl Kept {
    /// Nothing so far; memory is taken as bytes come.
    pub(super) fn new(keep: Keep) -> Self {
        Self {
            keep,
            bytes: Vec::new(),
            written: 0,
        }
    }

    pub(super) fn push(&mut self, more: &[u8]) {
        self.written += more.len() as u64;
        match self.keep {
            Keep::First(max) => {
                let room = max.saturating_sub(self.bytes.len());
                self.bytes.extend_from_slice(&more[..room.min(more.len())]);
            }
            Keep::Last(max) => {
                let more = &more[more.len().saturating_sub(max)..];
                let excess = (self.bytes.len() + more.len()).saturating_sub(max);
                self.bytes.drain(..excess);
                self.bytes.extend_from_slice(more);
            }
        }
    }

    /// What was kept.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What was kept, to be owned.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// How much there was, in bytes.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Its first line with something on it, for a person; empty where there is none.
    pub fn first_line(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty());
        line.unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(keep: Keep, writes: &[&str]) -> (String, u64) {
        let mut kept = Kept::new(keep);
        for write in writes {
            kept.push(write.as_bytes());
        }
        let text = String::from_utf8_lossy(kept.bytes()).into_owned();
        (text, kept.written())
    }

    #[test]
    fn no_more_is_kept_than_wanted() {
        for (keep, writes, expected) in [
            (Keep::First(4), &["ab", "cd", "ef"][..], "abcd"),
            (Keep::First(4), &["abcdef"], "abcd"),
            (Keep::First(8), &["ab", "cd"], "abcd"),
            (Keep::Last(4), &["ab", "cd", "ef"], "cdef"),
            (Keep::Last(4), &["abcdef", "g"], "defg"),
            (Keep::Last(4), &["a", "bcdefg"], "defg"),
            (Keep::Last(8), &["ab", "cd"], "abcd"),
            (Keep::Last(0), &["ab"], ""),
        ] {
            let (text, written) = kept(keep, writes);
            let all: usize = writes.iter().map(|write| write.len()).sum();

            assert_eq!(
                (text.as_str(), written),
                (expected, all as u64),
                "{writes:?}"
            );
        }
    }

    #[test]
    fn the_first_line_is_the_first_that_says_something() {
        let mut output = Kept::new(Keep::First(64));
        assert_eq!(output.first_line(), "");

        output.push(b"\n  disk full \nmore\n");

        assert_eq!(output.first_line(), "disk full");
    }
}
