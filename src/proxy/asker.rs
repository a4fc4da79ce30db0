//! The client's side of one exchange, whatever protocol it speaks.

use std::net::SocketAddr;
use std::task::{Context, Poll};

use super::fault::BodyError;
use super::forward::ResponseHead;

/// Who sent a request and waits for its answer.
pub(super) trait Asker {
    /// Bytes of the request's body that have come and were not consumed; none: its end.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<&[u8], BodyError>>;

    /// The first `bytes` of what [`Self::poll_body`] gave are done with.
    fn consume(&mut self, bytes: usize);

    /// A wait begins: memory that is not needed for it goes back.
    fn rest(&mut self);

    /// It costs nothing to ask whether the client has left.
    fn is_watched(&self) -> bool;

    /// Ready: the client has left. Asked only while nothing of its body is due. It is watched from now on.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// The address that the client connected to, if it is known.
    fn local(&self) -> Option<SocketAddr>;

    /// An interim answer (1xx), to be passed on at once.
    fn interim(&mut self, head: &ResponseHead);

    /// How much of an answer to read at once: who asks much at a time gets it in small pieces.
    fn read_max(&self) -> usize {
        usize::MAX
    }

    /// Writes what is left of interim answers.
    fn poll_flush(&mut self, cx: &mut Context<'_>);
}
