//! A request's body on its way to a backend, kept so far that another one can be asked.
//!
//! ```text
//! Asker ─▶ Upload ─┬─▶ Flight 1   (each byte kept, up to a limit,
//!                  └─▶ Flight 2    so that flight 2 can start over)
//! ```
//!
//! Pull all the way: bytes are taken from the client only when the backend takes them, which is the
//! back-pressure.

use std::task::{Context, Poll, ready};

use super::asker::Asker;
use super::fault::BodyError;
use super::h1::chunked;
use super::h1::request::Length;

/// A request's body, as far as it has come.
#[derive(Debug)]
pub(super) struct Upload {
    length: Length,
    /// All of it so far, while `keeping`; what the current flight has not sent, afterwards.
    kept: Vec<u8>,
    kept_max: usize,
    keeping: bool,
    taken: u64,
    ended: bool,
    failed: Option<BodyError>,
    /// The client is what everybody waits for.
    wanted: bool,
}

impl Default for Upload {
    /// None at all.
    fn default() -> Self {
        Self::new(Length::None, 0)
    }
}

impl Upload {
    /// Keeps up to `kept_max` for another attempt.
    pub(super) fn new(length: Length, kept_max: usize) -> Self {
        Self {
            length,
            kept: Vec::new(),
            kept_max,
            keeping: true,
            taken: 0,
            ended: matches!(length, Length::None | Length::Exactly(0)),
            failed: None,
            wanted: false,
        }
    }

    /// There is one, however short.
    pub(super) fn is_some(&self) -> bool {
        self.length != Length::None
    }

    /// Whether an attempt can start over.
    pub(super) fn is_replayable(&self) -> bool {
        self.failed.is_none() && (self.keeping || self.taken == 0)
    }

    /// No attempt will start over.
    pub(super) fn forget(&mut self) {
        self.keeping = false;
    }

    /// No attempt is under way any more either.
    pub(super) fn release(&mut self) {
        if !self.keeping {
            self.kept = Vec::new();
        }
    }

    /// Bytes taken from the client so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// All of it was taken from the client.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Why the client's side failed, if it did.
    pub(super) fn failed(&self) -> Option<&BodyError> {
        self.failed.as_ref()
    }

    /// The backend has taken all that came, and more is due.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Looks what has come. `None`: the end, or a failure.
    fn poll_fresh<'a>(
        &mut self,
        cx: &mut Context<'_>,
        asker: &'a mut dyn Asker,
    ) -> Poll<Option<&'a [u8]>> {
        let polled = asker.poll_body(cx);
        self.wanted = polled.is_pending();
        Poll::Ready(match ready!(polled) {
            Ok([]) => {
                self.ended = true;
                None
            }
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.failed = Some(error);
                None
            }
        })
    }

    fn took(&mut self, bytes: usize) {
        self.taken += bytes as u64;
    }
}

/// How far one attempt has come with a body.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    /// Of what is kept.
    kept: usize,
    /// The end is on its way too.
    ended: bool,
    /// The protocol below frames it.
    unframed: bool,
}

impl Cursor {
    /// Of an attempt by a protocol that frames bodies itself: only their own bytes go out.
    pub(super) fn unframed() -> Self {
        Self {
            unframed: true,
            ..Self::default()
        }
    }

    fn framing(&self, upload: &Upload) -> Length {
        match self.unframed {
            true => Length::None,
            false => upload.length,
        }
    }

    /// Everything was handed over.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Adds the next bytes to `out`, framed; what is kept first. False: nothing more for now, or ever.
    pub(super) fn fill(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload,
        asker: &mut dyn Asker,
        out: &mut Vec<u8>,
        most: usize,
    ) -> bool {
        if self.ended || upload.failed.is_some() {
            return false;
        }
        if self.kept < upload.kept.len() {
            frame(self.framing(upload), &upload.kept[self.kept..], out);
            self.kept = upload.kept.len();
            self.tidy(upload);
            return true;
        }
        if upload.ended {
            self.ended = true;
            let chunked = self.framing(upload) == Length::Chunked;
            if chunked {
                out.extend_from_slice(chunked::LAST);
            }
            return chunked;
        }
        let Poll::Ready(Some(fresh)) = upload.poll_fresh(cx, asker) else {
            // At the end there is one more turn, for the last chunk.
            return upload.ended;
        };
        let bytes = fresh.len().min(most);
        let fresh = &fresh[..bytes];
        if upload.keeping && upload.kept.len() + bytes > upload.kept_max {
            upload.keeping = false;
            self.tidy(upload);
        }
        if upload.keeping {
            upload.kept.extend_from_slice(fresh);
            self.kept = upload.kept.len();
        }
        frame(self.framing(upload), fresh, out);
        upload.took(bytes);
        asker.consume(bytes);
        upload.ended |= upload.length == Length::Exactly(upload.taken);
        true
    }

