//! A real database in two copies: when the first dies, new connections go to the second.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::common::{Running, eventually, find, system_tests};
use crate::rig::{Lb, free_address, listens};

/// The interval of checks, which a failover may take at most.
const INTERVAL: Duration = Duration::from_secs(1);

const LONG: Duration = Duration::from_secs(30);

struct Redis {
    running: Running,
    address: SocketAddr,
}

impl Redis {
    fn start(name: &str, files: &Path, address: SocketAddr, of: Option<SocketAddr>) -> Self {
        let mut command = Command::new(find("redis-server").expect("Redis is there"));
        let (ip, port) = (address.ip().to_string(), address.port().to_string());
        command.args(["--bind", &ip, "--port", &port]);
        command.args(["--save", "", "--appendonly", "no", "--protected-mode", "no"]);
        command.arg("--dir").arg(files);
        command.args(["--dbfilename", &format!("{name}.rdb")]);
        if let Some(of) = of {
            let (ip, port) = (of.ip().to_string(), of.port().to_string());
            command.args(["--replicaof", &ip, &port]);
        }
        let running = Running::start(name, files, &mut command);
        listens(address);
        Self { running, address }
    }
}

/// One connection of a client.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(LONG)).ok()?;
        Some(Self(BufReader::new(stream)))
    }

    /// The answer to one command: a line, or the text that it announces; of an array the last element.
    fn ask(&mut self, command: &str) -> Option<String> {
        self.0
            .get_mut()
            .write_all(format!("{command}\r\n").as_bytes())
            .ok()?;
        self.answer()
    }

    fn answer(&mut self) -> Option<String> {
        let line = self.line()?;
        match line.split_at_checked(1)? {
            ("$", "-1") => Some(String::new()),
            ("$", _) => self.line(),
            ("*", count) => (0..count.parse().ok()?).map(|_| self.answer()).last()?,
            (_, rest) => Some(rest.to_owned()),
        }
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let bytes = self.0.read_line(&mut line).ok()?;
        (bytes > 0).then(|| line.trim_end().to_owned())
    }
}

/// Which of them a new connection reaches; `None` where it reaches nobody.
fn reaches(front: SocketAddr) -> Option<u16> {
    let port = Client::connect(front)?.ask("CONFIG GET port")?;
    port.parse().ok()
}

/// How long it takes until the standby answers a new connection: the first one, as whoever is refused moves on by itself.
fn time_to(lb: &Lb, standby: &Redis) -> Duration {
    let killed = lb::clock::now();
    assert_eq!(reaches(lb.front), Some(standby.address.port()));
    let took = killed.elapsed();
    println!("primary killed: the first new connection is answered by the standby after {took:?}");
    took
}

#[test]
fn new_connections_go_to_the_standby_when_the_primary_is_killed() {
    if !system_tests(&["redis-server"]) {
        return;
    }
    let files = tempfile::tempdir().expect("a directory");
    let mut primary = Redis::start("primary", files.path(), free_address(), None);
    let at = primary.address;
    let standby = Redis::start("standby", files.path(), free_address(), Some(at));
    let lb = Lb::start(
        files.path(),
        "mode = \"tcp\"",
        "interval = \"1s\"",
        &format!(
            "[[cluster.pool.backend]]\naddress = \"{at}\"\ntier = 1\n\
             [[cluster.pool.backend]]\naddress = \"{}\"\n",
            standby.address
        ),
    );
    lb.has_in(2);
    for _ in 0..5 {
        assert_eq!(reaches(lb.front), Some(at.port()));
    }
    let mut old = Client::connect(lb.front).expect("it listens");
    assert_eq!(old.ask("SET answer 42").as_deref(), Some("OK"));
    eventually("the standby has a copy", LONG, || {
        (Client::connect(standby.address)?.ask("GET answer")? == "42").then_some(())
    });

    primary.running.kill();
    let mut times = vec![time_to(&lb, &standby)];
    for _ in 0..20 {
        let mut client = Client::connect(lb.front).expect("it listens");
        assert_eq!(client.ask("GET answer").as_deref(), Some("42"));
    }
    // A client is told that its connection is of no more use, rather than left to wait.
    assert_eq!(old.ask("GET answer"), None);

    // Once within the interval is enough: this machine may pause.
    for _ in 0..5 {
        let mut primary = Redis::start("primary", files.path(), at, None);
        let back = lb::clock::now();
        eventually("the primary is back in its place", LONG, || {
            (reaches(lb.front)? == at.port()).then_some(())
        });
        let took = back.elapsed();
        println!("primary started: new connections reach it after {took:?}");
        if times.iter().any(|time| *time < INTERVAL) {
            break;
        }
        primary.running.kill();
        times.push(time_to(&lb, &standby));
    }
    assert!(times.iter().any(|time| *time < INTERVAL), "{times:?}");
}

/// Of a hundred clients that come one after the other while the primary dies, none is refused.
#[test]
fn no_new_connection_is_lost_while_the_primary_dies() {
    if !system_tests(&["redis-server"]) {
        return;
    }
    let files = tempfile::tempdir().expect("a directory");
    let mut primary = Redis::start("primary", files.path(), free_address(), None);
    let at = primary.address;
    let standby = Redis::start("standby", files.path(), free_address(), Some(at));
    let lb = Lb::start(
        files.path(),
        "mode = \"tcp\"",
        "",
        &format!(
            "[[cluster.pool.backend]]\naddress = \"{at}\"\ntier = 1\n\
             [[cluster.pool.backend]]\naddress = \"{}\"\n",
            standby.address
        ),
    );
    lb.has_in(2);
    primary.running.kill();

    let answered = (0..100).filter_map(|_| reaches(lb.front)).count();

    assert_eq!(answered, 100);
}
