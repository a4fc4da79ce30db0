//! Field lines as text, to what h2 has for them; values are not copied.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

/// Room for as many is made at once.
const FIELDS_MOSTLY: usize = 12;

/// Field lines as h2 wants them, behind a first line that is no field.
pub(super) fn response(status: u16, wire: &Bytes) -> Option<Response<()>> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).ok()?;
    let first = memchr::memchr(b'\n', wire)? + 1;
    *response.headers_mut() = map(&wire.slice(first..));
    Some(response)
}

/// `name: value`, line by line; values are not copied.
pub(super) fn map(lines: &Bytes) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(FIELDS_MOSTLY);
    let mut at = 0;
    while let Some(end) = memchr::memchr(b'\r', &lines[at..]).map(|end| at + end) {
        if let Some(colon) = memchr::memchr(b':', &lines[at..end]).map(|colon| at + colon) {
            let name = HeaderName::from_bytes(&lines[at..colon]);
            let value = lines.slice((colon + 2).min(end)..end);
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_maybe_shared(value)) {
                fields.append(name, value);
            }
        }
        at = (end + 2).min(lines.len());
    }
    fields
}
