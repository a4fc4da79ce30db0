//! Asks a running `lb` through its admin address, and shows the answer.
//!
//! ```text
//! GET /api/v1/pools ──TCP──▶ lb ──JSON──▶ a table, or the JSON itself
//! ```
//!
//! One blocking request of HTTP/1.0, whose answer ends with the connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::{complain, exit};

/// Someone waits in front of a terminal.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Ten thousand backends fit well.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Prints what `/api/v1/WHAT` says.
pub(super) fn run(
    address: SocketAddr,
    what: &str,
    json: bool,
    show: fn(&Value) -> String,
) -> ExitCode {
    let path = format!("/api/v1/{what}");
    let body = match get(address, &path) {
        Ok((200, body)) => body,
        Ok((status, _)) => {
            complain(
                "lb",
                format_args!("http://{address}{path} answers {status}; is another program there?"),
            );
            return exit::FAILED.into();
        }
        Err(error) => {
            complain(
                "lb",
                format_args!(
                    "nobody answers at {address}: {error}; is lb running there? see --admin"
                ),
            );
            return exit::NOBODY.into();
        }
    };
    let text = match serde_json::from_str(&body) {
        Ok(_) if json => body,
        Ok(value) => show(&value),
        Err(error) => {
            complain(
                "lb",
                format_args!("http://{address}{path} answers no JSON: {error}"),
            );
            return exit::FAILED.into();
        }
    };
    // A reader that has seen enough, like head, is content.
    let _ = writeln!(io::stdout(), "{}", text.trim_end());
    ExitCode::SUCCESS
}

fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer"))?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer"))?;
    Ok((status, body.to_owned()))
}

/// A line per backend, pool by pool.
pub(super) fn pools(answer: &Value) -> String {
    let mut rows = vec![row([
        "POOL", "BACKEND", "ADDRESS", "STATE", "IN", "TIER", "WEIGHT", "ACTIVE", "SINCE", "REASON",
    ])];
    for pool in list(answer, "pools") {
        let backends = list(pool, "backends");
        if backends.is_empty() {
            rows.push(row([
                &text(pool, "name"),
                "-",
                "-",
                "-",
                "-",
                "-",
                "-",
                "-",
                "-",
                "no backend yet",
            ]));
        }
        let limit = pool["max_in_flight"].as_u64().filter(|max| *max > 0);
        for backend in backends {
            let is_in = backend["in_rotation"].as_bool().unwrap_or_default();
            rows.push(row([
                &text(pool, "name"),
                &text(backend, "node"),
                &text(backend, "address"),
                &text(backend, "state"),
                if is_in { "yes" } else { "no" },
                &tier(backend),
                &text(backend, "weight"),
                &match limit {
                    Some(max) => format!("{}/{max}", text(backend, "in_flight")),
                    None => text(backend, "in_flight"),
                },
                &text(backend, "since"),
                &text(backend, "reason"),
            ]));
        }
        let queued = pool["queued"].as_u64().unwrap_or_default();
        if queued > 0 {
            rows.push(row([
                &text(pool, "name"),
                "-",
                "-",
                "queue",
                "-",
                "-",
                "-",
                &queued.to_string(),
                "-",
                "wait, as every backend is busy",
            ]));
        }
    }
    aligned(&rows)
}

/// Where it stands on the ladder: primaries before backups, and among either the highest number first.
fn tier(backend: &Value) -> String {
    let kind = match backend["backup"] {
        Value::Bool(true) => "backup",
        _ => "primary",
    };
    match backend["tier"].as_u64() {
        None | Some(0) => kind.to_owned(),
        Some(number) => format!("{kind} {number}"),
    }
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value, key: &str) -> String {
    plain(&value[key])
}

/// Without quotes, and without what a terminal would obey: names come from the network.
fn plain(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.chars()
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect()
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).into()
}

/// Columns as wide as their widest cell, two spaces apart.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:<width$}  "))
            .collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_are_shown_one_backend_a_line() {
        let answer = serde_json::json!({"pools": [
            {"name": "web", "max_in_flight": 9, "queued": 12, "backends": [
                {"node": "web1", "address": "10.0.0.1:80", "state": "up", "in_rotation": true,
                 "reason": "check passed: 200", "weight": 3, "tier": 7, "backup": false, "since": "2026-01-02T03:04:05Z",
                 "in_flight": 7},
                {"node": "sorry", "address": "10.0.0.9:80", "state": "down", "in_rotation": false,
                 "reason": "refused", "weight": 1, "tier": 0, "backup": true, "since": "2026-01-02T03:04:05Z"}]},
            {"name": "api", "backends": []}]});

        let text = pools(&answer);

        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5);
        assert_eq!(
            lines[1],
            "web   web1     10.0.0.1:80  up     yes  primary 7  3       7/9     2026-01-02T03:04:05Z  check passed: 200"
        );
        assert!(lines[2].contains("  no   backup     1  "), "{}", lines[2]);
        assert!(
            lines[3].contains("queue  -    -          -       12 "),
            "{}",
            lines[3]
        );
        assert!(lines[4].starts_with("api   -") && lines[4].ends_with("no backend yet"));
    }
}
