//! The tables, from samples to Markdown.

use std::fmt::Write;

use crate::rows::{Bar, FLOOR, ROWS, Row, Work};
use crate::samples::{Samples, spread};

/// Idle memory per connection in kB: the bar, and the stretch.
const IDLE: (f64, f64) = (0.75, 0.66);
/// Our 99th percentile over the better peer's, at most.
const TAIL: f64 = 1.2;
/// CPU per request with two workers over that with one, at most this far from 1.
const WORKERS: f64 = 0.10;

/// All tables that have figures; `skipped` says for each row without any why it has none.
pub(crate) fn tables(samples: &Samples, skipped: &[(&str, String)]) -> String {
    let mut text = String::new();
    cpu(&mut text, samples);
    floor(&mut text, samples);
    open(&mut text, samples);
    workers(&mut text, samples);
    memory(&mut text, samples);
    for (row, why) in skipped {
        let title = ROWS
            .iter()
            .find(|known| known.key == *row)
            .map_or(*row, |row| row.title);
        let _ = writeln!(text, "\nNot measured: {title}: {why}.");
    }
    text
}

/// `1.23 [1.20..1.30]`.
fn ratio(values: &[f64]) -> String {
    match spread(values) {
        Some((middle, least, most)) => format!("{middle:.2} [{least:.2}..{most:.2}]"),
        None => "–".to_owned(),
    }
}

fn figure(values: &[f64], digits: usize) -> String {
    match spread(values) {
        Some((middle, ..)) => format!("{middle:.digits$}"),
        None => "–".to_owned(),
    }
}

fn has(samples: &Samples, row: &Row) -> bool {
    row.subjects
        .iter()
        .any(|subject| !samples.of(row.key, subject.label, "repeats").is_empty())
}

fn errors(samples: &Samples, row: &Row) -> String {
    let mut said = String::new();
    for subject in row.subjects {
        let sum: f64 = samples.of(row.key, subject.label, "errors").iter().sum();
        if sum > 0.0 {
            let _ = write!(said, " ({}: {sum} errors)", subject.label);
        }
    }
    said
}

/// Whether a measured ratio reaches bar and stretch.
fn verdict(values: &[f64], bar: f64, stretch: Option<f64>) -> &'static str {
    match (spread(values), stretch) {
        (None, _) => "–",
        (Some((middle, ..)), Some(stretch)) if middle >= stretch => "stretch",
        (Some((middle, ..)), _) if middle >= bar => "bar",
        _ => "**short**",
    }
}

fn cpu(text: &mut String, samples: &Samples) {
    let rows: Vec<&Row> = ROWS
        .iter()
        .filter(|row| {
            matches!(
                row.work,
                Work::Closed(..) | Work::Connections(..) | Work::Streams(..)
            )
        })
        .filter(|row| row.key != "workers" && has(samples, row))
        .collect();
    if rows.is_empty() {
        return;
    }
    text.push_str(
        "\n## CPU per request\n\nMicroseconds of the proxy's processes, user and system, medians; then the other's over lb's, repeat by repeat: \
         median [least..most].\n\n\
         | | repeats | lb | nginx | HAProxy | nginx ÷ lb | bar | | HAProxy ÷ lb | bar, stretch | |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let peer = |label: &str| samples.ratios(row.key, "cpu", label, "lb");
        let line = |text: &mut String, title: &str, haproxy: &str, bar: Option<Bar>| {
            let (to_nginx, to_haproxy) = (peer("nginx"), peer(haproxy));
            let [least_nginx, least_haproxy] = bar.map_or_else(Default::default, |bar| {
                let stretch = bar
                    .stretch
                    .map_or_else(String::new, |stretch| format!(", {stretch}"));
                [bar.nginx.to_string(), format!("{}{stretch}", bar.haproxy)]
            });
            let _ = writeln!(
                text,
                "| {title}{} | {} | {} | {} | {} | {} | {least_nginx} | {} | {} | {least_haproxy} | {} |",
                errors(samples, row),
                samples.of(row.key, "lb", "repeats").len(),
                figure(samples.of(row.key, "lb", "cpu"), 2),
                figure(samples.of(row.key, "nginx", "cpu"), 2),
                figure(samples.of(row.key, haproxy, "cpu"), 2),
                ratio(&to_nginx),
                bar.map_or("", |bar| verdict(&to_nginx, bar.nginx, None)),
                ratio(&to_haproxy),
                bar.map_or("", |bar| verdict(&to_haproxy, bar.haproxy, bar.stretch)),
            );
        };
        line(text, row.title, "haproxy", row.bar);
        if let Some((bar, splice)) = row.bar.and_then(|bar| Some((bar, bar.splice?))) {
            let bar = Bar {
                haproxy: splice,
                stretch: None,
                ..bar
            };
            line(
                text,
                &format!("{}, HAProxy with splice", row.title),
                "haproxy splice",
                Some(bar),
            );
        }
    }
}

/// What is left above a relay that reads nothing of what it passes on.
fn floor(text: &mut String, samples: &Samples) {
    let measured = |row: &&Row| !samples.of(row.key, FLOOR, "cpu").is_empty();
    let rows: Vec<&Row> = ROWS.iter().filter(measured).collect();
    if rows.is_empty() {
        return;
    }
    text.push_str(
        "\n## The floor\n\nA relay whose backends take turns as well, and which reads nothing of what it passes on: receive and send, twice. What nginx and \
         HAProxy cost over it is the most that a proxy with these system calls could ever reach.\n\n\
         | | relay, µs | lb ÷ relay | nginx ÷ relay | bar for lb | HAProxy ÷ relay | bar for lb |\n|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let over = |label: &str| ratio(&samples.ratios(row.key, "cpu", label, FLOOR));
        let [nginx, haproxy] = row.bar.map_or_else(Default::default, |bar| {
            [bar.nginx, bar.haproxy].map(|bar| bar.to_string())
        });
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {nginx} | {} | {haproxy} |",
            row.title,
            figure(samples.of(row.key, FLOOR, "cpu"), 2),
            over("lb"),
            over("nginx"),
            over("haproxy"),
        );
    }
}

