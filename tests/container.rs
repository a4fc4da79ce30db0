//! The images of `docker/`, as real containers: a front and three web servers that nobody told of one another.
//!
//! ```text
//!  podman: front (10.99.0.1) ── web2 ── web3 ── web4        each in its image, by its own entry point, on one switch
//!            ▲ the test's clients
//! ```
//!
//! The stage that compiles needs a registry for its base, so the programs come from `target` (`cargo front`, `cargo agent`); every
//! line behind that stage is built as it stands.

#![allow(clippy::disallowed_methods, reason = "tests read the real clock")]

mod common;
#[path = "cluster/net.rs"]
#[allow(dead_code, reason = "hosts without faults need only some of it")]
mod net;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{eventually, system_tests};
use net::{Host, Network};

const LONG: Duration = Duration::from_secs(30);

/// Where `cargo front` and `cargo agent` leave them, in one piece each.
const PROGRAMS: [&str; 2] = ["target/release/lb", "target/agent/lb-agent"];

/// A store of images and containers of its own; all of it is gone when the test ends.
struct Engine {
    files: tempfile::TempDir,
}

impl Engine {
    fn new() -> Self {
        let files = tempfile::tempdir().expect("a directory");
        Self { files }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command
            .arg("--root")
            .arg(self.path("store"))
            .arg("--runroot")
            .arg(self.path("run"))
            .args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"])
            .arg("--runtime")
            .arg(common::find("runc").expect("it was looked for"))
            // What builds an image here runs nothing in it.
            .env("BUILDAH_ISOLATION", "chroot")
            .args(arguments);
        command
    }

    fn tried(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output();
        output.expect("podman runs")
    }

    /// What it prints.
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.tried(arguments);
        assert!(
            output.status.success(),
            "podman {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text")
    }

    fn build(&self, name: &str, file: &Path, more: &[&str]) {
        let (file, context) = (text(file), self.path("context"));
        let mut arguments = vec!["build", "--quiet", "--file", file, "--tag", name];
        arguments.extend(more);
        arguments.push(text(&context));
        self.run(&arguments);
    }

    /// A container on `host`, in the background.
    fn start(&self, name: &str, host: &Host, image: &str) {
        let network = format!("ns:/run/netns/{}", host.namespace());
        let mut arguments = vec!["run", "--detach", "--name", name, "--hostname", name];
        arguments.extend(["--network", &network]);
        // More than this process may have is refused, and less by default here or there.
        arguments.extend(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=512:512"]);
        arguments.push(image);
        self.run(&arguments);
    }

    /// What it has printed so far.
    fn log(&self, name: &str) -> String {
        let output = self.tried(&["logs", name]);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// SIGTERM, as `docker stop`; its exit code.
    fn stop(&self, name: &str) -> String {
        self.run(&["stop", "--time", "40", name]);
        let code = self.run(&["inspect", "--format", "{{.State.ExitCode}}", name]);
        code.trim().to_owned()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in self.run(&["ps", "--all", "--format", "{{.Names}}"]).lines() {
                eprintln!("---- {name} printed:\n{}", self.log(name));
            }
        }
        let _ = self.tried(&["rm", "--all", "--force", "--time", "0"]);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a readable path")
}

fn put(path: &Path, contents: &str) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("it can be made");
    fs::write(path, contents).expect("it can be written");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().expect("a directory")).expect("it can be made");
    fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}

/// The images `lb` and `web`.
fn build_images(engine: &Engine) {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let context = engine.path("context");

    let image = context.join("image");
    for program in PROGRAMS {
        let from = repository.join(program);
        let name = from.file_name().expect("a program");
        copy(&from, &image.join("usr/local/bin").join(name));
    }
    put(&image.join("etc/ssl/certs/ca-certificates.crt"), "");
    fs::create_dir_all(context.join("state")).expect("it can be made");
    let built = engine.path("built.Dockerfile");
    put(
        &built,
        "FROM scratch\nCOPY image /image\nCOPY state /state\n",
    );
    engine.build("localhost/built", &built, &[]);

    server_of_this_machine(&context.join("server"));
    let server = engine.path("server.Dockerfile");
    put(
        &server,
        "FROM scratch\nCOPY server /\nENV PATH=/usr/local/bin:/usr/sbin\n",
    );
    engine.build("localhost/server", &server, &[]);

    let whole = fs::read_to_string(repository.join("docker/Dockerfile")).expect("it is there");
    let compiling = whole.find("FROM ${RUST} AS build").expect("its stage");
    let behind = whole[compiling..].find("\n\n").expect("the next stage") + compiling;
    let file = engine.path("Dockerfile");
    put(
        &file,
        &format!(
            "{}FROM localhost/built AS build{}",
            &whole[..compiling],
            &whole[behind..]
        ),
    );
    engine.build("lb", &file, &[]);
    let server = ["--target", "web", "--build-arg", "SERVER=localhost/server"];
    engine.build("web", &file, &server);
}

