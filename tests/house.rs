//! The layers, held to the code: a module imports only from lower ones.
//!
//! Reads every `crate::…` path in `src` and compares it with the table in ARCHITECTURE.md,
//! which must be the table here. A red test is mended by moving code, not by editing the table.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Layer by layer, lowest first. `gossip::core` and `gossip::driver` are rooms of their own.
const LAYERS: &[&[&str]] = &[
    &[
        "clock",
        "shutdown",
        "task",
        "log",
        "announce",
        "argv",
        "network",
        "proxy_header",
    ],
    &["gossip::core", "notify", "pool", "script", "timeline"],
    &[
        "gossip::driver",
        "handlers",
        "health",
        "rpc",
        "state",
        "tls",
    ],
    &["discovery", "proxy"],
    &["admin"],
    &["config", "membership"],
    &["agent", "front"],
    &["cli", "demo"],
];

/// Words that betray a socket, a clock or a task where only rules may live.
const IMPURE: &[&str] = &[
    "async fn",
    ".await",
    "tokio::net",
    "tokio::time",
    "tokio::spawn",
    "std::net::UdpSocket",
    "std::net::Tcp",
    "clock::now",
    "HashMap",
    "HashSet",
    "Mutex<",
];

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
        let mut entries: Vec<_> = fs::read_dir(dir)
            .expect("src is readable")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).expect("a source is text");
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    walk(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    assert!(found.len() > 20, "the sources were not found");
    found
}

/// The room of a file: `gossip::core` for `src/gossip/core/wire/packet.rs`; `None` for the map and the programs.
fn room_of(path: &Path) -> Option<String> {
    let relative = path
        .strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
        .expect("below src");
    let parts: Vec<String> = relative
        .iter()
        .map(|part| part.to_string_lossy().trim_end_matches(".rs").to_owned())
        .collect();
    match parts[0].as_str() {
        "lib" | "bin" => None,
        "gossip" if parts[1] == "mod" => None,
        "gossip" => Some(format!("gossip::{}", parts[1])),
        room => Some(room.to_owned()),
    }
}

fn layer_of(room: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&room))
}

/// Every room named by a `crate::` path of one line, `use crate::{a, b::c}` included.
fn rooms_named(line: &str) -> Vec<String> {
    let code = line.split("//").next().unwrap_or_default();
    let mut named = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let heads: Vec<String> = match rest.strip_prefix('{') {
            Some(list) => split_top(list),
            None => vec![rest.to_owned()],
        };
        for head in heads {
            named.extend(room_of_path(head.trim()));
        }
    }
    named
}

/// Splits `a, b::{c, d}, e}` at the commas outside inner braces.
fn split_top(list: &str) -> Vec<String> {
    let (mut parts, mut depth, mut part) = (Vec::new(), 0, String::new());
    for letter in list.chars() {
        match letter {
            '}' if depth == 0 => break,
            ',' if depth == 0 => parts.push(std::mem::take(&mut part)),
            _ => {
                depth += i32::from(letter == '{') - i32::from(letter == '}');
                part.push(letter);
            }
        }
    }
    parts.push(part);
    parts
}

fn room_of_path(path: &str) -> Vec<String> {
    let words: Vec<&str> = path
        .split("::")
        .map(|word| {
            word.trim()
                .trim_matches(|c: char| !c.is_alphanumeric() && c != '_')
        })
        .collect();
    match words[0] {
        "gossip" => {
            let second = path
                .strip_prefix("gossip")
                .unwrap_or_default()
                .trim_start_matches(':')
                .trim_start_matches('{');
            let second: String = second
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if second == "core" || second == "driver" {
                vec![format!("gossip::{second}")]
            } else {
                vec![]
            }
        }
        word => {
            let word: String = word
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if word.is_empty() { vec![] } else { vec![word] }
        }
    }
}

#[test]
fn every_import_points_down() {
    let mut broken = Vec::new();
    for (path, text) in sources() {
        let Some(room) = room_of(&path) else { continue };
        let Some(own) = layer_of(&room) else {
            broken.push(format!(
                "{}: room {room:?} stands on no layer",
                path.display()
            ));
            continue;
        };
        // A multi-line `use crate::{…}` is read as one line.
        let joined = text.replace("\r\n", "\n");
        for (number, line) in statements(&joined) {
            for named in rooms_named(&line) {
                if named == room {
                    continue;
                }
                match layer_of(&named) {
                    Some(other) if other < own => {}
                    Some(_) => broken.push(format!(
                        "{}:{number}: {room} imports {named}, which is not below it",
                        path.display()
                    )),
                    None => broken.push(format!(
                        "{}:{number}: {named:?} stands on no layer",
                        path.display()
                    )),
                }
            }
        }
    }
    assert!(
        broken.is_empty(),
        "the house is out of order:\n{}",
        broken.join("\n")
    );
}

/// Lines with their numbers; a `use` that spans lines comes as one.
fn statements(text: &str) -> Vec<(usize, String)> {
    let mut out: Vec<(usize, String)> = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        match open.take() {
            Some((start, mut so_far)) => {
                so_far.push_str(line.trim());
                if line.contains(';') {
                    out.push((start, so_far))
                } else {
                    open = Some((start, so_far))
                }
            }
            None if line.trim_start().starts_with("use ") && !line.contains(';') => {
                open = Some((index + 1, line.to_owned()))
            }
            None => out.push((index + 1, line.to_owned())),
        }
    }
    out
}

#[test]
fn the_cores_are_pure() {
    let mut broken = Vec::new();
    for (path, text) in sources() {
        let room = room_of(&path);
        if room.as_deref() != Some("gossip::core") {
            continue;
        }
        // Tests beside the code may read the clock: nobody replays them.
        let tests = path.file_name().is_some_and(|name| name == "tests.rs");
        let rules = text
            .lines()
            .take_while(|line| !tests && !line.starts_with("#[cfg(test)]"));
        for (number, line) in rules.enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in IMPURE.iter().filter(|word| code.contains(**word)) {
                broken.push(format!(
                    "{}:{}: {word:?} in a pure core",
                    path.display(),
                    number + 1
                ));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn architecture_shows_the_same_table() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md"))
        .expect("ARCHITECTURE.md is there");
    for (number, layer) in LAYERS.iter().enumerate() {
        let row = text
            .lines()
            .find(|line| line.starts_with(&format!("L{number} ")))
            .unwrap_or_else(|| panic!("ARCHITECTURE.md has no row L{number}"));
        for room in *layer {
            assert!(
                row.split_whitespace().any(|word| word == *room),
                "ARCHITECTURE.md, row L{number}, lacks {room}"
            );
        }
    }
}

#[test]
fn the_map_re_exports_nothing() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs"))
        .expect("lib.rs is there");

    assert!(
        !text.contains("pub use"),
        "lib.rs declares modules only, so that a path tells where a thing lives"
    );
}

#[test]
fn the_reader_of_imports_sees_what_it_should() {
    let cases: BTreeMap<&str, Vec<&str>> = BTreeMap::from([
        ("use crate::pool::spec::Spec;", vec!["pool"]),
        (
            "use crate::{admin, gossip, health};",
            vec!["admin", "health"],
        ),
        ("use crate::gossip::core::node::Node;", vec!["gossip::core"]),
        (
            "use crate::{gossip::driver::Handle, pool};",
            vec!["gossip::driver", "pool"],
        ),
        ("    let x = crate::clock::now();", vec!["clock"]),
        ("// use crate::front;", vec![]),
    ]);
    for (line, rooms) in cases {
        assert_eq!(rooms_named(line), rooms, "{line}");
    }
}
