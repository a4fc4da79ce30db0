//! A part of an answer's body on its way into DATA frames, without a copy of its own.

use std::rc::Rc;

use bytes::Buf;

use super::super::buffer::Buffer;
use super::Hub;

/// Bytes of a buffer that others may have parts of too. What h2 holds of them is counted with the connection.
pub(super) struct Piece {
    source: Rc<Buffer>,
    start: usize,
    end: usize,
    hub: Rc<Hub>,
}

impl Piece {
    /// From `start` to `end` of what is in `source`.
    pub(super) fn new(hub: &Rc<Hub>, source: &Rc<Buffer>, start: usize, end: usize) -> Self {
        hub.held.set(hub.held.get() + (end - start));
        Self {
            source: source.clone(),
            start,
            end,
            hub: hub.clone(),
        }
    }

    fn let_go(&self, bytes: usize) {
        self.hub.held.set(self.hub.held.get() - bytes);
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.end - self.start
    }

    fn chunk(&self) -> &[u8] {
        &self.source.bytes()[self.start..self.end]
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
