//! HTTP/1 on the wire: heads, lengths and chunks, strictly read. Pure: bytes in, meaning out.
//!
//! ```text
//! bytes ─▶ head::scan (where does it end? every LF after a CR?) ─▶ request::read │ response::read
//! body bytes ─▶ chunked::Decoder (in place)
//! ```
//!
//! What two readers could understand in two ways is refused here, so that it never reaches a
//! backend or a client: RFC 9112 §2–§7, and the rules of request smuggling known since.

pub mod chunked;
pub mod field;
pub mod head;
pub mod lines;
pub mod refusal;
pub mod request;
pub mod response;
