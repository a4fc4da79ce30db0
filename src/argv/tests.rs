//! A small table, and everything that can be written for it.

use super::help::Page;
use super::*;

table! {
    /// Something of everything.
    struct Small {
        /// Its name
        name: String => "<NAME>",
        /// What it carries
        payload: Option<String> => "[PAYLOAD]" [raw],
        /// Where
        bind: Option<String> => "--bind <IP[:PORT]>" under "Gossip",
        /// Whom (repeatable)
        join: Vec<String> => "--join <HOST>" under "Gossip",
        /// How many
        count: u8 => "--count <N>" or "3",
        /// If only there is none
        backup: Option<String> => "--backup[=<BOOL>]",
        /// As JSON
        json: bool => "--json",
        /// Not for everybody
        secret: Option<String> => "--secret <SECRET>" [hidden],
        with inner: Inner,
    }
}

table! {
    /// What others have too.
    struct Inner {
        /// More words
        quietly: bool => "--quietly",
    }
}

fn filled(words: &[&str]) -> Result<Small, Stop> {
    let mut small = Small::default();
    read(&mut small, words.iter().map(Into::into).collect()).map(|()| small)
}

fn wrong(words: &[&str]) -> String {
    match filled(words) {
        Err(Stop::Wrong(wrong)) => wrong.to_string(),
        other => panic!("{words:?} came to {other:?}"),
    }
}

#[test]
fn flags_have_one_dash_or_two_and_values_behind_a_space_or_a_sign() {
    let expected = Small {
        name: "x".to_owned(),
        bind: Some("1.2.3.4".to_owned()),
        join: vec!["a".to_owned(), "b".to_owned()],
        count: 7,
        ..Small::default()
    };

    for words in [
        "x --bind 1.2.3.4 --join a --join b --count 7",
        "--bind=1.2.3.4 x --join=a --join=b --count=7",
        "-bind=1.2.3.4 -join a -join=b -count 7 x",
        "-bind 1.2.3.4 -join a -join=b -count 7 -- x",
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        assert_eq!(filled(&words).as_ref(), Ok(&expected), "{words:?}");
    }
}

#[test]
fn a_switch_is_off_until_it_is_given_and_may_say_so() {
    let json = |words: &[&str]| filled(words).map(|small| small.json);

    assert_eq!(json(&["x"]), Ok(false));
    assert_eq!(json(&["x", "--json"]), Ok(true));
    assert_eq!(json(&["x", "-json=true"]), Ok(true));
    assert_eq!(json(&["x", "-json=false"]), Ok(false));
    assert_eq!(
        filled(&["--quietly", "x"]).map(|small| small.inner.quietly),
        Ok(true)
    );
}

#[test]
fn a_value_that_may_be_missing_is_attached() {
    let backup = |words: &[&str]| {
        let small = filled(words).expect("it is right");
        (small.backup, small.name)
    };
    let said = |text: &str| Some(text.to_owned());

    assert_eq!(backup(&["--backup", "x"]), (said("true"), "x".to_owned()));
    assert_eq!(backup(&["--backup=no", "x"]), (said("no"), "x".to_owned()));
    assert_eq!(backup(&["--backup=", "x"]), (said(""), "x".to_owned()));
}

#[test]
fn what_is_not_given_has_its_default() {
    assert_eq!(filled(&["x"]).map(|small| small.count), Ok(3));
}

#[test]
fn only_what_may_begin_with_a_dash_does() {
    let payload = |words: &[&str]| filled(words).map(|small| small.payload);
    let said = |text: &str| Ok(Some(text.to_owned()));

    assert_eq!(payload(&["x", "-not-a-flag"]), said("-not-a-flag"));
    assert_eq!(payload(&["x", "--not=a-flag"]), said("--not=a-flag"));
    assert_eq!(payload(&["x", "--", "--json"]), said("--json"));
    assert_eq!(payload(&["x", "-"]), said("-"));
    assert_eq!(payload(&["x", "-1"]), said("-1"));
    assert_eq!(payload(&["x", ""]), said(""));
    assert_eq!(wrong(&["-not-a-flag"]), "-not-a-flag: unknown flag");
    assert_eq!(
        wrong(&["x", "y", "--not-a-flag"]),
        "--not-a-flag: unknown flag"
    );
}

