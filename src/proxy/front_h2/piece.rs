//! A part of an answer's body on its way into DATA frames, without a copy of its own.
//!
//! ```text
//! Reply ─▶ Source (a buffer; counted as loaded) ─┬─▶ Piece ─▶ h2, until it is written (counted as held)
//!                                                └─▶ Piece …
//! ```

use std::rc::Rc;

use bytes::Buf;

use super::super::buffer::Buffer;
use super::hub::Hub;

/// Bytes of an answer's body that came together.
pub(super) struct Source {
    buffer: Buffer,
    hub: Rc<Hub>,
}

impl Source {
    /// All that is in `buffer`, which from now on is counted with the connection.
    pub(super) fn new(hub: &Rc<Hub>, mut buffer: Buffer) -> Rc<Self> {
        // Lent memory is for who uses it at once.
        buffer.rest();
        hub.loaded.set(hub.loaded.get() + buffer.weight());
        let hub = hub.clone();
        Rc::new(Self { buffer, hub })
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.buffer.len()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let loaded = &self.hub.loaded;
        loaded.set(loaded.get() - self.buffer.weight());
    }
}

/// Some of them, in the hands of h2.
pub(super) struct Piece {
    source: Rc<Source>,
    start: usize,
    end: usize,
}

impl Piece {
    /// From `start` to `end`.
    pub(super) fn new(source: &Rc<Source>, start: usize, end: usize) -> Self {
        let held = &source.hub.held;
        held.set(held.get() + (end - start));
        Self {
            source: source.clone(),
            start,
            end,
        }
    }

    fn let_go(&self, bytes: usize) {
        let held = &self.source.hub.held;
        held.set(held.get() - bytes);
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.end - self.start
    }

    fn chunk(&self) -> &[u8] {
        &self.source.buffer.bytes()[self.start..self.end]
    }

    fn advance(&mut self, bytes: usize) {
        let bytes = bytes.min(self.remaining());
        self.start += bytes;
        self.let_go(bytes);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.let_go(self.remaining());
    }
}
