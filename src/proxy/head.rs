//! A message's head as the data path sees it, whatever protocol it came by.

use http::{Extensions, HeaderMap, Method, StatusCode, Uri};

/// Of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct RequestHead {
    pub(super) method: Method,
    /// As received, until `forward` makes it origin-form.
    pub(super) target: Uri,
    pub(super) headers: HeaderMap,
    /// HTTP/1.0: a missing `Host` is no fault.
    pub(super) old: bool,
}

/// Of a response.
#[derive(Debug, Default)]
pub(super) struct ResponseHead {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// What only the protocol's own front understands (a reason phrase), carried through unread.
    pub(super) extensions: Extensions,
}
