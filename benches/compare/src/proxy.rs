//! The programs under comparison: configured alike, started on their cores, asked whether they do the same.
//!
//!   conf/lb.toml, conf/nginx.conf, conf/haproxy.cfg
//!        └─ fields in braces ─▶ target/run/NAME.conf ─▶ process ─▶ /echo-head ─▶ measured
//!
//! Before a proxy is measured, its backend must see the fields that all add: one that was cheaper
//! because it says less about the client would be a lie.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::failure::{During, Failure};
use crate::load::request;
use crate::wire::{Tls, Wire};

/// Which program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Program {
    Lb,
    Nginx,
    Haproxy,
    /// No proxy, but the floor of what one can cost.
    Relay,
}

/// Has this program relay: the port, the first backend's and their number follow.
pub(crate) const RELAY: &str = "--relay";

/// What all of them must tell a backend.
const FIELDS: [&str; 5] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "forwarded",
    "via",
];

/// How a program is to run.
pub(crate) struct Setup<'a> {
    pub(crate) program: Program,
    pub(crate) path: &'a Path,
    pub(crate) workers: usize,
    pub(crate) splice: bool,
    pub(crate) log: bool,
    /// Clients speak TLS.
    pub(crate) tls: Tls,
    /// First and number of the backends' ports.
    pub(crate) backends: (u16, u16),
    /// Four ports: traffic, metrics, gossip, and HTTP/2 where it needs one of its own.
    pub(crate) ports: u16,
    /// Where configurations and logs go.
    pub(crate) run: &'a Path,
}

/// A running proxy; dropped, it ends.
pub(crate) struct Running {
    child: Child,
}

impl Program {
    /// The name of the executable.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lb => "lb",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Relay => "relay",
        }
    }

    fn template(self) -> (&'static str, &'static str) {
        match self {
            Self::Lb => ("lb.toml", include_str!("../conf/lb.toml")),
            Self::Nginx => ("nginx.conf", include_str!("../conf/nginx.conf")),
            Self::Haproxy => ("haproxy.cfg", include_str!("../conf/haproxy.cfg")),
            Self::Relay => ("relay.conf", ""),
        }
    }
}

