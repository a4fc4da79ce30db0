//! The ways to a backend: a connection for one request at a time, or one that carries many.
//!
//! ```text
//! Way (found or opened) ─▶ Courier (carries the request, waits for the answer's head) ─▶ Hop (the rest, in a Reply)
//!   One:  Link ──────────── Flight
//!   Many: Seat ──────────── Stream
//! ```

use super::flight::Flight;
use super::link::Link;
use super::multiplex::mux::Seat;
use super::multiplex::stream::Stream;

/// What a request may be sent over.
pub(super) enum Way {
    /// HTTP/1.
    One(Link),
    /// HTTP/2.
    Many(Seat),
}

/// What a request was sent over.
pub(super) enum Hop {
    /// HTTP/1.
    One(Box<Flight>),
    /// HTTP/2.
    Many(Box<Stream>),
}

impl From<Box<Flight>> for Hop {
    fn from(flight: Box<Flight>) -> Self {
        Self::One(flight)
    }
}

impl From<Box<Stream>> for Hop {
    fn from(stream: Box<Stream>) -> Self {
        Self::Many(stream)
    }
}
