//! Under a service manager: what it is told, and sockets that it opened.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::common::{Running, system_tests};
use crate::load::Load;
use crate::rig::{LONG, World};

/// The manager's side of `sd_notify`.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    fn new(world: &World) -> Self {
        let socket = UnixDatagram::bind(world.path("notify")).expect("a socket");
        socket.set_read_timeout(Some(LONG)).unwrap();
        Self { socket }
    }

    /// The next message that begins so; others but the watchdog's are a failure.
    fn hears(&self, begins: &str) -> String {
        loop {
            let mut bytes = [0; 1024];
            let length = self
                .socket
                .recv(&mut bytes)
                .unwrap_or_else(|error| panic!("{begins}: {error}"));
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if text.starts_with(begins) {
                return text;
            }
            assert_eq!(text, "WATCHDOG=1", "instead of {begins}");
        }
    }
}

#[test]
fn it_is_told_of_every_turn() {
    let world = World::new();
    world.configure(1, "drain = \"20s\"", "");
    let program = world.install();
    let manager = Manager::new(&world);
    let mut command = world.command(&program);
    command.env("NOTIFY_SOCKET", world.path("notify"));
    command.env("WATCHDOG_USEC", "200000");
    let mut front = world.front_by(&mut command);

    assert!(
        manager
            .hears("READY=1")
            .contains("STATUS=serving 1 address")
    );
    manager.hears("WATCHDOG=1");

    front.signal(Signal::HUP);
    let reloading = manager.hears("RELOADING=1\nMONOTONIC_USEC=");
    let stamp = reloading
        .split("USEC=")
        .nth(1)
        .and_then(|rest| rest.lines().next());
    assert!(
        stamp.is_some_and(|stamp| stamp.parse::<u64>().is_ok()),
        "{reloading}"
    );
    assert!(manager.hears("READY=1").contains("STATUS=reloaded"));

    let old = front.upgrade(&[]);
    assert_eq!(
        manager.hears("MAINPID="),
        format!("MAINPID={}", front.pid())
    );
    manager.hears("READY=1");
    assert_eq!(front.ended(old), 0);
    // The new one is the service: it is watched, and its end is the end.
    manager.hears("WATCHDOG=1");
    assert_eq!(front.stop(), 0);
    manager.hears("STOPPING=1");
}

/// Starts the front with `listener` as descriptor 3, named `name`, as a manager does.
fn activated(world: &World, program: &Path, listener: TcpListener, name: &str) -> Command {
    let mut command = World::clean(Path::new("/bin/sh"));
    command.arg("-c");
    command
        .arg("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=$NAME exec \"$0\" \"$@\" 3<&0 </dev/null");
    command.env("NAME", name).arg(program);
    command.arg("--config").arg(world.path("lb.toml"));
    command.stdin(Stdio::from(OwnedFd::from(listener)));
    command
}

#[test]
fn its_sockets_are_used_and_handed_on() {
    for name in ["web", "lb.socket"] {
        let world = World::new();
        world.configure(2, "drain = \"20s\"", "");
        let program = world.install();
        let listener = TcpListener::bind(world.vip()).unwrap();
        // Whoever came before we run is served as well.
        let early = std::thread::spawn({
            let vip = world.vip();
            move || crate::rig::get(vip, "/early")
        });
        let mut front = world.front_given(&mut activated(&world, &program, listener, name));
        let _agent = world.agent(1);
        front.until_in(1);
        // It was held until there was a verdict, or told that there is nobody.
        assert!(early.join().unwrap().is_some());
        let load = Load::start(world.vip());
        load.flows(1);

        let old = front.upgrade(&[]);

        load.flows(1);
        load.end();
        assert_eq!(front.ended(old), 0);
    }
}

#[test]
fn a_socket_that_no_listener_wants_is_refused_at_the_start() {
    let world = World::new();
    world.configure(1, "", "");
    let program = world.install();
    let listener = TcpListener::bind(world.address(7, 18081)).unwrap();
    let mut command = activated(&world, &program, listener, "stray");

    let mut process = Running::start_given("stray", world.files.path(), &mut command);

    assert_eq!(process.wait(Duration::from_secs(60)).code(), Some(2));
    let output = process.output();
    assert!(
        output.contains("belongs to no listener") && output.contains("\"stray\""),
        "{output}"
    );
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    if !system_tests(&["systemd-analyze"]) {
        return;
    }
    let world = World::new();
    let mut command = Command::new("systemd-analyze");
    command.arg("verify");
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for name in ["lb.service", "lb-agent.service", "lb.socket"] {
        let text = std::fs::read_to_string(samples.join(name)).expect("a sample");
        // It looks for the programs.
        let text = text.replace("/usr/bin/lb-agent", env!("CARGO_BIN_EXE_lb-agent"));
        let text = text.replace("/usr/bin/lb ", concat!(env!("CARGO_BIN_EXE_lb"), " "));
        std::fs::write(world.path(name), text).unwrap();
        command.arg(world.path(name));
    }

    let output = command.output().expect("it runs");

    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !said.contains(world.files.path().to_str().unwrap()),
        "{said}"
    );
}