impl Setup<'_> {
    /// Writes the configuration and returns its path.
    fn configure(&self) -> Result<PathBuf, Failure> {
        let (first, count) = self.backends;
        let mut servers = String::new();
        for port in first..first + count {
            let _ = match self.program {
                Program::Lb => writeln!(
                    servers,
                    "[[cluster.web.backend]]\naddress = \"127.0.0.1:{port}\""
                ),
                Program::Nginx => writeln!(servers, "    server 127.0.0.1:{port};"),
                Program::Haproxy => writeln!(servers, "  server s{port} 127.0.0.1:{port}"),
                Program::Relay => Ok(()),
            };
        }
        let run = self.run.display();
        let (log, log_to) = match (self.program, self.log) {
            (Program::Lb, true) => (format!("access = \"{run}/lb.access.log\""), ""),
            (Program::Nginx, true) => (
                format!("access_log {run}/nginx.access.log combined buffer=64k flush=1s;"),
                "",
            ),
            (Program::Nginx, false) => ("access_log off;".to_owned(), ""),
            // Its standard output is a file.
            (Program::Haproxy, true) => {
                let line = "  log global\n  option httplog".to_owned();
                (line, "  log stdout format raw local0\n")
            }
            (_, false) | (Program::Relay, _) => (String::new(), ""),
        };
        // A spliced connection takes two descriptors more, and all that might be opened are counted at the start.
        let (splice, limits) = match self.splice {
            true => (
                "  option splice-response",
                "  maxconn 4000\n  maxpipes 2000",
            ),
            false => ("", "  maxconn 9500"),
        };
        let tls = match (self.program, &self.tls) {
            (_, None) | (Program::Relay, _) => String::new(),
            (Program::Lb, _) => {
                format!("[listener.web.tls]\ncert = \"{run}/cert.pem\"\nkey = \"{run}/key.pem\"")
            }
            (Program::Nginx, _) => " ssl".to_owned(),
            (Program::Haproxy, _) => format!(" ssl crt {run}/both.pem"),
        };
        let ssl = match (self.program, &self.tls) {
            (Program::Nginx, Some(_)) => format!(
                "ssl_certificate {run}/cert.pem;\n    ssl_certificate_key {run}/key.pem;\n    ssl_protocols TLSv1.2 TLSv1.3;\n    ssl_session_cache shared:tls:10m;"
            ),
            _ => String::new(),
        };
        let (name, template) = self.program.template();
        let fields = [
            ("{port}", self.ports.to_string()),
            ("{stats}", (self.ports + 1).to_string()),
            ("{gossip}", (self.ports + 2).to_string()),
            ("{two}", (self.ports + crate::streams::BESIDE).to_string()),
            ("{workers}", self.workers.to_string()),
            ("{run}", run.to_string()),
            ("{tls}", tls),
            ("{ssl}", ssl),
            ("{log}", log),
            ("{log_to}", log_to.to_owned()),
            ("{splice}", splice.to_owned()),
            ("{limits}", limits.to_owned()),
            ("{servers}", servers),
        ];
        let text = fields
            .iter()
            .fold(template.to_owned(), |text, (field, value)| {
                text.replace(field, value)
            });
        let path = self.run.join(name);
        fs::write(&path, text).during(format_args!("writing {}", path.display()))?;
        Ok(path)
    }

    fn command(&self, config: &Path) -> Command {
        let mut command = Command::new(self.path);
        match self.program {
            Program::Lb => command.arg("--config").arg(config),
            Program::Nginx => command.arg("-p").arg(self.run).arg("-c").arg(config),
            Program::Haproxy => command.arg("-db").arg("-f").arg(config),
            Program::Relay => {
                let (first, count) = self.backends;
                let numbers = [self.ports, first, count].map(|number| number.to_string());
                command.arg(RELAY).args(numbers)
            }
        };
        command
    }

    /// Whether this `lb` knows what the configuration asks for.
    pub(crate) fn is_understood(&self) -> Result<bool, Failure> {
        let config = self.configure()?;
        let checked = Command::new(self.path)
            .arg("check-config")
            .arg(config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .during("lb check-config")?;
        Ok(checked.success())
    }

    /// Starts it on the calling thread's cores and waits until it serves.
    ///
    /// # Errors
    /// It ends, serves nothing within ten seconds, or does not add the fields that all add.
    pub(crate) fn start(&self) -> Result<Running, Failure> {
        let name = self.program.name();
        let config = self.configure()?;
        let file = |ending: &str| {
            let path = self.run.join(format!("{name}.{ending}"));
            File::create(&path).during(format_args!("writing {}", path.display()))
        };
        let child = self
            .command(&config)
            .stdin(Stdio::null())
            .stdout(file("out")?)
            .stderr(file("err")?)
            .spawn()
            .during(format_args!("starting {}", self.path.display()))?;
        let mut running = Running { child };
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let error = match self.seen_by_backend() {
                Ok(_) if self.program == Program::Relay => return Ok(running),
                Ok(head) => return same(name, &head).map(|()| running),
                Err(error) => error,
            };
            let ended = running.child.try_wait().during(name)?;
            if ended.is_some() || Instant::now() > deadline {
                let errors = fs::read_to_string(self.run.join(format!("{name}.err")));
                let state = ended.map_or_else(|| "runs".to_owned(), |status| status.to_string());
                let errors = errors.unwrap_or_default();
                return Err(Failure(format!(
                    "{name} serves nothing ({error}; {state}): {errors}"
                )));
            }
            sleep(Duration::from_millis(50));
        }
    }

    /// The head of a request as its backend saw it.
    fn seen_by_backend(&self) -> Result<String, Failure> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.ports)).during("connecting")?;
        stream
            .set_read_timeout(Some(Duration::from_secs(2)))
            .during("connecting")?;
        let mut stream = Wire::new(stream, &self.tls);
        stream
            .write_all(&request("/echo-head", true))
            .during("asking")?;
        let mut answer = Vec::new();
        let mut chunk = [0; 4096];
        // How it ends over TLS is another matter.
        while let Ok(read @ 1..) = stream.read(&mut chunk) {
            answer.extend_from_slice(&chunk[..read]);
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
            _ => Err(Failure(format!(
                "the answer is {:?}",
                answer.lines().next()
            ))),
        }
    }
}

/// Whether a backend was told all.
fn same(name: &str, head: &str) -> Result<(), Failure> {
    let head = head.to_ascii_lowercase();
    for field in FIELDS {
        if !head
            .lines()
            .any(|line| line.starts_with(&format!("{field}: ")))
        {
            return Err(Failure(format!(
                "{name} adds no {field}; the comparison would not be fair"
            )));
        }
    }
    match head.contains("\r\nconnection: close") {
        true => Err(Failure(format!("{name} keeps no connections to backends"))),
        false => Ok(()),
    }
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + Duration::from_secs(3);
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
