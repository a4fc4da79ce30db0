//! HTTP/2 on the client's side: frames out, and what came back as messages.
//!
//! Streams are numbered as requests are: 1, 3, 5 … A stream that was reset without a head is a response of status 0.

pub(crate) mod bodies;
pub(crate) mod connections;
pub(crate) mod heads;

use std::collections::BTreeMap;

use crate::client::Parsed;
use crate::frames::{self, Answer, End, PREFACE};
use crate::hpack::{Decoder, Field};
use crate::wire::{Framing, Message};

/// The preface, settings with nothing in them, and our word that theirs are known.
pub(crate) fn greeting() -> Vec<u8> {
    let acknowledged = frames::frame(frames::SETTINGS, frames::ACK, 0, &[]);
    [PREFACE, &frames::settings(&[]), &acknowledged].concat()
}

/// A request without a body, as the first one.
pub(crate) fn get(path: &str) -> Vec<u8> {
    ask("GET", path, &[])
}

/// The same with more fields.
pub(crate) fn ask(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    frames::headers(1, &[&frames::pseudo(method, path), fields].concat(), true)
}

/// The head of a request with a body to come.
pub(crate) fn open(method: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    frames::headers(1, &[&frames::pseudo(method, "/"), fields].concat(), false)
}

/// One more request behind so many.
pub(crate) fn probe(requests: usize) -> Vec<u8> {
    let stream = 2 * requests as u32 + 1;
    let mut fields = frames::pseudo("GET", "/probe");
    fields[2] = (":authority", "probe");
    frames::headers(stream, &fields, true)
}

/// What came, by stream; whole ones and those that were reset, in the order of their requests.
pub(crate) fn parse(mut bytes: &[u8], requests: usize) -> Parsed {
    let mut parsed = Parsed::default();
    let mut decoder = Decoder::default();
    let mut answers: BTreeMap<u32, Answer> = BTreeMap::new();
    while let Some((frame, length)) = frames::first(bytes) {
        bytes = &bytes[length..];
        if frame.stream == 0 {
            continue;
        }
        let answer = answers.entry(frame.stream).or_insert_with(Answer::new);
        if let Err(why) = answer.take(&frame, &mut decoder) {
            parsed.garbage = Some(why);
            break;
        }
    }
    for at in 0..requests as u32 {
        let Some(answer) = answers.get(&(2 * at + 1)) else {
            break;
        };
        let interim = answer.interim.iter().map(|fields| message(fields, answer));
        parsed.interim.extend(interim);
        if answer.end == End::Open {
            break;
        }
        parsed.responses.push(message(&answer.fields, answer));
    }
    parsed
}

fn message(fields: &[Field], answer: &Answer) -> Message {
    let status = fields.first().filter(|(name, _)| name == ":status");
    let status = status.map_or("0", |(_, status)| status.as_str());
    let start = match answer.end {
        End::Reset(code) => format!("HTTP/2 {status} reset with {code}"),
        _ => format!("HTTP/2 {status}"),
    };
    let trailers = answer.trailers.iter().flatten();
    Message {
        start,
        fields: fields.iter().skip(1).cloned().collect(),
        body: answer.body.clone(),
        framing: Framing::None,
        trailers: trailers
            .map(|(name, value)| format!("{name}: {value}"))
            .collect(),
        complete: answer.end == End::Whole,
    }
}
