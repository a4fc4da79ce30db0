//! What a gRPC client is told instead of a status: an answer of trailers alone.
//!
//! Sources: gRPC over HTTP/2 (PROTOCOL-HTTP2.md), statuscodes.md.

use std::fmt::Write;

use super::super::fault::Fault;
use super::super::h1::refusal::Refusal;

/// Its content type, or the beginning of it.
const CONTENT_TYPE: &[u8] = b"application/grpc";

/// Whether a request's content type says that it is gRPC. `application/grpc-web` is another protocol.
pub(super) fn is_grpc(content_type: &[u8]) -> bool {
    let rest = content_type
        .get(..CONTENT_TYPE.len())
        .filter(|start| start.eq_ignore_ascii_case(CONTENT_TYPE))
        .map(|_| &content_type[CONTENT_TYPE.len()..]);
    matches!(rest, Some([] | [b'+' | b';' | b' ', ..]))
}

/// The code of a fault.
pub(super) fn status(fault: &Fault) -> u8 {
    const DEADLINE_EXCEEDED: u8 = 4;
    const RESOURCE_EXHAUSTED: u8 = 8;
    const UNIMPLEMENTED: u8 = 12;
    const INTERNAL: u8 = 13;
    const UNAVAILABLE: u8 = 14;
    match fault {
        Fault::Refused(Refusal::HeadTooLarge | Refusal::TooManyFields | Refusal::LineTooLong) => {
            RESOURCE_EXHAUSTED
        }
        Fault::Method | Fault::EndsHere => UNIMPLEMENTED,
        _ => match fault.status() {
            408 | 504 => DEADLINE_EXCEEDED,
            400..=499 => INTERNAL,
            _ => UNAVAILABLE,
        },
    }
}

/// Text as a `grpc-message`: printable ASCII without `%`, all else as `%XX`.
pub(super) fn message(text: &str) -> String {
    let mut message = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => message.push(char::from(byte)),
            // To a string, which takes all.
            _ => drop(write!(message, "%{byte:02X}")),
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_told_from_what_only_begins_like_it() {
        for yes in [
            "application/grpc",
            "application/grpc+proto",
            "Application/GRPC; a=b",
        ] {
            assert!(is_grpc(yes.as_bytes()), "{yes}");
        }
        for no in [
            "",
            "application/grpc-web",
            "application/grpcx",
            "application/json",
        ] {
            assert!(!is_grpc(no.as_bytes()), "{no}");
        }
    }

    #[test]
    fn faults_have_codes() {
        assert_eq!(status(&Fault::Connect(String::new())), 14);
        assert_eq!(status(&Fault::Nobody { pool: "p".into() }), 14);
        assert_eq!(status(&Fault::FirstByte), 4);
        assert_eq!(status(&Fault::ClientSlow), 4);
        assert_eq!(status(&Refusal::HeadTooLarge.into()), 8);
        assert_eq!(status(&Refusal::Malformed("x").into()), 13);
        assert_eq!(status(&Fault::Method), 12);
    }

    #[test]
    fn messages_are_printable() {
        assert_eq!(message("a b"), "a b");
        assert_eq!(message("50% ä\n"), "50%25 %C3%A4%0A");
    }
}
