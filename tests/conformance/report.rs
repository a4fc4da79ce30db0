//! The table: rules × cells × subjects.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::case::{CELLS, Case, Side, Version};
use crate::rules::{RULES, Rule};
use crate::run::Verdict;
use crate::subject::Kind;

/// One line per case that fails.
pub(crate) fn failures(cases: &[Case], verdicts: &[Verdict]) -> Vec<String> {
    let judged = cases.iter().zip(verdicts);
    judged
        .filter_map(|(case, verdict)| {
            let why = verdict.as_ref().err()?;
            Some(format!("{}: {why}", case.title()))
        })
        .collect()
}

/// Prints the table and keeps it, with every failure behind it, in `conformance.md` beside the tests' other files.
pub(crate) fn write(cases: &[Case], columns: &[(Kind, Vec<Verdict>)]) {
    let mut text = table(cases, columns);
    text.push_str("\nTo backends that speak HTTP/2, nginx is configured with `grpc_pass`, which takes any request: it has no other way.\n");
    let beaten = beaten(cases, columns);
    let _ = writeln!(
        text,
        "\n### Where a peer passes and ours does not: {}\n",
        beaten.len()
    );
    for line in &beaten {
        let _ = writeln!(text, "- {line}");
    }
    for (kind, verdicts) in columns {
        let _ = writeln!(text, "\n### What {} fails\n", kind.name());
        for line in failures(cases, verdicts) {
            let _ = writeln!(text, "- {line}");
        }
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance.md");
    fs::write(&file, &text).expect("the table can be written");
    println!("{text}\nkept in {}", file.display());
}

/// Cases that a peer, but not the first column, passes.
fn beaten(cases: &[Case], columns: &[(Kind, Vec<Verdict>)]) -> Vec<String> {
    let Some(((_, ours), peers)) = columns.split_first() else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let better: Vec<&str> = peers
            .iter()
            .filter(|(_, verdicts)| ours[index].is_err() && verdicts[index].is_ok())
            .map(|(kind, _)| kind.name())
            .collect();
        if !better.is_empty() {
            lines.push(format!("{} ({})", case.title(), better.join(", ")));
        }
    }
    lines
}

fn table(cases: &[Case], columns: &[(Kind, Vec<Verdict>)]) -> String {
    let mut text = "| rule | source | of |".to_owned();
    for (kind, _) in columns {
        let _ = write!(text, " {} |", kind.name());
    }
    let _ = writeln!(text, "\n|---|---|---|{}", "---|".repeat(columns.len()));
    for rule in RULES {
        for (side, version) in CELLS {
            row(&mut text, rule, side, version, cases, columns);
        }
    }
    let _ = write!(text, "| **all** | | |");
    for (_, verdicts) in columns {
        let passed = verdicts.iter().filter(|verdict| verdict.is_ok()).count();
        let _ = write!(text, " **{passed}/{}** |", verdicts.len());
    }
    text.push('\n');
    text
}

fn row(
    text: &mut String,
    rule: &Rule,
    side: Side,
    version: Version,
    cases: &[Case],
    columns: &[(Kind, Vec<Verdict>)],
) {
    let here = |case: &Case| case.rule == rule.id && case.side == side && case.version == version;
    let sections: BTreeMap<&str, ()> = cases
        .iter()
        .filter(|case| here(case))
        .map(|case| (case.section, ()))
        .collect();
    let sections: Vec<&str> = sections.into_keys().collect();
    let _ = write!(
        text,
        "| {} | {} | {side:?} {version} |",
        rule.says,
        sections.join(", ")
    );
    if let Some(why) = rule.why_empty(side, version) {
        let _ = writeln!(text, " – {why} |{}", " |".repeat(columns.len() - 1));
        return;
    }
    for (_, verdicts) in columns {
        let judged: Vec<&Verdict> = cases
            .iter()
            .zip(verdicts)
            .filter(|(case, _)| here(case))
            .map(|(_, verdict)| verdict)
            .collect();
        let passed = judged.iter().filter(|verdict| verdict.is_ok()).count();
        let _ = match passed == judged.len() {
            true => write!(text, " {passed} |"),
            false => write!(text, " **{passed}/{}** |", judged.len()),
        };
    }
    text.push('\n');
}
