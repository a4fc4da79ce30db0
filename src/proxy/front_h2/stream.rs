//! One stream: a request, asked for by its client's reading and writing side, in a task of its own.
//!
//! ```text
//! Body ─▶ Stream (Asker): what came, window given back as it is consumed ─▶ flight
//! SendResponse ─▶ HEADERS ─▶ SendStream ─▶ DATA, as the window lets them
//! ```

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::Response;

use super::super::asker::Asker;
use super::super::fault::BodyError;
use super::super::forward::ResponseHead;
use super::body::Body;
use super::fields;
use super::hub::Hub;
use super::piece::Piece;

/// What is said to the client.
enum Voice {
    /// Nothing final yet.
    Waits(SendResponse<Piece>),
    Speaks(SendStream<Piece>),
}

/// One request of an HTTP/2 client.
pub(super) struct Stream<'t> {
    /// Its task looks after what nobody takes.
    body: &'t RefCell<Body>,
    /// Came and was not consumed.
    piece: Bytes,
    voice: Voice,
    hub: Rc<Hub>,
}

impl<'t> Stream<'t> {
    /// Nothing taken, nothing said.
    pub(super) fn new(
        hub: &Rc<Hub>,
        body: &'t RefCell<Body>,
        respond: SendResponse<Piece>,
    ) -> Self {
        Self {
            hub: hub.clone(),
            body,
            piece: Bytes::new(),
            voice: Voice::Waits(respond),
        }
    }

    /// The final answer's head; with `whole`, that is all of it. False: nobody wants it.
    pub(super) fn begin(&mut self, response: Response<()>, whole: bool) -> bool {
        let Voice::Waits(respond) = &mut self.voice else {
            return false;
        };
        match respond.send_response(response, whole) {
            Ok(voice) => {
                self.voice = Voice::Speaks(voice);
                true
            }
            Err(_) => false,
        }
    }

    /// For what follows the head.
    pub(super) fn out(&mut self) -> Option<&mut SendStream<Piece>> {
        match &mut self.voice {
            Voice::Waits(_) => None,
            Voice::Speaks(voice) => Some(voice),
        }
    }

    /// What was said is not what was meant.
    pub(super) fn reset(&mut self, reason: Reason) {
        match &mut self.voice {
            Voice::Waits(respond) => respond.send_reset(reason),
            Voice::Speaks(voice) => voice.send_reset(reason),
        }
    }
}

impl Asker for Stream<'_> {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<&[u8], BodyError>> {
        while self.piece.is_empty() {
            self.piece = match ready!(self.body.borrow_mut().poll_next(cx)) {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => {
                    return Poll::Ready(Err(BodyError::Client(error.to_string())));
                }
                None => break,
            };
        }
        Poll::Ready(Ok(&self.piece))
    }

    fn consume(&mut self, bytes: usize) {
        self.piece.advance(bytes);
        self.body.borrow_mut().release(bytes);
    }

    fn rest(&mut self) {}

    fn is_watched(&self) -> bool {
        true
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.voice {
            Voice::Waits(respond) => respond.poll_reset(cx).map(drop),
            Voice::Speaks(voice) => voice.poll_reset(cx).map(drop),
        }
    }

    fn local(&self) -> Option<SocketAddr> {
        self.hub.local
    }

    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_gone(cx)
    }

    fn may_be_silent(&self) -> bool {
        true
    }

    fn interim(&mut self, head: &ResponseHead) {
        let Voice::Waits(respond) = &mut self.voice else {
            return;
        };
        let wire = Bytes::copy_from_slice(&head.wire);
        if let Some(interim) = fields::response(head.status, &wire) {
            // Whether the client has left is found out elsewhere.
            let _ = respond.send_informational(interim);
        }
    }

    fn read_max(&self) -> usize {
        self.hub.read_max()
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) {}
}