#[test]
fn what_is_wrong_is_said_with_what_is_right() {
    for (words, expected) in [
        (&[][..], "<NAME>: is missing"),
        (&["--json"], "<NAME>: is missing"),
        (&["x", "y", "z"], "z: unexpected argument"),
        (
            &["x", "y", "--jsno"],
            "--jsno: unknown flag; did you mean --json?",
        ),
        (
            &["x", "y", "-bnid=z"],
            "-bnid: unknown flag; did you mean --bind?",
        ),
        (&["x", "y", "--fine"], "--fine: unknown flag"),
        // What is hidden is not suggested.
        (&["x", "y", "--secrte"], "--secrte: unknown flag"),
        (&["x", "--bind"], "--bind <IP[:PORT]>: a value is missing"),
        (
            &["x", "--bind", "--json"],
            "--bind <IP[:PORT]>: a value is missing",
        ),
        (
            &["x", "--bind", "--", "y"],
            "--bind <IP[:PORT]>: a value is missing",
        ),
        (
            &["x", "--bind", "1", "--bind", "2"],
            "--bind <IP[:PORT]>: is given twice, or beside what excludes it",
        ),
        (
            &["x", "--json", "--json"],
            "--json: is given twice, or beside what excludes it",
        ),
        (
            &["x", "--count", "-1"],
            "invalid value '-1' for '--count <N>': invalid digit found in string",
        ),
        (
            &["x", "--count=256"],
            "invalid value '256' for '--count <N>': number too large to fit in target type",
        ),
        (
            &["x", "--json=perhaps"],
            "invalid value 'perhaps' for '--json': is neither true nor false",
        ),
    ] {
        assert_eq!(wrong(words), expected, "{words:?}");
    }
}

#[test]
fn bytes_that_are_no_text_are_refused_and_shown_as_far_as_they_are() {
    use std::os::unix::ffi::OsStringExt;
    let word = std::ffi::OsString::from_vec(b"--bind=\xff".to_vec());

    let stop = read(&mut Small::default(), vec!["x".into(), word]);

    let Err(Stop::Wrong(wrong)) = stop else {
        panic!("{stop:?}");
    };
    assert_eq!(
        wrong.to_string(),
        "invalid value '\u{fffd}' for '--bind <IP[:PORT]>': is not UTF-8 text"
    );
}

#[test]
fn help_and_version_are_wanted_wherever_they_stand() {
    assert_eq!(filled(&["-h"]), Err(Stop::Help { long: false }));
    assert_eq!(filled(&["--help"]), Err(Stop::Help { long: true }));
    assert_eq!(filled(&["x", "y", "-help"]), Err(Stop::Help { long: true }));
    assert_eq!(filled(&["--version"]), Err(Stop::Version));
    assert_eq!(filled(&["-V"]), Err(Stop::Version));
}

#[test]
fn help_shows_every_row_that_is_not_hidden() {
    let page = Page {
        command: "small",
        about: "Shows a table.\n\nAt length.",
        verbs: &[],
        note: &|row| {
            row.flag()
                .map_or_else(String::new, |flag| format!(" [{flag}]"))
        },
        behind: "Examples: none",
    };

    let short = help::text(&page, &mut Small::default(), false);
    let long = help::text(&page, &mut Small::default(), true);

    assert_eq!(
        short,
        "Shows a table

Usage: small [OPTIONS] <NAME> [PAYLOAD]

Arguments:
  <NAME>     Its name
  [PAYLOAD]  What it carries

Options:
      --count <N>        How many [default: 3] [count]
      --backup[=<BOOL>]  If only there is none [backup]
      --json             As JSON [json]
      --quietly          More words [quietly]
  -h, --help             Print help (a summary with -h)

Gossip:
      --bind <IP[:PORT]>  Where [bind]
      --join <HOST>       Whom (repeatable) [join]

Examples: none
"
    );
    assert!(long.starts_with("Shows a table.\n\nAt length.\n\nUsage: "));
}
