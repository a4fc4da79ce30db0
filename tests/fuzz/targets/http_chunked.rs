//! Chunked bodies: any split of the same bytes gives the same body; what is accepted is so by an independent
//! reader as well; what is framed anew is the same body.
//!
//! The first two bytes say how it is cut up, and how strictly it is read.

#![no_main]

#[path = "../http/oracle.rs"]
mod oracle;

use lb::proxy::h1::chunked::{Decoder, LAST, Malformed, size_line};
use libfuzzer_sys::fuzz_target;
use oracle::Read;

fuzz_target!(|data: &[u8]| {
    let Some((&[first, step], bytes)) = data.split_first_chunk::<2>() else {
        return;
    };
    let strict = step & 0x80 == 0;
    let step = usize::from(step & 0x7f).max(1);
    let whole = decode(bytes, bytes.len(), bytes.len().max(1), strict);
    let in_pieces = decode(bytes, usize::from(first), step, strict);
    assert_eq!(whole, in_pieces);
    judge(bytes, &whole, strict);
    if let Ok(Decoded { body, .. }) = whole {
        again(&body, step);
    }
});

#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    body: Vec<u8>,
    /// Bytes read, if the body has ended.
    end: Option<usize>,
}

fn decode(bytes: &[u8], first: usize, step: usize, strict: bool) -> Result<Decoded, Malformed> {
    let mut decoder = Decoder::new(strict);
    let (mut body, mut read) = (Vec::new(), 0);
    let (head, tail) = bytes.split_at(first.min(bytes.len()));
    for piece in std::iter::once(head).chain(tail.chunks(step)) {
        let mut piece = piece.to_vec();
        let decoded = decoder.decode(&mut piece)?;
        assert!(decoded.data <= decoded.read && decoded.read <= piece.len());
        assert!(decoded.read == piece.len() || decoder.is_done());
        body.extend_from_slice(&piece[..decoded.data]);
        read += decoded.read;
    }
    let end = decoder.is_done().then_some(read);
    Ok(Decoded { body, end })
}

fn judge(bytes: &[u8], ours: &Result<Decoded, Malformed>, strict: bool) {
    let theirs = oracle::chunked(bytes, !strict);
    match (ours, theirs) {
        (Ok(ours), Read::Whole(body, end)) => {
            assert_eq!(ours.end, Some(end));
            assert_eq!(ours.body, body);
        }
        (Ok(ours), Read::Partial(body)) => {
            assert_eq!(ours.end, None);
            assert_eq!(ours.body, body);
        }
        // What a later byte proves wrong.
        (Ok(ours), Read::Bad(_)) => assert_eq!(ours.end, None, "accepted, and it is none"),
        (Err(Malformed(why)), Read::Whole(..)) => {
            assert!(why.contains("too l"), "refused, and it is sound: {why}");
        }
        (Err(_), _) => {}
    }
}

/// Framed by us, it is the same.
fn again(body: &[u8], step: usize) {
    let mut framed = Vec::new();
    for piece in body.chunks(step) {
        let (line, digits) = size_line(piece.len());
        framed.extend_from_slice(&line[..digits]);
        framed.extend_from_slice(piece);
        framed.extend_from_slice(b"\r\n");
    }
    framed.extend_from_slice(LAST);
    let end = Some(framed.len());
    let body = body.to_vec();
    assert_eq!(decode(&framed, 3, 5, true), Ok(Decoded { body, end }));
}