/// nginx with the libraries that it needs; it answers with its host's name.
fn server_of_this_machine(root: &Path) {
    let nginx = common::find("nginx").expect("it was looked for");
    let needs = Command::new("ldd").arg(&nginx).output().expect("ldd runs");
    let needs = String::from_utf8(needs.stdout).expect("text");
    let libraries = needs
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(Path::new);
    for library in libraries {
        copy(
            library,
            &root.join(library.strip_prefix("/").expect("it is whole")),
        );
    }
    copy(&nginx, &root.join("usr/sbin/nginx"));
    put(
        &root.join("etc/nginx/nginx.conf"),
        "user root; error_log stderr; pid /run/nginx.pid; events {}\n\
         http { access_log off; server { listen 80; location / { return 200 \"$hostname\\n\"; } } }\n",
    );
    put(&root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
    put(&root.join("etc/group"), "root:x:0:\n");
    for directory in ["var/log/nginx", "var/lib/nginx", "run", "tmp"] {
        fs::create_dir_all(root.join(directory)).expect("it can be made");
    }
    symlink("/run", root.join("var/run")).expect("it can be made");
}

/// It is there and needs no library, as the image has none. A plain release build of `lb` does.
fn is_in_one_piece(program: &Path) -> bool {
    let needs = Command::new("ldd").arg(program).output().expect("ldd runs");
    program.is_file() && !String::from_utf8_lossy(&needs.stdout).contains("=>")
}

/// Who answers at the front's address; `None`: nobody in time, or not with 200.
fn ask() -> Option<String> {
    let mut stream = TcpStream::connect("127.0.0.1:80").ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .ok()?;
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200 ")
        .then(|| body.trim().to_owned())
}

/// Asks all the time, until told to stop; gives how often, and how many got no answer.
fn keep_asking(host: &Host) -> impl FnOnce() -> (u32, u32) + use<> {
    let enough = Arc::new(AtomicBool::new(false));
    let seen = enough.clone();
    let asking = host.run(move || {
        let (mut asked, mut failed) = (0, 0);
        while !seen.load(Ordering::Relaxed) {
            asked += 1;
            failed += u32::from(ask().is_none());
            std::thread::sleep(Duration::from_millis(5));
        }
        (asked, failed)
    });
    move || {
        enough.store(true, Ordering::Relaxed);
        asking.join().expect("it asks")
    }
}

/// The nodes that answer ten requests in a row.
fn answering(host: &Host) -> BTreeSet<String> {
    let asking = host.run(|| (0..10).filter_map(|_| ask()).collect());
    asking.join().expect("they are asked")
}

fn rotates_among(host: &Host, names: &[&str]) {
    let wanted: BTreeSet<String> = names.iter().map(|&name| name.to_owned()).collect();
    eventually(&format!("answers from {names:?} only"), LONG, || {
        (answering(host) == wanted).then_some(())
    });
}

#[test]
fn containers_find_one_another_and_leave_without_a_lost_request() {
    if !system_tests(&["ip", "ldd", "nginx", "podman", "runc", "sysctl"]) {
        return;
    }
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = |program: &&str| is_in_one_piece(&repository.join(program));
    if !PROGRAMS.iter().all(built) {
        common::lacks("`cargo front` and `cargo agent`");
        return;
    }
    let network = Network::new(4);
    let engine = Engine::new();
    build_images(&engine);
    let front = network.host(0);
    // As Docker has it in the network of each container.
    let ports = front
        .command("sysctl")
        .args(["-qw", "net.ipv4.ip_unprivileged_port_start=0"])
        .status();
    assert!(ports.expect("sysctl runs").success());

    engine.start("front", &front, "lb");
    for number in 2..=4 {
        let host = network.host(number - 1);
        engine.start(&format!("web{number}"), &host, "web");
    }
    rotates_among(&front, &["web2", "web3", "web4"]);

    // The command of its health check, in the image as it is.
    let pools = engine.run(&["exec", "front", "lb", "pools"]);
    assert_eq!(pools.lines().count(), 4, "{pools}");
    let log = engine.log("front");
    assert!(!log.contains(" WARN "), "{log}");

    let done = keep_asking(&front);
    assert_eq!(engine.stop("web2"), "0", "{}", engine.log("web2"));
    rotates_among(&front, &["web3", "web4"]);
    engine.run(&["kill", "--signal", "KILL", "web3"]);
    rotates_among(&front, &["web4"]);
    engine.run(&["start", "web2", "web3"]);
    rotates_among(&front, &["web2", "web3", "web4"]);
    let (asked, failed) = done();
    println!("{asked} asked, {failed} failed");
    assert_eq!(failed, 0, "of {asked}");

    // What it knew outlives it, in its volume, whoever it runs as.
    assert_eq!(engine.stop("front"), "0");
    engine.run(&["start", "front"]);
    rotates_among(&front, &["web2", "web3", "web4"]);
    let log = engine.log("front");
    assert!(log.contains("\n  3 backends known from before"), "{log}");
}