    /// Bytes that may be written as they are, without a copy: those of a sized body of which nothing is kept.
    pub(super) fn poll_plain<'a>(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload,
        asker: &'a mut dyn Asker,
    ) -> Poll<Option<&'a [u8]>> {
        let plain = matches!(upload.length, Length::Exactly(_))
            && !upload.keeping
            && !upload.ended
            && upload.failed.is_none()
            && self.kept >= upload.kept.len();
        match plain {
            true => upload.poll_fresh(cx, asker),
            false => Poll::Ready(None),
        }
    }

    /// Some of what [`Self::poll_plain`] gave was written.
    pub(super) fn wrote_plain(&mut self, upload: &mut Upload, asker: &mut dyn Asker, bytes: usize) {
        upload.took(bytes);
        asker.consume(bytes);
        upload.ended |= upload.length == Length::Exactly(upload.taken);
    }

    /// Frees what no attempt needs any more.
    pub(super) fn tidy(&mut self, upload: &mut Upload) {
        if !upload.keeping && self.kept >= upload.kept.len() {
            upload.kept = Vec::new();
            self.kept = 0;
        }
    }
}

/// One piece of a body as it goes over the wire.
fn frame(length: Length, bytes: &[u8], out: &mut Vec<u8>) {
    if length != Length::Chunked {
        out.extend_from_slice(bytes);
        return;
    }
    let (line, digits) = chunked::size_line(bytes.len());
    out.extend_from_slice(&line[..digits]);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::super::forward::ResponseHead;
    use super::*;

    struct Pieces(Vec<&'static str>);

    impl Asker for Pieces {
        fn poll_body(&mut self, _: &mut Context<'_>) -> Poll<Result<&[u8], BodyError>> {
            Poll::Ready(Ok(self.0.first().map_or(&[], |piece| piece.as_bytes())))
        }

        fn consume(&mut self, bytes: usize) {
            self.0[0] = &self.0[0][bytes..];
            if self.0[0].is_empty() {
                self.0.remove(0);
            }
        }

        fn rest(&mut self) {}

        fn is_watched(&self) -> bool {
            true
        }

        fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }

        fn local(&self) -> Option<std::net::SocketAddr> {
            None
        }

        fn interim(&mut self, _: &ResponseHead) {}

        fn poll_flush(&mut self, _: &mut Context<'_>) {}
    }

    fn upload(kept_max: usize) -> (Upload, Pieces) {
        let pieces = Pieces(vec!["one", "two", "three"]);
        (Upload::new(Length::Exactly(11), kept_max), pieces)
    }

    /// Reads `turns` pieces of one attempt.
    fn read(cursor: &mut Cursor, upload: &mut Upload, pieces: &mut Pieces, turns: usize) -> String {
        let mut cx = Context::from_waker(Waker::noop());
        let mut all = Vec::new();
        for _ in 0..turns {
            let mut out = Vec::new();
            if cursor.fill(&mut cx, upload, pieces, &mut out, 100) {
                all.extend_from_slice(&out);
            } else if let Poll::Ready(Some(plain)) = cursor.poll_plain(&mut cx, upload, pieces) {
                all.extend_from_slice(plain);
                let bytes = plain.len();
                cursor.wrote_plain(upload, pieces, bytes);
            }
        }
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn a_second_attempt_sends_the_whole_body_again() {
        let (mut upload, mut pieces) = upload(100);
        let mut first = Cursor::default();
        assert_eq!(read(&mut first, &mut upload, &mut pieces, 2), "onetwo");

        let mut second = Cursor::default();

        assert!(upload.is_replayable());
        assert_eq!(
            read(&mut second, &mut upload, &mut pieces, 9),
            "onetwothree"
        );
        assert!(upload.is_ended() && second.is_ended());
    }

    #[test]
    fn a_body_beyond_the_limit_is_sent_once_and_is_not_replayable() {
        let (mut upload, mut pieces) = upload(4);
        let mut first = Cursor::default();

        assert_eq!(read(&mut first, &mut upload, &mut pieces, 9), "onetwothree");

        assert!(!upload.is_replayable());
        assert!(upload.kept.is_empty());
    }

    #[test]
    fn nothing_is_kept_after_forget_and_nothing_is_lost() {
        let (mut upload, mut pieces) = upload(100);
        let mut first = Cursor::default();
        assert_eq!(read(&mut first, &mut upload, &mut pieces, 1), "one");

        upload.forget();

        assert_eq!(read(&mut first, &mut upload, &mut pieces, 9), "twothree");
        assert!(!upload.is_replayable());
    }

    #[test]
    fn forget_while_an_attempt_replays_loses_nothing() {
        let (mut upload, mut pieces) = upload(100);
        let mut first = Cursor::default();
        assert_eq!(read(&mut first, &mut upload, &mut pieces, 2), "onetwo");
        let mut second = Cursor::default();

        upload.forget();

        assert_eq!(
            read(&mut second, &mut upload, &mut pieces, 9),
            "onetwothree"
        );
        assert!(upload.kept.is_empty());
    }

    #[test]
    fn chunked_bodies_end_with_the_last_chunk() {
        let mut upload = Upload::new(Length::Chunked, 100);
        let mut pieces = Pieces(vec!["one", "two"]);
        let mut first = Cursor::default();
        let body = "3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n";
        assert_eq!(read(&mut first, &mut upload, &mut pieces, 9), body);

        let mut second = Cursor::default();

        let again = "6\r\nonetwo\r\n0\r\n\r\n";
        assert_eq!(read(&mut second, &mut upload, &mut pieces, 9), again);
    }
}
