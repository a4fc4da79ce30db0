//! What must hold for one play, and between two plays of the same bytes that were cut up differently.

use crate::exchange::{Delivery, Outcome, Seen, text};
use crate::oracle::{Framing, Read, Tail};

/// Statuses by which the proxy itself answers.
const OURS: [u16; 11] = [200, 400, 405, 408, 414, 417, 431, 501, 502, 504, 505];

/// One play.
pub fn fair(outcome: &Outcome, tail: Tail, by_reset: bool, got: &[u8]) {
    let extra = usize::from(tail == Tail::Malformed);
    assert!(
        outcome.seen.len() <= outcome.framed.len() + extra + usize::from(too_long(outcome)),
        "{} answers to {} requests: {}",
        outcome.seen.len(),
        outcome.framed.len(),
        text(got)
    );
    for (index, seen) in outcome.seen.iter().enumerate() {
        let deliveries = outcome.deliveries.get(index).map_or(&[][..], Vec::as_slice);
        let last = outcome.seen.len() == index + 1;
        assert!(seen.complete || last);
        let Some(head) = &seen.answer.head else {
            // Interim answers, and then an end: the backend's were cut short, or the client's.
            continue;
        };
        let old = outcome
            .framed
            .get(index)
            .is_some_and(|framed| framed.head.is_old());
        assert!(!old || seen.answer.interims.is_empty(), "1xx for HTTP/1.0");
        match deliveries
            .last()
            .and_then(|delivery| delivery.said.as_ref())
        {
            None => assert!(OURS.contains(&head.status()), "of whom? {}", text(got)),
            Some(said) => {
                let reset = deliveries.last().is_some_and(|delivery| delivery.reset);
                honest(seen, said, reset, by_reset && last, got);
            }
        }
    }
}

/// An endless head is refused, although it is none yet.
fn too_long(outcome: &Outcome) -> bool {
    let status = |seen: &Seen| seen.answer.head.as_ref().map(|head| head.status());
    let last = outcome.seen.last().and_then(status);
    last.is_some_and(|status| matches!(status, 400 | 414 | 431))
}

/// What a client got of an answer is what the backend said.
fn honest(
    seen: &Seen,
    said: &Read<crate::oracle::Answer>,
    reset: bool,
    by_reset: bool,
    got: &[u8],
) {
    let status = seen.answer.head.as_ref().map_or(0, |head| head.status());
    let (answer, whole) = match said {
        Read::Whole(answer, _) => (answer, !reset),
        // It ends with its connection, and that was closed.
        Read::Partial(answer) if answer.until_close => (answer, !reset),
        Read::Partial(answer) | Read::Bad(answer) => (answer, false),
    };
    let theirs = answer.head.as_ref().map_or(0, |head| head.status());
    if !whole && matches!(status, 502 | 400) && seen.complete {
        return;
    }
    if matches!(said, Read::Whole(answer, _) if answer.switches) {
        return;
    }
    // The client's own body may be what is wrong.
    if status == 400 && theirs != 400 {
        return;
    }
    assert_eq!(status, theirs, "another status: {}", text(got));
    assert!(
        answer.body.starts_with(&seen.answer.body),
        "another body: {}",
        text(got)
    );
    let complete = seen.complete && !(seen.answer.until_close && by_reset);
    if whole {
        assert!(complete, "cut short by us: {}", text(got));
        assert_eq!(answer.body.len(), seen.answer.body.len(), "{}", text(got));
    } else if !reset {
        assert!(!complete, "cut short, and not seen to be: {}", text(got));
    }
}

/// Two plays of the same bytes, as far as both must come to the same.
pub fn same(one: &Outcome, other: &Outcome) {
    if one.tunnel || other.tunnel {
        assert_eq!(one.tunnel, other.tunnel);
        return;
    }
    let both = one.seen.len().max(other.seen.len());
    for index in 0..both {
        if depends_on_time(one, index) || depends_on_time(other, index) {
            return;
        }
        let (one_seen, other_seen) = (one.seen.get(index), other.seen.get(index));
        assert_eq!(
            one_seen.map(told),
            other_seen.map(told),
            "answer {index} depends on where the bytes were cut"
        );
        let (Some(one), Some(other)) = (one.deliveries.get(index), other.deliveries.get(index))
        else {
            continue;
        };
        let heads = |all: &[Delivery]| -> Vec<Vec<u8>> {
            all.iter()
                .map(|delivery| untraced(&delivery.head))
                .collect()
        };
        assert_eq!(
            heads(one),
            heads(other),
            "request {index} depends on where the bytes were cut"
        );
    }
}

/// An answer that breaks off is a 502 if that is seen in time; one that comes before the request has ended
/// is delivered at once, whatever was read by then.
fn depends_on_time(outcome: &Outcome, index: usize) -> bool {
    let deliveries = outcome.deliveries.get(index).map_or(&[][..], Vec::as_slice);
    let bodied = outcome
        .framed
        .get(index)
        .is_some_and(|framed| framed.framing != Framing::Nothing);
    let sound = |delivery: &Delivery| {
        let fine = match &delivery.said {
            Some(Read::Whole(..)) => true,
            Some(Read::Partial(answer)) => answer.until_close,
            Some(Read::Bad(_)) | None => false,
        };
        fine && !delivery.reset && !delivery.early
    };
    let ours = deliveries.is_empty();
    (ours && bodied) || !deliveries.iter().all(sound)
}

/// What must be the same: not the date, and not which of several faults was found first.
fn told(seen: &Seen) -> (Vec<u16>, u16, Vec<(Vec<u8>, Vec<u8>)>, Vec<u8>, bool) {
    let status = seen.answer.head.as_ref().map_or(0, |head| head.status());
    if matches!(status, 400 | 414 | 431 | 501 | 505) {
        return (Vec::new(), 400, Vec::new(), Vec::new(), seen.complete);
    }
    let fields = seen.answer.head.iter().flat_map(|head| &head.fields);
    let fields = fields
        .filter(|(name, _)| name != b"date")
        .cloned()
        .collect();
    let interims = seen.answer.interims.clone();
    (
        interims,
        status,
        fields,
        seen.answer.body.clone(),
        seen.complete,
    )
}

/// A head without what is drawn by lot.
fn untraced(head: &[u8]) -> Vec<u8> {
    let lines = head.split_inclusive(|byte| *byte == b'\n');
    lines
        .filter(|line| !line.starts_with(b"traceparent: "))
        .flatten()
        .copied()
        .collect()
}
