//! Who is put to the test: the built `lb`, nginx and HAProxy, with equal features and one backend.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use lb::clock;
use tempfile::TempDir;

use crate::careless;
use crate::case::Protocol;
use crate::common::{Running, find};
use crate::run::Setup;

/// A program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `lb`.
    Ours,
    Nginx,
    Haproxy,
    /// A relay of raw bytes, or of what frames say, which obeys no rule: what it passes proves nothing.
    Relay,
}

/// How it is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Shipped defaults.
    Plain,
    /// Limits of time that a test can wait for: `SHORT` everywhere.
    Impatient,
    /// Clients are trusted proxies.
    Trusting,
    /// Impatient, before a backend that takes no connection.
    Dark,
    /// Impatient, and each case has a subject of its own: two connects that fail take a backend out.
    Fresh,
}

/// Every limit of the impatient profile.
pub(crate) const SHORT: Duration = Duration::from_millis(700);

impl Kind {
    /// Ours first.
    pub(crate) const ALL: [Self; 3] = [Self::Ours, Self::Nginx, Self::Haproxy];

    /// As in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "lb",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Relay => "relay",
        }
    }
}

impl Profile {
    /// All.
    pub(crate) const ALL: [Self; 5] = [
        Self::Plain,
        Self::Impatient,
        Self::Trusting,
        Self::Dark,
        Self::Fresh,
    ];

    /// Its limits of time are short.
    pub(crate) fn is_impatient(self) -> bool {
        matches!(self, Self::Impatient | Self::Dark | Self::Fresh)
    }
}

/// A running one.
pub(crate) struct Subject {
    kind: Kind,
    address: SocketAddr,
    /// Where HTTP/2 is spoken: ours hears what is.
    two: SocketAddr,
    process: Option<Running>,
    answers: bool,
    _directory: TempDir,
}

