//! Why a head is no request that may go on.

/// Why a request is not passed on. `Display` is what the client reads.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refusal {
    /// 400.
    #[error("bad request: {0}")]
    Malformed(&'static str),
    /// 414.
    #[error("the request line is too long")]
    LineTooLong,
    /// 431.
    #[error("the request head is too large")]
    HeadTooLarge,
    /// 431.
    #[error("the request has too many fields")]
    TooManyFields,
    /// 505.
    #[error("this version of HTTP is not spoken here")]
    Version,
    /// 501.
    #[error("a transfer coding other than chunked is not implemented")]
    Coding,
    /// 417.
    #[error("the expectation cannot be met")]
    Expectation,
}
