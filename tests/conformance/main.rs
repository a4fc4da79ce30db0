//! Every rule of HTTP/1 and HTTP/2 that a proxy must not get wrong, over raw sockets, against the built program.
//!
//! ```text
//! rules.rs   the rules × (client, backend) × (HTTP/1.0, 1.1, 2); an empty cell says why
//! *.rs       the cases of one theme: client bytes, backend bytes, what must come of them
//!
//!   client ──bytes──▶ subject (lb; nginx and HAProxy if present) ──bytes──▶ backend
//!     └ what it read, how it ended                                 └ what it received, per connection
//! ```
//!
//! A case of the side "client" varies what the client sends, one of the side "backend" what the backend sends;
//! the version is that of the varied message. Only ours must pass. With `LB_TEST_SYSTEM=1` the peers run too, and the
//! table says who passes what. `LB_CONFORMANCE=TEXT` runs the cases whose rule or name contains the text.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/frames.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod frames;
#[path = "../common/hanging.rs"]
mod hanging;
#[path = "../common/hpack.rs"]
mod hpack;

mod answers;
mod backend;
mod careless;
mod case;
mod chunks;
mod client;
mod fields;
mod forwarded;
mod framing;
mod limits;
mod messages;
mod noise;
mod order;
mod outcome;
mod report;
mod rules;
mod run;
mod start;
mod streams;
mod subject;
mod syntax;
mod target;
mod time;
mod truncation;
mod two;
mod upgrade;
mod wire;

use case::{Case, Protocol, Side};
use subject::{Kind, Profile};

/// All cases, theme by theme.
fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for theme in [
        framing::cases,
        syntax::cases,
        chunks::cases,
        start::cases,
        truncation::cases,
        messages::cases,
        order::cases,
        target::cases,
        fields::cases,
        forwarded::cases,
        limits::cases,
        upgrade::cases,
        time::cases,
        two::heads::cases,
        two::bodies::cases,
        two::connections::cases,
        answers::heads::cases,
        answers::fields::cases,
        answers::bodies::cases,
        answers::exchanges::cases,
        answers::connections::cases,
        answers::waits::cases,
        noise::cases,
    ] {
        theme(&mut cases);
    }
    cases
}

#[test]
fn every_cell_has_cases_or_says_why_not() {
    let holes = rules::holes(&all());
    assert!(holes.is_empty(), "{}", holes.join("\n"));
}

#[test]
fn every_case_has_a_name_of_its_own() {
    let mut names: Vec<String> = all().iter().map(Case::title).collect();
    names.sort();
    for pair in names.windows(2) {
        assert_ne!(pair[0], pair[1]);
    }
}

#[test]
fn a_relay_of_raw_bytes_is_found_out() {
    let fails = |case: &Case| {
        let rules = ["host", "target", "connection lists"];
        let refusal = ["refused", "invalid", "twice"];
        rules.contains(&case.rule)
            && case.side == Side::Client
            && refusal.iter().any(|word| case.name.starts_with(word))
            && !case.name.contains("unchanged")
    };
    let cases: Vec<Case> = all().into_iter().filter(fails).collect();
    assert!(cases.len() > 80, "{} cases", cases.len());

    let verdicts = run::all(Kind::Relay, &cases);

    for (case, verdict) in cases.iter().zip(verdicts) {
        assert!(verdict.is_err(), "passed: {}", case.title());
    }
}

#[test]
fn a_gateway_that_writes_down_whatever_frames_say_is_found_out() {
    let fails = |case: &Case| {
        let refusal = ["a 502:", "no length, cut by"];
        let fields = [
            "fields",
            "hop by hop",
            "length",
            "start line",
            "unasked 101",
        ];
        let frames = ["frames", "truncation", "limits", "interim"];
        case.profile == Profile::Plain
            && case.protocol(Side::Backend) == Protocol::Two
            && refusal.iter().any(|word| case.name.starts_with(word))
            && (fields.contains(&case.rule) || frames.contains(&case.rule))
    };
    let cases: Vec<Case> = all().into_iter().filter(fails).collect();
    assert!(cases.len() > 120, "{} cases", cases.len());

    let verdicts = run::all(Kind::Relay, &cases);

    for (case, verdict) in cases.iter().zip(verdicts) {
        assert!(verdict.is_err(), "passed: {}", case.title());
    }
}

#[test]
fn ours_obeys_every_rule() {
    let cases = run::chosen(all());
    let results = run::all(Kind::Ours, &cases);

    let failures = report::failures(&cases, &results);
    assert!(
        failures.is_empty(),
        "{} of {} cases fail:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}

#[test]
fn the_table_shows_who_passes_what() {
    if !common::system_tests(&["nginx", "haproxy"]) {
        return;
    }
    let cases = run::chosen(all());
    let columns: Vec<_> = Kind::ALL
        .iter()
        .map(|kind| (*kind, run::all(*kind, &cases)))
        .collect();

    report::write(&cases, &columns);
}
