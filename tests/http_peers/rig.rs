//! `lb` in front of one real backend.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::common::{Running, eventually, find};

const START: Duration = Duration::from_secs(20);

/// Both programs, and a directory of theirs; all gone at the end.
pub(crate) struct Rig {
    _lb: Running,
    _backend: Running,
    front: SocketAddr,
    files: tempfile::TempDir,
}

/// A file beside this one.
pub(crate) fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/http_peers")
        .join(name)
}

/// On a network of loopback that no other test uses.
fn free_address() -> SocketAddr {
    crate::common::free_address([127, 0, 65, 1])
}

impl Rig {
    /// In front of nginx, which serves [`Self::root`].
    pub(crate) fn nginx() -> Self {
        Self::new(|at, address| {
            let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .iter()
                .map(|kind| format!("{kind}_temp_path {}; ", at.join(kind).display()))
                .collect();
            let text = format!(
                "daemon off; master_process off; worker_processes 1; pid {at}/pid; error_log {at}/error.log;\n\
                 events {{ worker_connections 64; }}\n\
                 http {{ access_log off; {temporary}\n\
                 server {{ listen {address}; root {at}/root; ssi on; add_header X-Connection $connection always; }} }}\n",
                at = at.display()
            );
            let file = at.join("nginx.conf");
            fs::write(&file, text).expect("a writable directory");
            let mut command = Command::new(find("nginx").expect("nginx is there"));
            command
                .arg("-p")
                .arg(at)
                .arg("-e")
                .arg(at.join("error.log"));
            command.arg("-c").arg(file);
            command
        })
    }

    /// In front of `server.py`, which stores uploads in [`Self::root`].
    pub(crate) fn python() -> Self {
        Self::new(|at, address| {
            let mut command = Command::new(find("python3").expect("Python is there"));
            command
                .arg(source("server.py"))
                .arg(address.to_string())
                .arg(at.join("root"));
            command
        })
    }

    fn new(backend: impl FnOnce(&Path, SocketAddr) -> Command) -> Self {
        let files = tempfile::tempdir().expect("a directory");
        fs::create_dir(files.path().join("root")).expect("a directory");
        let (behind, front, gossip) = (free_address(), free_address(), free_address());
        let mut command = backend(files.path(), behind);
        let backend = Running::start("backend", files.path(), &mut command);
        listens(behind);
        let config = files.path().join("lb.toml");
        let text = format!(
            "[gossip]\nbind = \"{gossip}\"\ndiscover = \"off\"\nnode = \"peers\"\n\
             [admin]\nlisten = \"off\"\n[state]\ndir = \"none\"\n[limits]\nworkers = 1\n\
             [listener.web]\nlisten = [\"{front}\"]\n\
             [cluster.web.check]\nspec = \"none\"\n[[cluster.web.backend]]\naddress = \"{behind}\"\n"
        );
        fs::write(&config, text).expect("a writable directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_lb"));
        command.arg("--config").arg(config);
        let lb = Running::start("lb", files.path(), &mut command);
        listens(front);
        Self {
            _lb: lb,
            _backend: backend,
            front,
            files,
        }
    }

    /// Where clients go.
    pub(crate) fn front(&self) -> String {
        self.front.to_string()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.front)
    }

    /// What the backend sees.
    pub(crate) fn root(&self) -> PathBuf {
        self.at("root")
    }

    /// A file of this test.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Runs curl, which must be content; gives what it wrote.
    pub(crate) fn curl(&self, arguments: &[&str]) -> String {
        let output = run(arguments);
        assert!(
            output.status.success(),
            "curl {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs curl to whatever end.
    pub(crate) fn curl_ends(&self, arguments: &[&str]) -> String {
        String::from_utf8_lossy(&run(arguments).stdout).into_owned()
    }
}

fn run(arguments: &[&str]) -> Output {
    Command::new(find("curl").expect("curl is there"))
        .args(["-sS", "--noproxy", "*", "--max-time", "60"])
        .args(arguments)
        .output()
        .expect("curl runs")
}

fn listens(address: SocketAddr) {
    eventually("it listens", START, || TcpStream::connect(address).ok());
}
