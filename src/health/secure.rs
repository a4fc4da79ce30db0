//! Checks over TLS, which one of the two programs cannot make: an agent is too small to carry it.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// A connection after its handshake, or why there is none.
pub type Shaken = Pin<Box<dyn Future<Output = Result<Box<dyn Duplex>, String>> + Send>>;

/// Shakes hands; implemented above.
pub trait Secure: Debug + Send + Sync {
    /// With who is at the other end of `io`, and has to be `name`, and to speak HTTP/2 if `http2`.
    fn shake(&self, io: TcpStream, name: &str, http2: bool) -> Shaken;
}

/// How a target is spoken to over TLS.
#[derive(Clone, Debug)]
pub struct Secured {
    /// Who shakes hands.
    pub by: Arc<dyn Secure>,
    /// Who the target has to be.
    pub name: String,
}

impl PartialEq for Secured {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.by, &other.by)
    }
}
