//! Bodies: one trait for both directions, and a request body that can be sent again.
//!
//! ```text
//! client ─▶ Source ─▶ Upload ─┬─▶ Outgoing of attempt 1   (each chunk kept, up to a limit,
//!                             └─▶ Outgoing of attempt 2    so that attempt 2 can start over)
//! ```
//!
//! Pull all the way: a chunk is read from one side only when the other side asks for it, which is
//! the back-pressure. Trailers are dropped.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

/// Where a body's bytes come from.
pub(super) trait Source {
    /// The next chunk, never empty; `None` at the end.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>>;

    /// Bytes still to come, where that is known.
    fn remaining(&self) -> Option<u64>;
}

/// A body that ended before its end.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum BodyError {
    #[error("the request body is malformed")]
    Malformed,
    #[error("the client's body broke off: {0}")]
    Client(String),
    #[error("the backend's body broke off: {0}")]
    Upstream(String),
    #[error("the backend's body made no progress in time")]
    UpstreamSlow,
}

/// A request's body, shared by its attempts.
pub(super) struct Upload(RefCell<State>);

struct State {
    source: Box<dyn Source>,
    length: Option<u64>,
    /// All chunks so far, while `keeping`.
    kept: Vec<Bytes>,
    kept_bytes: usize,
    kept_bytes_max: usize,
    keeping: bool,
    taken: u64,
    ended: bool,
    failed: Option<BodyError>,
}

impl Upload {
    /// Keeps up to `kept_bytes_max` for another attempt.
    pub(super) fn new(source: Box<dyn Source>, kept_bytes_max: usize) -> Rc<Self> {
        Rc::new(Self(RefCell::new(State {
            length: source.remaining(),
            source,
            kept: Vec::new(),
            kept_bytes: 0,
            kept_bytes_max,
            keeping: true,
            taken: 0,
            ended: false,
            failed: None,
        })))
    }

    /// Whether an attempt can start over.
    pub(super) fn is_replayable(&self) -> bool {
        let state = self.0.borrow();
        state.failed.is_none() && (state.keeping || state.taken == 0)
    }

    /// No attempt will start over: frees what was kept.
    pub(super) fn forget(&self) {
        let mut state = self.0.borrow_mut();
        state.keeping = false;
        // An attempt that is still behind goes on from what it has not sent; see `Outgoing::poll_chunk`.
        state.kept_bytes_max = 0;
    }

    /// Bytes taken from the client so far.
    pub(super) fn taken(&self) -> u64 {
        self.0.borrow().taken
    }

    /// Whether all of it was taken from the client.
    pub(super) fn is_ended(&self) -> bool {
        self.0.borrow().ended
    }

    /// Why the client's side failed, if it did.
    pub(super) fn failed(&self) -> Option<BodyError> {
        self.0.borrow().failed.clone()
    }
}

impl State {
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let item = ready!(self.source.poll_chunk(cx));
        match &item {
            Some(Ok(chunk)) => {
                self.taken += chunk.len() as u64;
                self.ended = self.source.remaining() == Some(0);
            }
            Some(Err(error)) => self.failed = Some(error.clone()),
            None => self.ended = true,
        }
        Poll::Ready(item)
    }

    fn keep(&mut self, chunk: &Bytes) {
        if !self.keeping {
            return;
        }
        self.kept_bytes += chunk.len();
        if self.kept_bytes > self.kept_bytes_max {
            self.keeping = false;
            self.kept = Vec::new();
        } else {
            self.kept.push(chunk.clone());
        }
    }
}

/// One attempt's reading of a request body; `None`: the request has none.
pub(super) struct Outgoing {
    upload: Option<Rc<Upload>>,
    next: usize,
    sent: u64,
}

impl Outgoing {
    /// From the start.
    pub(super) fn new(upload: Option<Rc<Upload>>) -> Self {
        Self {
            upload,
            next: 0,
            sent: 0,
        }
    }
}

impl Source for Outgoing {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let Some(upload) = &self.upload else {
            return Poll::Ready(None);
        };
        let mut state = upload.0.borrow_mut();
        let item = if let Some(chunk) = state.kept.get(self.next) {
            Some(Ok(chunk.clone()))
        } else if state.ended {
            None
        } else {
            let item = ready!(state.poll_source(cx));
            if let Some(Ok(chunk)) = &item {
                state.keep(chunk);
            }
            item
        };
        if let Some(Ok(chunk)) = &item {
            self.sent += chunk.len() as u64;
            // Once nothing is kept any more, the next chunk is always the source's.
            self.next = if state.kept.is_empty() {
                0
            } else {
                self.next + 1
            };
        }
        if !state.keeping && self.next >= state.kept.len() {
            state.kept = Vec::new();
            self.next = 0;
        }
        Poll::Ready(item)
    }

    fn remaining(&self) -> Option<u64> {
        let Some(upload) = &self.upload else {
            return Some(0);
        };
        let length = upload.0.borrow().length?;
        Some(length.saturating_sub(self.sent))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    struct Chunks(Vec<&'static str>);

    impl Source for Chunks {
        fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
            if self.0.is_empty() {
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Ok(Bytes::from_static(self.0.remove(0).as_bytes()))))
        }

        fn remaining(&self) -> Option<u64> {
            None
        }
    }

    fn upload(kept_bytes_max: usize) -> Rc<Upload> {
        Upload::new(
            Box::new(Chunks(vec!["one", "two", "three"])),
            kept_bytes_max,
        )
    }

    fn read(outgoing: &mut Outgoing, chunks: usize) -> Vec<u8> {
        let mut all = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..chunks {
            match outgoing.poll_chunk(&mut cx) {
                Poll::Ready(Some(Ok(chunk))) => all.extend_from_slice(&chunk),
                Poll::Ready(None) => break,
                other => panic!("{other:?}"),
            }
        }
        all
    }

    #[test]
    fn a_second_attempt_sends_the_whole_body_again() {
        let upload = upload(100);
        let mut first = Outgoing::new(Some(upload.clone()));
        assert_eq!(read(&mut first, 2), b"onetwo");
        drop(first);

        let mut second = Outgoing::new(Some(upload.clone()));

        assert!(upload.is_replayable());
        assert_eq!(read(&mut second, 9), b"onetwothree");
        assert!(upload.is_ended());
    }

    #[test]
    fn a_body_beyond_the_limit_is_sent_once_and_is_not_replayable() {
        let upload = upload(4);
        let mut first = Outgoing::new(Some(upload.clone()));

        assert_eq!(read(&mut first, 9), b"onetwothree");

        assert!(!upload.is_replayable());
    }

    #[test]
    fn nothing_is_kept_after_forget_and_nothing_is_lost() {
        let upload = upload(100);
        let mut first = Outgoing::new(Some(upload.clone()));
        assert_eq!(read(&mut first, 1), b"one");

        upload.forget();

        assert_eq!(read(&mut first, 9), b"twothree");
        assert!(!upload.is_replayable());
        assert!(upload.0.borrow().kept.is_empty());
    }

    #[test]
    fn forget_while_an_attempt_replays_loses_nothing() {
        let upload = upload(100);
        let mut first = Outgoing::new(Some(upload.clone()));
        assert_eq!(read(&mut first, 2), b"onetwo");
        let mut second = Outgoing::new(Some(upload.clone()));
        assert_eq!(read(&mut second, 1), b"one");

        upload.forget();

        assert_eq!(read(&mut second, 9), b"twothree");
    }
}
