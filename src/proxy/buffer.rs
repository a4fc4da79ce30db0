//! Bytes on their way from one socket to another.
//!
//! ```text
//! ┌ 4 KiB ──┬─ up to 256 KiB ───────────────┬ 16 B ┐
//! │ room    │ start … end: what was read    │ room │    a new head goes in front of a body, a chunk's
//! └─────────┴───────────────────────────────┴──────┘    end behind it, and all leaves in one write
//! ```
//!
//! Large memory is lent by the worker and held only while bytes are in it: a connection that
//! waits holds none, one that waits with a few bytes holds a copy of them.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// In front of what is read.
const HEADROOM: usize = 4 * 1024;

/// Behind what is read: the end of a chunk and of a chunked body.
const TAILROOM: usize = 16;

/// Read at most at once.
const READ_MAX: usize = 256 * 1024;

const WIDE: usize = HEADROOM + READ_MAX + TAILROOM;

/// What a wait with unread bytes copies rather than keep a wide buffer for.
const SLIM_MAX: usize = 64 * 1024;

/// Read at most for a receiver that has just made us wait: it may be a slow one, and holds what it does not take.
pub(super) const READ_SLOWLY_MAX: usize = 64 * 1024;

/// Unused memory kept per worker, in buffers.
const KEPT_MAX: usize = 8;

/// Memory of a head that is kept for the next one.
const HEAD_KEPT_MAX: usize = 4 * 1024;

/// A worker's memory for bytes.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    wide: RefCell<Vec<Box<[u8]>>>,
    heads: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    fn take(&self) -> Box<[u8]> {
        let kept = self.wide.borrow_mut().pop();
        kept.unwrap_or_else(|| vec![0; WIDE].into())
    }

    fn give(&self, memory: Box<[u8]>) {
        let mut kept = self.wide.borrow_mut();
        if kept.len() < KEPT_MAX {
            kept.push(memory);
        }
    }

    /// Nothing, with room for a head.
    pub(super) fn take_head(&self) -> Vec<u8> {
        let kept = self.heads.borrow_mut().pop();
        kept.unwrap_or_else(|| Vec::with_capacity(1024))
    }

    /// A head that has been written.
    pub(super) fn give_head(&self, mut head: Vec<u8>) {
        let mut kept = self.heads.borrow_mut();
        if kept.len() < KEPT_MAX && (1..=HEAD_KEPT_MAX).contains(&head.capacity()) {
            head.clear();
            kept.push(head);
        }
    }
}

/// Some bytes, in order; read in at the end, taken from the start.
#[derive(Debug)]
pub(super) struct Buffer {
    lender: Rc<Buffers>,
    /// Nothing, an exact copy, or `WIDE` bytes that are the lender's.
    memory: Box<[u8]>,
    start: u32,
    end: u32,
}

impl Buffer {
    /// No bytes, no memory.
    pub(super) fn new(lender: &Rc<Buffers>) -> Self {
        Self {
            lender: lender.clone(),
            memory: Box::default(),
            start: 0,
            end: 0,
        }
    }

    /// Whose memory it is.
    pub(super) fn lender(&self) -> &Buffers {
        &self.lender
    }

    /// What is in it; an empty one takes its place.
    pub(super) fn take(&mut self) -> Self {
        let empty = Self::new(&self.lender);
        std::mem::replace(self, empty)
    }