fn open(text: &mut String, samples: &Samples) {
    for row in ROWS.iter().filter(|row| matches!(row.work, Work::Open(..))) {
        if !has(samples, row) {
            continue;
        }
        let rate = figure(samples.of(row.key, "lb", "rate"), 0);
        let _ = writeln!(
            text,
            "\n## {}: {rate}/s{}\n\nMicroseconds from the intended start to the end of the answer, medians of {} runs.\n\n\
             | | lb | nginx | HAProxy | lb ÷ the better |\n|---|---|---|---|---|",
            row.title,
            errors(samples, row),
            samples.of(row.key, "lb", "repeats").len(),
        );
        for (name, key) in [("p50", "p50"), ("p99", "p99"), ("p99.9", "p999")] {
            let middle = |label| spread(samples.of(row.key, label, key)).map(|(middle, ..)| middle);
            let better = [middle("nginx"), middle("haproxy")]
                .into_iter()
                .flatten()
                .reduce(f64::min);
            let ratio = middle("lb").zip(better).map(|(lb, better)| lb / better);
            let judged = match (ratio, key) {
                (Some(ratio), "p99") if ratio <= TAIL => {
                    format!("{ratio:.2} (at most {TAIL}: bar)")
                }
                (Some(ratio), "p99") => format!("{ratio:.2} (at most {TAIL}: **short**)"),
                (Some(ratio), _) => format!("{ratio:.2}"),
                (None, _) => "–".to_owned(),
            };
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {} | {judged} |",
                figure(samples.of(row.key, "lb", key), 0),
                figure(samples.of(row.key, "nginx", key), 0),
                figure(samples.of(row.key, "haproxy", key), 0),
            );
        }
    }
}

fn workers(text: &mut String, samples: &Samples) {
    let Some(row) = ROWS
        .iter()
        .find(|row| row.key == "workers" && has(samples, row))
    else {
        return;
    };
    let _ = writeln!(
        text,
        "\n## {}{}\n\nCPU µs per request: one worker on one core, two on two. On a machine of two cores, load and backends share both with \
         two workers, and have one to themselves with one.\n\n\
         | | one | two | two ÷ one | requests/s, one | two |\n|---|---|---|---|---|---|",
        row.title,
        errors(samples, row),
    );
    for pair in row.subjects.chunks(2) {
        let [one, two] = [pair[0].label, pair[1].label];
        let ratios = samples.ratios(row.key, "cpu", two, one);
        let judged = match (spread(&ratios), one) {
            (Some((middle, ..)), "lb") if middle <= 1.0 + WORKERS => " (within 10 %: bar)",
            (Some(_), "lb") => " (within 10 %: **short**)",
            _ => "",
        };
        let _ = writeln!(
            text,
            "| {one} | {} | {} | {}{judged} | {} | {} |",
            figure(samples.of(row.key, one, "cpu"), 2),
            figure(samples.of(row.key, two, "cpu"), 2),
            ratio(&ratios),
            figure(samples.of(row.key, one, "rps"), 0),
            figure(samples.of(row.key, two, "rps"), 0),
        );
    }
}

fn memory(text: &mut String, samples: &Samples) {
    let rows: Vec<&Row> = ROWS
        .iter()
        .filter(|row| matches!(row.work, Work::Idle(_) | Work::Slow(_)) && has(samples, row))
        .collect();
    if rows.is_empty() {
        return;
    }
    text.push_str(
        "\n## Memory\n\nPss of the proxy's processes, medians: what the connections added in all, and each. Buffers of the kernel are not in it. Slow \
         readers take 40 kB/s.\n\n\
         | | lb | each | nginx | each | HAProxy | each | bar, stretch | |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let _ = write!(text, "| {} |", row.title);
        for subject in row.subjects {
            let _ = write!(
                text,
                " {} MiB | {} kB |",
                figure(samples.of(row.key, subject.label, "grown_mib"), 2),
                figure(samples.of(row.key, subject.label, "each_kb"), 2),
            );
        }
        let ours = spread(samples.of(row.key, "lb", "each_kb")).map(|(middle, ..)| middle);
        let (bar, stretch) = IDLE;
        let _ = match (ours, &row.work) {
            (Some(ours), Work::Idle(_)) if !row.tls => writeln!(
                text,
                " ≤ {bar}, < {stretch} kB | {} |",
                match () {
                    () if ours < stretch => "stretch",
                    () if ours <= bar => "bar",
                    () => "**short**",
                }
            ),
            _ => writeln!(text, " | |"),
        };
    }
    let _ = writeln!(
        text,
        "\nBefore any connection: {}.",
        [("lb", "lb"), ("nginx", "nginx"), ("haproxy", "HAProxy")]
            .map(|(label, name)| {
                let all: Vec<f64> = ["idle1k", "idle9k", "tlsidle1k", "slow"]
                    .iter()
                    .flat_map(|row| samples.of(row, label, "before_mib"))
                    .copied()
                    .collect();
                format!("{name} {} MiB", figure(&all, 1))
            })
            .join(", ")
    );
}
