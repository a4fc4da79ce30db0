//! `lb` in front of gRPC servers of grpcio, and clients of it.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::common::{Running, eventually, find, lacks, system_tests};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A Python that has grpcio and its health service: the one that `.ci/run` makes, else the system's.
pub(crate) fn python() -> Option<PathBuf> {
    if !system_tests(&["python3"]) {
        return None;
    }
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/grpcio/bin/python3");
    let able = [Some(own), find("python3")]
        .into_iter()
        .flatten()
        .find(|python| {
            let asked = Command::new(python)
                .args(["-c", "import grpc, grpc_health.v1.health"])
                .output();
            asked.is_ok_and(|asked| asked.status.success())
        });
    if able.is_none() {
        lacks("Python's grpcio and grpcio-health-checking (see .ci/run)");
    }
    able
}

/// On a network of loopback that no other test uses.
fn free_address() -> SocketAddr {
    crate::common::free_address([127, 0, 66, 1])
}

/// The programs and their files; all gone at the end.
pub(crate) struct Rig {
    python: PathBuf,
    servers: Vec<(SocketAddr, Running)>,
    lb: Option<Running>,
    pub front: SocketAddr,
    pub admin: SocketAddr,
    files: tempfile::TempDir,
    /// Servers speak TLS.
    secure: bool,
}

impl Rig {
    /// Servers of these names, not yet in front of anything.
    pub(crate) fn servers(python: PathBuf, names: &[&str]) -> Self {
        Self::of(python, names, false)
    }

    /// The same, within TLS.
    pub(crate) fn secure(python: PathBuf, names: &[&str]) -> Self {
        Self::of(python, names, true)
    }

    fn of(python: PathBuf, names: &[&str], secure: bool) -> Self {
        let mut rig = Self {
            secure,
            python,
            servers: Vec::new(),
            lb: None,
            front: free_address(),
            admin: free_address(),
            files: tempfile::tempdir().expect("a directory"),
        };
        if secure {
            let made = rcgen::generate_simple_self_signed(["calls.test".to_owned()]);
            let made = made.expect("a certificate");
            let write = |name, text: String| fs::write(rig.files.path().join(name), text);
            write("cert.pem", made.cert.pem()).expect("a writable directory");
            write("key.pem", made.signing_key.serialize_pem()).expect("a writable directory");
        }
        for name in names {
            rig.serve(name);
        }
        for (address, _) in &rig.servers {
            eventually("a server listens", PATIENCE, || {
                TcpStream::connect(address).ok()
            });
        }
        rig
    }

    fn serve(&mut self, name: &str) {
        let address = free_address();
        let mut command = Command::new(&self.python);
        command
            .arg(source("server.py"))
            .arg(address.to_string())
            .arg(name)
            .arg(self.notes());
        if self.secure {
            let files = self.files.path();
            command.args([files.join("key.pem"), files.join("cert.pem")]);
        }
        let server = Running::start(name, self.files.path(), &mut command);
        self.servers.push((address, server));
    }

    /// Starts `lb` in front of all of them, with these lines of `[timeouts]` and of `[cluster.web.check]`.
    #[must_use]
    pub(crate) fn in_front(mut self, timeouts: &str, check: &str) -> Self {
        let (front, admin, gossip) = (self.front, self.admin, free_address());
        let backends: String = self
            .servers
            .iter()
            .map(|(address, _)| format!("[[cluster.web.backend]]\naddress = \"{address}\"\n"))
            .collect();
        let spoken = match self.secure {
            false => "proto = \"h2c\"".to_owned(),
            true => format!(
                "proto = \"h2\"\ntls = {{ ca = \"{}\", server_name = \"calls.test\" }}",
                self.files.path().join("cert.pem").display()
            ),
        };
        let text = format!(
            "[gossip]\nbind = \"{gossip}\"\ndiscover = \"off\"\nnode = \"calls\"\n\
             [admin]\nlisten = \"{admin}\"\n[state]\ndir = \"none\"\n[limits]\nworkers = 2\n\
             [timeouts]\n{timeouts}\n[listener.web]\nlisten = [\"{front}\"]\n\
             [cluster.web]\n{spoken}\n[cluster.web.check]\ntimeout = \"20s\"\n{check}\n{backends}"
        );
        let config = self.files.path().join("lb.toml");
        fs::write(&config, text).expect("a writable directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_lb"));
        command.args(["--rpc-addr", "off", "--config"]).arg(config);
        self.lb = Some(Running::start("lb", self.files.path(), &mut command));
        eventually("lb listens", PATIENCE, || TcpStream::connect(front).ok());
        self
    }

    /// Runs the client against `lb`; what it printed.
    pub(crate) fn client(&self, arguments: &[&str]) -> String {
        self.ask(self.front, arguments)
    }

    /// Runs the client against one server itself.
    pub(crate) fn directly(&self, server: usize, arguments: &[&str]) -> String {
        self.ask(self.servers[server].0, arguments)
    }

    fn ask(&self, address: SocketAddr, arguments: &[&str]) -> String {
        let output = Command::new(&self.python)
            .arg(source("client.py"))
            .arg(address.to_string())
            .args(arguments)
            .env_remove("http_proxy")
            .env("no_grpc_proxy", "*")
            .output()
            .expect("the client runs");
        assert!(
            output.status.success(),
            "{arguments:?}: {}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.lb.as_ref().map(Running::output).unwrap_or_default()
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, server: usize) {
        self.servers[server].1.kill();
    }

    /// What servers noted.
    pub(crate) fn noted(&self) -> String {
        fs::read_to_string(self.notes()).unwrap_or_default()
    }

    fn notes(&self) -> PathBuf {
        self.files.path().join("notes")
    }

    /// The line of a server in `lb pools`.
    pub(crate) fn shown(&self, server: usize) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_lb"))
            .args(["pools", "--admin", &self.admin.to_string()])
            .output()
            .expect("lb runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let address = self.servers[server].0.to_string();
        let line = text.lines().find(|line| line.contains(&address));
        line.unwrap_or_default().to_owned()
    }

    /// Waits until `lb pools` says this about a server.
    pub(crate) fn says(&self, server: usize, words: &str) {
        let mut last = String::new();
        eventually(words, PATIENCE, || {
            last = self.shown(server);
            last.contains(words).then_some(())
        });
    }

    /// A series of `/metrics`.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        use std::io::{Read, Write};
        let mut stream = TcpStream::connect(self.admin).expect("the admin listens");
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.map_or(0.0, |value| value.trim().parse().expect("a number"))
    }
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/grpc")
        .join(name)
}