impl Subject {
    /// Starts it in front of this backend.
    pub(crate) fn start(kind: Kind, setup: Setup, backend: SocketAddr) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let address = free_address();
        let two = match kind {
            Kind::Ours | Kind::Relay => address,
            Kind::Nginx | Kind::Haproxy => free_address(),
        };
        let at = directory.path();
        let mut command = match kind {
            Kind::Ours => Some(ours(at, setup, address, backend)),
            Kind::Nginx => Some(nginx(at, setup, [address, two], backend)),
            Kind::Haproxy => Some(haproxy(at, setup, [address, two], backend)),
            Kind::Relay => {
                match setup.1 {
                    Protocol::One => relay(address, backend),
                    Protocol::Two => careless::gateway(address, backend),
                }
                None
            }
        };
        Self {
            kind,
            address,
            two,
            process: command
                .as_mut()
                .map(|command| Running::start(kind.name(), at, command)),
            answers: false,
            _directory: directory,
        }
    }

    /// A connection for a client that speaks this.
    ///
    /// # Errors
    /// It does not accept, or no more.
    pub(crate) fn connect(&mut self, client: Protocol) -> Result<TcpStream, String> {
        let address = self.ready(client)?;
        TcpStream::connect(address).map_err(|error| format!("it accepts nothing: {error}"))
    }

    /// Its address for a client that speaks this, once it accepts; what it printed if it does not.
    fn ready(&mut self, client: Protocol) -> Result<SocketAddr, String> {
        let begun = clock::now();
        while !self.answers {
            self.answers =
                TcpStream::connect(self.address).is_ok() && TcpStream::connect(self.two).is_ok();
            if !self.is_alive() || begun.elapsed() > Duration::from_secs(30) {
                let said = self.process.as_ref().map(Running::output);
                return Err(format!("it does not run: {}", said.unwrap_or_default()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(match client {
            Protocol::Two => self.two,
            Protocol::One => self.address,
        })
    }

    /// How long a case may wait. Ours should never need it; a peer that fails should not cost much.
    pub(crate) fn patience(&self) -> Duration {
        match (self.kind, std::env::var("LB_CONFORMANCE_WAIT")) {
            (Kind::Ours, Ok(seconds)) => Duration::from_secs(seconds.parse().expect("seconds")),
            (Kind::Ours, Err(_)) => Duration::from_secs(10),
            (Kind::Relay, _) => Duration::from_secs(1),
            _ => Duration::from_secs(3),
        }
    }

    /// The last that ours printed: a panic of one of its tasks shows nowhere else.
    pub(crate) fn said(&self) -> String {
        let own = self.process.as_ref().filter(|_| self.kind == Kind::Ours);
        let all = own.map(Running::output).unwrap_or_default();
        let lines: Vec<&str> = all.lines().collect();
        let last = &lines[lines.len().saturating_sub(8)..];
        match last {
            [] => String::new(),
            last => format!("; it printed:\n{}", last.join("\n")),
        }
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.process.as_mut().is_none_or(Running::is_running)
    }
}

/// Passes bytes on, both ways; its threads end with the process.
fn relay(listen: SocketAddr, backend: SocketAddr) {
    let listener = TcpListener::bind(listen).expect("the port is free");
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(backend) else {
                continue;
            };
            for (from, to) in [(&client, &server), (&server, &client)] {
                let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else {
                    continue;
                };
                std::thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
}

/// On a network of loopback that no other test uses, and at an address that nothing else here has: a port that is free now
/// could be another subject's before this one binds it.
fn free_address() -> SocketAddr {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let [upper, lower] = TAKEN.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    crate::common::free_address(Ipv4Addr::new(127, 64, upper, lower))
}

fn ours(at: &Path, (profile, spoken): Setup, listen: SocketAddr, backend: SocketAddr) -> Command {
    let proto = match spoken {
        Protocol::One => "http",
        Protocol::Two => "h2c",
    };
    let mut text = format!(
        r#"[gossip]
bind = "{}"
discover = "off"
node = "conformance"
[admin]
listen = "off"
[state]
dir = "none"
[listener.web]
listen = ["{listen}"]
"#,
        free_address()
    );
    if profile == Profile::Trusting {
        text.push_str("trusted_proxies = [\"127.0.0.0/8\"]\n");
    }
    let _ = write!(
        text,
        r#"[cluster.web]
proto = "{proto}"
[cluster.web.check]
spec = "none"
[cluster.web.ejection]
failures = 0
percent = 0
[[cluster.web.backend]]
address = "{backend}"
[limits]
workers = 1
"#
    );
    if profile.is_impatient() {
        text.push_str("[timeouts]\n");
        for key in [
            "request_head",
            "first_byte",
            "body_progress",
            "client_idle",
            "connect",
            "upgrade_idle",
            "upstream_idle",
        ] {
            let _ = writeln!(text, "{key} = \"{}ms\"", SHORT.as_millis());
        }
    }
    let file = at.join("lb.toml");
    fs::write(&file, text).expect("the file can be written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb"));
    command
        .arg("--config")
        .arg(file)
        .args(["--log-level", "debug"]);
    command
}

fn nginx(
    at: &Path,
    (profile, spoken): Setup,
    [listen, two]: [SocketAddr; 2],
    backend: SocketAddr,
) -> Command {
    let short = SHORT.as_millis();
    let times = match profile {
        _ if profile.is_impatient() => format!(
            "proxy_connect_timeout {short}ms; client_header_timeout {short}ms; client_body_timeout {short}ms; keepalive_timeout {short}ms; proxy_read_timeout {short}ms; proxy_send_timeout {short}ms;"
        ),
        _ => String::new(),
    };
    let upstream_idle = match profile {
        _ if profile.is_impatient() => format!("keepalive_timeout {short}ms;"),
        _ => String::new(),
    };
    let forwarded = match profile {
        Profile::Trusting => {
            "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header Forwarded \"$http_forwarded, for=$remote_addr\";"
        }
        _ => {
            "proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $host; proxy_set_header X-Forwarded-Port $server_port; proxy_set_header X-Real-IP $remote_addr; proxy_set_header Forwarded \"for=$remote_addr;host=$host;proto=$scheme\";"
        }
    };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {};", at.join(kind).display()))
        .collect();
    // Only this module of it speaks HTTP/2 to backends, and takes any request.
    let (module, way, hop) = match spoken {
        Protocol::One => (
            "proxy",
            "proxy_pass http://web; proxy_http_version 1.1; proxy_request_buffering off; proxy_buffering off;",
            "proxy_set_header Upgrade $tunnel; proxy_set_header Connection $tunnel_connection;",
        ),
        Protocol::Two => ("grpc", "grpc_pass grpc://web;", ""),
    };
    let times = times.replace("proxy_", &format!("{module}_"));
    let forwarded = forwarded.replace("proxy_set", &format!("{module}_set"));
    let text = format!(
        r#"daemon off; master_process off; worker_processes 1; pid {at}/pid; error_log {at}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off; {temporary} {times}
  map $http_upgrade $tunnel {{ default ""; ~*^websocket$ websocket; }}
  map $tunnel $tunnel_connection {{ default ""; websocket upgrade; }}
  upstream web {{ server {backend} max_fails=0; keepalive 16; {upstream_idle} }}
  server {{
    listen {listen}; listen {two} http2;
    location / {{
      {way} client_max_body_size 0;
      {module}_set_header Host $host; {hop}
      {forwarded}
    }}
  }}
}}
"#,
        at = at.display()
    );
    let file = at.join("nginx.conf");
    fs::write(&file, text).expect("the file can be written");
    let mut command = Command::new(find("nginx").expect("nginx is there"));
    command
        .arg("-p")
        .arg(at)
        .arg("-e")
        .arg(at.join("error.log"));
    command.arg("-c").arg(file);
    command
}

fn haproxy(
    at: &Path,
    (profile, spoken): Setup,
    [listen, two]: [SocketAddr; 2],
    backend: SocketAddr,
) -> Command {
    let (client, server, head, connect) = match profile {
        _ if profile.is_impatient() => (SHORT, SHORT, SHORT, SHORT),
        _ => (
            Duration::from_secs(60),
            Duration::from_secs(60),
            Duration::from_secs(10),
            Duration::from_secs(5),
        ),
    };
    let forwarded = match profile {
        Profile::Trusting => {
            "http-request add-header X-Forwarded-For %[src]\n  http-request add-header Forwarded for=%[src]"
        }
        _ => {
            "http-request del-header x-forwarded- -m beg\n  http-request set-header X-Forwarded-For %[src]\n  http-request set-header X-Forwarded-Proto http\n  http-request set-header X-Real-IP %[src]\n  http-request set-header X-Forwarded-Host %[req.hdr(host)]\n  http-request set-header Forwarded \"for=%[src];host=%[req.hdr(host)];proto=http\""
        }
    };
    let proto = match spoken {
        Protocol::One => "",
        Protocol::Two => " proto h2",
    };
    let text = format!(
        r#"global
  maxconn 500
defaults
  mode http
  timeout connect {}ms
  timeout tunnel {}ms
  timeout client {}ms
  timeout server {}ms
  timeout http-request {}ms
  timeout http-keep-alive {}ms
  http-reuse always
  retry-on conn-failure empty-response
  option redispatch
frontend f
  bind {listen}
  bind {two} proto h2
  {forwarded}
  http-request disable-l7-retry unless METH_GET
  default_backend b
backend b
  server s {backend}{proto}
"#,
        connect.as_millis(),
        client.as_millis(),
        client.as_millis(),
        server.as_millis(),
        head.as_millis(),
        client.as_millis(),
    );
    let file = at.join("haproxy.cfg");
    fs::write(&file, text).expect("the file can be written");
    let mut command = Command::new(find("haproxy").expect("HAProxy is there"));
    command.arg("-db").arg("-f").arg(file);
    command
}