    /// What is in it.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.start()..self.end()]
    }

    fn start(&self) -> usize {
        self.start as usize
    }

    fn end(&self) -> usize {
        self.end as usize
    }

    /// Places in the memory, which is far below 4 GiB: 32 bits each, since every connection that waits has a buffer.
    fn place(&mut self, start: usize, end: usize) {
        (self.start, self.end) = (start as u32, end as u32);
    }

    /// What is in it, to be changed in place.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        let (start, end) = (self.start(), self.end());
        &mut self.memory[start..end]
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.end() - self.start()
    }

    /// None.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The memory it takes.
    pub(super) fn weight(&self) -> usize {
        self.memory.len()
    }

    /// There is no room to read more.
    pub(super) fn is_full(&self) -> bool {
        self.len() >= READ_MAX
    }

    /// The first `bytes` are done with.
    pub(super) fn consume(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.len());
        self.start += bytes as u32;
        // Whoever waits next must not hold wide memory, and may not touch this buffer before.
        if self.is_empty() {
            self.release();
        }
    }

    /// Only the first `bytes` stay.
    pub(super) fn truncate(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.len());
        self.end = self.start + bytes as u32;
    }

    /// Puts `bytes` in front.
    pub(super) fn prepend(&mut self, bytes: &[u8]) {
        if self.start() < bytes.len() {
            self.move_to(HEADROOM.max(bytes.len()));
        }
        let end = self.start();
        let start = end - bytes.len();
        self.start = start as u32;
        self.memory[start..end].copy_from_slice(bytes);
    }

    /// Puts `bytes` behind.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        if self.memory.len() - self.end() < bytes.len() {
            self.widen();
        }
        let (start, end) = (self.end(), self.end() + bytes.len());
        if self.memory.len() < end {
            self.memory = longer(std::mem::take(&mut self.memory), end);
        }
        self.memory[start..end].copy_from_slice(bytes);
        self.end = end as u32;
    }

    /// Reads once, until there are `most`. Ready with 0: the end, or no room. Who then waits with bytes in it calls [`Self::rest`].
    #[inline]
    pub(super) fn poll_fill_to(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut (impl AsyncRead + Unpin),
        most: usize,
    ) -> Poll<io::Result<usize>> {
        self.widen();
        let from = self.end();
        let end =
            (self.memory.len() - TAILROOM).min(self.start().max(HEADROOM).saturating_add(most));
        let end = end.max(from);
        let mut room = ReadBuf::new(&mut self.memory[from..end]);
        let polled = Pin::new(stream).poll_read(cx, &mut room);
        let read = room.filled().len();
        match polled {
            Poll::Ready(Ok(())) => {
                self.end += read as u32;
                Poll::Ready(Ok(read))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                if self.is_empty() {
                    self.release();
                }
                Poll::Pending
            }
        }
    }

    /// Writes as much as goes. Ready: all of it is out.
    #[inline]
    pub(super) fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            match Pin::new(&mut *stream).poll_write(cx, self.bytes()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(bytes)) => self.consume(bytes),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.rest();
                    return Poll::Pending;
                }
            }
        }
        self.release();
        Poll::Ready(Ok(()))
    }

    /// A wait begins: gives wide memory back unless it holds much.
    pub(super) fn rest(&mut self) {
        if self.memory.len() < WIDE || self.len() > SLIM_MAX {
            return;
        }
        let copy: Box<[u8]> = self.bytes().into();
        self.release();
        self.place(0, copy.len());
        self.memory = copy;
    }

    fn release(&mut self) {
        if self.memory.len() == WIDE {
            self.lender.give(std::mem::take(&mut self.memory));
        } else {
            self.memory = Box::default();
        }
        self.place(0, 0);
    }

    /// Makes room to read.
    fn widen(&mut self) {
        if self.memory.is_empty() {
            self.memory = self.lender.take();
            self.place(HEADROOM, HEADROOM);
        } else if self.memory.len() < WIDE {
            self.move_to(HEADROOM);
        } else if self.is_empty() {
            self.place(HEADROOM, HEADROOM);
        } else if self.end() + TAILROOM >= self.memory.len() && self.start() > HEADROOM {
            self.memory.copy_within(self.start()..self.end(), HEADROOM);
            self.place(HEADROOM, HEADROOM + self.len());
        }
    }

    /// The same bytes, `start` from the beginning of the memory.
    fn move_to(&mut self, start: usize) {
        let bytes = self.len();
        let mut memory = self.lender.take();
        if memory.len() < start + bytes + TAILROOM {
            memory = longer(memory, start + bytes + TAILROOM);
        }
        memory[start..start + bytes].copy_from_slice(self.bytes());
        self.release();
        self.memory = memory;
        self.place(start, start + bytes);
    }
}

fn longer(memory: Box<[u8]>, bytes: usize) -> Box<[u8]> {
    let mut memory = memory.into_vec();
    memory.resize(bytes, 0);
    memory.into()
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.memory.len() == WIDE {
            self.lender.give(std::mem::take(&mut self.memory));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn buffer(bytes: &[u8]) -> (Rc<Buffers>, Buffer) {
        let lender = Rc::new(Buffers::default());
        let mut buffer = Buffer::new(&lender);
        buffer.append(bytes);
        (lender, buffer)
    }

    #[test]
    fn bytes_go_in_front_and_behind() {
        let (_, mut buffer) = buffer(b"body");

        buffer.prepend(b"head ");
        buffer.append(b" tail");

        assert_eq!(buffer.bytes(), b"head body tail");
        buffer.consume(5);
        buffer.truncate(4);
        assert_eq!(buffer.bytes(), b"body");
    }

    #[test]
    fn more_than_the_room_goes_in_front_and_behind_as_well() {
        let (_, mut buffer) = buffer(b"body");
        let long = vec![b'x'; 300 * 1024];

        buffer.prepend(&long);
        buffer.append(&long);

        assert_eq!(buffer.len(), 600 * 1024 + 4);
        assert_eq!(&buffer.bytes()[300 * 1024..300 * 1024 + 4], b"body");
    }

    #[test]
    fn reading_keeps_what_was_there_and_ends_with_nothing() {
        let mut cx = Context::from_waker(Waker::noop());
        let (_, mut buffer) = buffer(b"one ");

        let read = buffer.poll_fill_to(&mut cx, &mut &b"two"[..], READ_MAX);

        assert!(matches!(read, Poll::Ready(Ok(3))));
        assert_eq!(buffer.bytes(), b"one two");
        let end = buffer.poll_fill_to(&mut cx, &mut &b""[..], READ_MAX);
        assert!(matches!(end, Poll::Ready(Ok(0))));
    }

    #[test]
    fn a_waiting_buffer_holds_no_more_than_its_bytes() {
        let (lender, mut buffer) = buffer(b"abc");
        buffer.widen();
        assert_eq!(buffer.memory.len(), WIDE);

        buffer.rest();

        assert_eq!((buffer.bytes(), buffer.memory.len()), (&b"abc"[..], 3));
        assert_eq!(lender.wide.borrow().len(), 1);
    }

    #[test]
    fn dropped_buffers_give_their_memory_back_up_to_a_bound() {
        let lender = Rc::new(Buffers::default());
        let mut many: Vec<Buffer> = (0..20).map(|_| Buffer::new(&lender)).collect();
        for buffer in &mut many {
            buffer.widen();
        }

        drop(many);

        assert_eq!(lender.wide.borrow().len(), KEPT_MAX);
    }
}
