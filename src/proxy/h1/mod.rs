//! HTTP/1 on the wire: heads, lengths and chunks, strictly read. Pure: bytes in, meaning out.
//!
//! ```text
//! bytes ─▶ request::read │ response::read ─▶ meaning
//!              └─ refused ─▶ head::scan (has all of it come? does every LF follow a CR?)
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
