//! A request's body as it comes out of h2.
//!
//! ```text
//! blocks read ─▶ h2: DATA, still within its block ─┬─ wanted: as it is ──────────────────────────▶ Stream
//!                                                  └─ not yet: large as it is, small ones copied ─┘
//! ```
//!
//! Each payload that h2 hands out keeps the whole block alive that it was read into, and while it lies in h2 it takes a
//! place of some 250 bytes there; windows count its own bytes alone. So none stays in h2 beyond a turn of its stream's
//! task, and none that is small stays in its block: what waits takes a few times its window, however it was cut.

use std::collections::VecDeque;
use std::mem;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use h2::RecvStream;

/// A payload that is smaller would keep a block of several times its size. h2 reads blocks of 8 KiB, or a frame and
/// what is behind it, at most 32 KiB.
const WHOLE_MIN: usize = 8 * 1024;

/// Of small payloads copied together. More of them make another piece, so that each is freed soon after it is taken.
const COPIED_MAX: usize = 16 * 1024;

/// What comes of one request's body.
pub(super) struct Body {
    recv: RecvStream,
    unread: Unread,
    /// h2 had nothing more in this turn of the task, and will wake it.
    awaited: bool,
    /// Nothing more will come.
    ended: bool,
}

impl Body {
    /// Nothing taken.
    pub(super) fn new(recv: RecvStream) -> Self {
        Self {
            ended: recv.is_end_stream(),
            recv,
            unread: Unread::default(),
            awaited: false,
        }
    }

    /// There is none.
    pub(super) fn is_empty(&self) -> bool {
        self.ended && self.unread.is_empty()
    }

    /// What comes next; its bytes are to be released.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, h2::Error>>> {
        if let Some(piece) = self.unread.take() {
            return Poll::Ready(Some(Ok(piece)));
        }
        let polled = self.recv.poll_data(cx);
        self.awaited = polled.is_pending();
        polled
    }

    /// The client may send so many more.
    pub(super) fn release(&mut self, bytes: usize) {
        // Fails only where the stream is gone, and its window with it.
        let _ = self.recv.flow_control().release_capacity(bytes);
    }

    /// The task's turn is over: what was not taken in it leaves h2, and the task is woken for more.
    pub(super) fn gather(&mut self, cx: &mut Context<'_>) {
        if mem::take(&mut self.awaited) || self.ended {
            return;
        }
        while let Poll::Ready(next) = self.recv.poll_data(cx) {
            match next {
                Some(Ok(piece)) => self.unread.put(piece),
                // It says so again to whoever takes the rest.
                Some(Err(_)) | None => {
                    self.ended = true;
                    return;
                }
            }
        }
    }
}

/// Payloads that nobody has taken yet, in order.
#[derive(Default)]
struct Unread {
    pieces: VecDeque<Bytes>,
    /// Behind them: small ones.
    copied: BytesMut,
}

impl Unread {
    fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.copied.is_empty()
    }

    fn put(&mut self, piece: Bytes) {
        let whole = piece.len() >= WHOLE_MIN;
        if whole || self.copied.len() + piece.len() > COPIED_MAX {
            let before = self.take_copied();
            self.pieces.extend(before);
        }
        match whole {
            true => self.pieces.push_back(piece),
            false => self.copied.extend_from_slice(&piece),
        }
    }

    fn take(&mut self) -> Option<Bytes> {
        self.pieces.pop_front().or_else(|| self.take_copied())
    }

    fn take_copied(&mut self) -> Option<Bytes> {
        (!self.copied.is_empty()).then(|| mem::take(&mut self.copied).freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A payload of `length` within a block.
    fn within_block(block: &Bytes, length: usize) -> Bytes {
        block.slice(9..9 + length)
    }

    fn block() -> Bytes {
        (0..16_393u32).map(|at| at as u8).collect()
    }

    fn taken(unread: &mut Unread) -> Vec<Bytes> {
        std::iter::from_fn(|| unread.take()).collect()
    }

    #[test]
    fn all_comes_out_in_order_however_it_was_cut() {
        for lengths in [
            &[1, 1, 1][..],
            &[1, WHOLE_MIN, 1, WHOLE_MIN],
            &[0, 5, 0],
            &[WHOLE_MIN - 1, WHOLE_MIN - 1, WHOLE_MIN - 1, 16_384, 7],
        ] {
            let mut unread = Unread::default();
            let mut sent = Vec::new();
            for length in lengths {
                let piece = within_block(&block(), *length);
                sent.extend_from_slice(&piece);
                unread.put(piece);
            }
            assert_eq!(taken(&mut unread).concat(), sent, "{lengths:?}");
            assert!(unread.is_empty());
        }
    }

    #[test]
    fn small_payloads_do_not_keep_their_blocks_and_large_ones_are_not_copied() {
        let mut unread = Unread::default();
        let blocks: Vec<Bytes> = (0..100).map(|_| block()).collect();
        for block in &blocks {
            unread.put(within_block(block, 1));
        }
        assert!(blocks.iter().all(Bytes::is_unique));

        let large = within_block(&blocks[0], WHOLE_MIN);
        unread.put(large.clone());
        let pieces = taken(&mut unread);
        assert_eq!(pieces.len(), 2);
        assert_eq!(pieces[1].as_ptr(), large.as_ptr());
    }

    #[test]
    fn copies_are_freed_piece_by_piece() {
        let mut unread = Unread::default();
        for _ in 0..10 * COPIED_MAX {
            unread.put(Bytes::from_static(b"x"));
        }
        let pieces = taken(&mut unread);
        assert_eq!(pieces.len(), 10);
        for piece in pieces {
            assert_eq!(piece.len(), COPIED_MAX);
            assert!(BytesMut::from(piece).capacity() <= 2 * COPIED_MAX);
        }
    }
}
