//! Empty DATA frames of a backend: the h2 crate bears 100 on one connection, however long that lives, and then ends it
//! with all that is under way.
//!
//! ```text
//! bytes read ─▶ frame headers ─▶ empty DATA, not the last of its stream ─▶ so many: it takes no more requests
//! ```
//!
//! A frame that is nothing but padding counts there too, and is not seen here.

use std::cell::Cell;

/// From then on a connection only ends what it carries.
const ENOUGH: u32 = 80;

const DATA: u8 = 0;
const END_STREAM: u8 = 1;

/// One connection's.
#[derive(Debug, Default)]
pub(super) struct Empties {
    seen: Cell<u32>,
    head: Cell<[u8; 9]>,
    have: Cell<usize>,
    /// Bytes of the current frame that are still to come.
    left: Cell<usize>,
}

impl Empties {
    /// Looks at what was read.
    pub(super) fn hear(&self, mut bytes: &[u8]) {
        let (mut head, mut have, mut left) = (self.head.get(), self.have.get(), self.left.get());
        while !bytes.is_empty() {
            let skipped = left.min(bytes.len());
            left -= skipped;
            bytes = &bytes[skipped..];
            let wanted = (head.len() - have).min(bytes.len());
            head[have..have + wanted].copy_from_slice(&bytes[..wanted]);
            have += wanted;
            bytes = &bytes[wanted..];
            if have == head.len() {
                have = 0;
                let [a, b, c, kind, flags, ..] = head;
                left = u32::from_be_bytes([0, a, b, c]) as usize;
                if left == 0 && kind == DATA && flags & END_STREAM == 0 {
                    self.seen.set(self.seen.get().saturating_add(1));
                }
            }
        }
        self.head.set(head);
        self.have.set(have);
        self.left.set(left);
    }

    /// It is about to be too much.
    pub(super) fn are_enough(&self) -> bool {
        self.seen.get() >= ENOUGH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_data_is_counted_however_it_is_split() {
        let frame = |kind, flags, length: u8| {
            let head = [0, 0, length, kind, flags, 0, 0, 0, 1];
            [&head[..], &vec![0; length.into()]].concat()
        };
        let others = [
            frame(4, 0, 6),
            frame(DATA, 0, 40),
            frame(DATA, END_STREAM, 0),
        ];
        let one = [others.concat(), frame(DATA, 0, 0)].concat();
        for size in 1..70 {
            let empties = Empties::default();
            for _ in 1..ENOUGH {
                one.chunks(size).for_each(|piece| empties.hear(piece));
            }
            assert!(!empties.are_enough(), "{size}");
            empties.hear(&one);
            assert!(empties.are_enough(), "{size}");
        }
    }
}
