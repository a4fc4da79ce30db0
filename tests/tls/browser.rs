//! A browser that people use, on a page of many parts.
//!
//! ```text
//! chromium ─TLS, HTTP/2─▶ lb ─▶ Toy: / ─▶ /style.css /script.js /1.svg … /6.svg      access log: 2.0, each of them
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::DEADLINE;
use crate::authority::Authority;
use crate::common::{Running, eventually, find, system_tests};
use crate::peer::Peer;
use crate::run::Site;
use crate::toy::{Then, Toy};

/// A browser takes a second, and many on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(90);

const PICTURES: usize = 6;

const STYLE: &str = "#said { color: rgb(1, 2, 3) }";

/// Once all parts are there it writes down what they are.
const SCRIPT: &str = r#"
addEventListener("load", () => {
  const said = document.getElementById("said");
  const widths = [...document.images].map((image) => image.naturalWidth);
  said.textContent = "script ran: " + getComputedStyle(said).color + " " + widths.join(" ");
});
"#;

/// What the page is made of: type and text by path.
fn part(path: &str) -> Option<(&'static str, String)> {
    let number = |path: &str| -> Option<usize> {
        let number = path.strip_prefix('/')?.strip_suffix(".svg")?;
        number.parse().ok()
    };
    Some(match path {
        "/" => {
            let pictures: String = (1..=PICTURES)
                .map(|number| format!("<img src=\"/{number}.svg\">"))
                .collect();
            let page = format!(
                "<!doctype html><title>page</title><link rel=\"stylesheet\" href=\"/style.css\">\
                 <script src=\"/script.js\"></script><p id=\"said\">nothing</p>{pictures}"
            );
            ("text/html", page)
        }
        "/style.css" => ("text/css", STYLE.to_owned()),
        "/script.js" => ("text/javascript", SCRIPT.to_owned()),
        _ => {
            let width = number(path)? * 10;
            let picture = format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"9\"></svg>"
            );
            ("image/svg+xml", picture)
        }
    })
}

fn serve(start: &str, peer: &mut Peer) {
    let path = start.split(' ').nth(1).unwrap_or_default();
    let (status, (kind, text)) = match part(path) {
        Some(part) => ("200 OK", part),
        None => ("404 Not Found", ("text/plain", "none".to_owned())),
    };
    peer.try_send(format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    ));
}

/// It and all that it has started are killed with their test.
struct Browser(Running);

impl Browser {
    fn start(directory: &Path, url: &str) -> Self {
        let mut command = Command::new(find("chromium").expect("it is there"));
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--disable-breakpad",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--ignore-certificate-errors",
            // It asks nobody else for anything.
            "--no-proxy-server",
            "--host-resolver-rules=MAP a.example 127.0.67.1, MAP * ~NOTFOUND",
            "--dump-dom",
        ]);
        command.arg(format!(
            "--user-data-dir={}",
            directory.join("profile").display()
        ));
        command.arg(url).env("HOME", directory);
        Self(Running::start("chromium", directory, &mut command))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if self.0.is_running() {
            self.0.signal_all(Signal::KILL);
        }
    }
}

/// Path, status and version of each of the browser's requests in the log.
fn logged(log: &Path) -> Vec<(String, u64, String)> {
    let text = fs::read_to_string(log).unwrap_or_default();
    // The last line may be half written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let status = line["status"].as_u64().unwrap_or_default();
        let its = text("user_agent").contains("Chrome/");
        its.then(|| (text("target"), status, text("version")))
    });
    lines.collect()
}

#[test]
fn chromium_loads_a_page_and_all_its_parts_over_http_2() {
    if !system_tests(&["chromium"]) {
        return;
    }
    let authority = Authority::new();
    let toy = Toy::scripted(|request, _, peer| {
        serve(request.start(), peer);
        Then::Keep
    });
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("access.log");
    let more = format!("[log]\naccess = \"{}\"", log.display());
    let site = Site::new(&authority, toy.address, &more);
    site.write(&authority.issue("a", &["a.example"]));
    let _front = site.start(directory.path());
    eventually("it serves", DEADLINE, || {
        site.shown(&authority, "a.example")
    });

    let url = format!("https://a.example:{}/", site.https.port());
    let mut browser = Browser::start(directory.path(), &url);
    let ended = browser.0.wait(PATIENCE);

    let output = browser.0.output();
    assert!(ended.success(), "{ended}: {output}");
    let widths: Vec<String> = (1..=PICTURES).map(|one| (one * 10).to_string()).collect();
    let said = format!("script ran: rgb(1, 2, 3) {}", widths.join(" "));
    assert!(output.contains(&said), "{said}:\n{output}");

    let pictures = (1..=PICTURES).map(|number| format!("/{number}.svg"));
    let mut parts: BTreeSet<String> = pictures.collect();
    parts.extend(["/", "/style.css", "/script.js"].map(str::to_owned));
    let lines = eventually("all of them are in the log", DEADLINE, || {
        let lines = logged(&log);
        let targets = lines.iter().map(|(target, ..)| target);
        parts
            .is_subset(&targets.cloned().collect())
            .then_some(lines)
    });
    for (target, status, version) in &lines {
        assert_eq!(version, "2.0", "{lines:?}");
        if parts.contains(target) {
            assert_eq!(*status, 200, "{lines:?}");
        }
    }
    println!(
        "chromium: {} requests, all of them over HTTP/2",
        lines.len()
    );
}
