//! Heads: whatever is accepted is so by an independent strict reader as well, with the same meaning; what is read
//! depends on the bytes of the head alone.

#![no_main]

#[path = "../http/oracle.rs"]
mod oracle;

use lb::proxy::h1::head::{Field, Scan, scan};
use lb::proxy::h1::refusal::Refusal;
use lb::proxy::h1::request::{self, Length};
use lb::proxy::h1::response;
use libfuzzer_sys::fuzz_target;
use oracle::{Framing, Head};

const LINE_MAX: usize = 8 * 1024;
const FIELDS_MAX: usize = 100;

fuzz_target!(|data: &[u8]| {
    ends(data);
    // Heads are read without a look for their end; what that looks for holds all the same.
    let read = request::read(data, LINE_MAX, FIELDS_MAX).map(|read| read.head.len());
    let answer = response::read(data, FIELDS_MAX).map(|read| read.head.len());
    let Scan::Whole(length) = scan(data) else {
        assert!(read.is_err() && answer.is_err());
        return;
    };
    assert!(read.is_err() || read == Ok(length));
    assert!(answer.is_err() || answer == Ok(length));
    let head = &data[..length];
    a_request(head);
    a_response(head);
});

/// The end of a head is found at the same place however much of it has come.
fn ends(data: &[u8]) {
    let whole = scan(data);
    let mut seen = Scan::Partial;
    for length in 0..=data.len() {
        let now = scan(&data[..length]);
        match seen {
            Scan::Partial => seen = now,
            known => assert_eq!(now, known, "after {length} bytes"),
        }
        if let Scan::Whole(end) = seen {
            assert!(end <= length && data[..end].ends_with(b"\r\n"));
            assert!(end == 2 || data[..end].ends_with(b"\r\n\r\n"));
        }
    }
    assert_eq!(seen, whole);
}

fn same_fields(ours: &[Field<'_>], theirs: &Head) {
    assert_eq!(ours.len(), theirs.fields.len());
    for (ours, (name, value)) in ours.iter().zip(&theirs.fields) {
        assert_eq!(&ours.name.to_ascii_lowercase(), name);
        assert_eq!(ours.value, value, "{}", String::from_utf8_lossy(name));
    }
}

fn same_length(ours: Length, theirs: Framing) {
    let theirs = match theirs {
        Framing::Nothing => Length::None,
        Framing::Exactly(bytes) => Length::Exactly(bytes),
        Framing::Chunked => Length::Chunked,
        Framing::UntilClose => Length::UntilClose,
    };
    assert_eq!(ours, theirs);
}

fn a_request(head: &[u8]) {
    let read = request::read(head, LINE_MAX, FIELDS_MAX);
    let again = request::read(head, LINE_MAX, FIELDS_MAX + 28);
    let Ok(read) = read else {
        assert!(again.is_err() || matches!(read, Err(Refusal::TooManyFields)));
        return;
    };
    let again = again.expect("more room does not hurt");
    assert_eq!(read.fields, again.fields);
    let (strict, used) = oracle::request_head(head).expect("it is whole");
    let strict = strict.expect("a strict reader takes it too");
    assert_eq!(used, head.len());
    assert_eq!(read.method.as_str().as_bytes(), strict.words[0]);
    assert_eq!(read.target, strict.words[1]);
    assert_eq!(read.old, strict.is_old());
    same_fields(&read.fields, &strict);
    let Ok(meaning) = read.meaning() else { return };
    let framing = oracle::request_framing(&strict).expect("a strict reader takes it too");
    same_length(meaning.length, framing);
    assert_eq!(meaning.host.is_some(), strict.has("host"));
    assert_eq!(meaning.close, strict.lists("connection", "close"));
    assert_eq!(meaning.keep_alive, strict.lists("connection", "keep-alive"));
    if meaning.upgrade.is_some() {
        assert!(strict.lists("connection", "upgrade") && !strict.is_old());
    }
    for listed in meaning.listed {
        let listed = String::from_utf8_lossy(listed);
        assert!(strict.lists("connection", &listed) || listed.contains('\u{fffd}'));
    }
}

fn a_response(head: &[u8]) {
    let Ok(read) = response::read(head, FIELDS_MAX) else {
        return;
    };
    let (strict, used) = oracle::response_head(head).expect("it is whole");
    let strict = strict.expect("a strict reader takes it too");
    assert_eq!(used, head.len());
    assert_eq!(read.status, strict.status());
    assert_eq!(read.reason, strict.words[2]);
    assert_eq!(read.old, strict.is_old());
    same_fields(&read.fields, &strict);
    for to_head in [false, true] {
        let Ok(meaning) = read.meaning(to_head) else {
            continue;
        };
        let framing = oracle::response_framing(&strict, to_head);
        same_length(
            meaning.length,
            framing.expect("a strict reader takes it too"),
        );
        assert_eq!(meaning.announced, strict.length().expect("one length"));
        assert!(!meaning.persistent || !strict.lists("connection", "close"));
        assert!(!meaning.persistent || meaning.length != Length::UntilClose);
    }
}
