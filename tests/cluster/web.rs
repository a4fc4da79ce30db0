//! A web server that is a process of its own: this test program, run again.
//!
//! Every path answers the node's name. `/slow` waits 300 ms before it does. A POST is noted in a file, one line
//! each, the moment it has been read, so that a test can see what was done twice. While a file of the notes'
//! name and `.sick` exists, the answer is 503: to checks too, unless the file says `requests`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::net::Host;

/// Environment by which this program is told to be a web server: `NAME ADDR FILE`.
const ROLE: &str = "LB_TEST_TOY_WEB";

/// The command of a web server on port 80 of `host`.
pub(crate) fn command(host: &Host, name: &str, notes: &Path) -> Command {
    let this = std::env::current_exe().expect("this program");
    let mut command = host.command(this.to_str().expect("a readable path"));
    command.args(["--exact", "web::toy_web_process", "--nocapture"]);
    let address = SocketAddr::from((host.ip, 80));
    command.env(ROLE, format!("{name} {address} {}", notes.display()));
    command
}

/// Not a test: the body of the web server's process; returns at once in a test run.
#[test]
fn toy_web_process() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let words: Vec<&str> = role.split(' ').collect();
    let (name, address, notes) = (words[0].to_owned(), words[1], PathBuf::from(words[2]));
    let listener = TcpListener::bind(address).expect("the address is free");
    for stream in listener.incoming().flatten() {
        let (name, notes) = (name.clone(), notes.clone());
        std::thread::spawn(move || serve(&stream, &name, &notes));
    }
}

fn serve(stream: &TcpStream, name: &str, notes: &PathBuf) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let mut words = line.split(' ');
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let (mut length, mut check) = (0, false);
        loop {
            line.clear();
            reader.read_line(&mut line).ok()?;
            if line == "\r\n" {
                break;
            }
            check |= line
                .to_ascii_lowercase()
                .starts_with("user-agent: lb-check");
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let sickness = std::fs::read_to_string(notes.with_extension("sick"));
        if sickness.is_ok_and(|of| of != "requests" || !check) {
            let answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
            (&mut &*stream).write_all(answer.as_bytes()).ok()?;
            continue;
        }
        if method == "POST" {
            let mut file = std::fs::File::options()
                .create(true)
                .append(true)
                .open(notes)
                .ok()?;
            file.write_all(format!("{}\n", String::from_utf8_lossy(&body)).as_bytes())
                .ok()?;
        }
        if path.starts_with("/slow") {
            std::thread::sleep(Duration::from_millis(300));
        }
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}\n",
            name.len() + 1
        );
        (&mut &*stream).write_all(answer.as_bytes()).ok()?;
    }
}
