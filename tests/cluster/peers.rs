//! The systems that `lb` replaces, as fronts of the same scenarios: for figures beside ours, never for a verdict.
//!
//! ```text
//! LB_TEST_FRONT=haproxy   HAProxy with a fixed list of servers, checks each second, retries
//! LB_TEST_FRONT=nginx     serf agent ─member events─▶ handler ─▶ upstream file ─▶ nginx -s reload
//! ```

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::{Running, eventually};
use crate::net::Host;
use crate::world::get;

/// Which program stands at the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    Lb,
    Haproxy,
    Nginx,
}

impl Front {
    /// By `LB_TEST_FRONT`; ours unless told otherwise.
    pub(crate) fn chosen() -> Self {
        match std::env::var("LB_TEST_FRONT").as_deref() {
            Err(_) | Ok("" | "lb") => Self::Lb,
            Ok("haproxy") => Self::Haproxy,
            Ok("nginx") => Self::Nginx,
            Ok(other) => panic!("LB_TEST_FRONT={other}: lb, haproxy or nginx"),
        }
    }
}

/// HAProxy as a careful operator sets it up: our check interval, redispatch, every safe retry.
pub(crate) fn start_haproxy(host: &Host, files: &Path, webs: &[Ipv4Addr]) -> Running {
    let mut config = String::from(
        "defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
         \x20timeout check 500ms\n retries 3\n option redispatch\n\
         \x20retry-on conn-failure empty-response response-timeout 502 503 504\n\
         frontend f\n bind :80\n default_backend b\nbackend b\n balance roundrobin\n option httpchk GET /\n\
         \x20default-server check inter 1s fastinter 200ms downinter 200ms rise 1 fall 2\n",
    );
    for (index, ip) in webs.iter().enumerate() {
        writeln!(config, " server web{} {ip}:80", index + 1).expect("a string takes it");
    }
    let file = files.join("haproxy.cfg");
    std::fs::write(&file, config).expect("the configuration can be written");
    let mut command = host.command("haproxy");
    command.args(["-db", "-f"]).arg(&file);
    Running::start("front", files, &mut command)
}

/// nginx behind a Serf member whose handler writes the upstreams and reloads; it joins again by its snapshot.
pub(crate) fn start_nginx(host: &Host, files: &Path) -> Running {
    let path = |name: &str| files.join(name).display().to_string();
    let config = format!(
        "daemon off; worker_processes 2; pid {pid}; error_log {log};\nevents {{}}\nhttp {{ access_log off;\n\
         client_body_temp_path {body}; proxy_temp_path {body}; fastcgi_temp_path {body}; uwsgi_temp_path {body}; scgi_temp_path {body};\n\
         upstream web {{ include {upstreams}; keepalive 32; }}\n\
         proxy_connect_timeout 5s; proxy_next_upstream error timeout http_502 http_503 http_504; proxy_next_upstream_tries 3;\n\
         server {{ listen 80; location / {{ proxy_pass http://web; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}\n",
        pid = path("nginx.pid"),
        log = path("nginx.log"),
        body = path("temp"),
        upstreams = path(UPSTREAMS),
    );
    std::fs::write(path("nginx.conf"), config).expect("the configuration can be written");
    if !files.join(UPSTREAMS).exists() {
        std::fs::write(files.join(UPSTREAMS), "server 127.0.0.1:1;\n")
            .expect("the upstreams can be written");
    }
    let handler = format!(
        "#!/bin/sh\necho \"$SERF_EVENT\" $(cut -f1) >> {events}\nserf members -status=alive -tag role=web | awk '{{split($2,a,\":\"); print \"server \" a[1] \":80;\"}}' > {new}\n\
         [ -s {new} ] || echo 'server 127.0.0.1:1;' > {new}\nmv {new} {upstreams}\nnginx -c {conf} -s reload\n",
        events = path(EVENTS),
        new = path("upstreams.new"),
        upstreams = path(UPSTREAMS),
        conf = path("nginx.conf"),
    );
    let script = files.join("handler");
    std::fs::write(&script, handler).expect("the handler can be written");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755))
        .expect("it can be made executable");
    let both = format!(
        "serf agent -node=front -bind={ip} -snapshot={snapshot} -event-handler={script} & exec nginx -c {conf}",
        ip = host.ip,
        snapshot = path("serf.snapshot"),
        script = script.display(),
        conf = path("nginx.conf"),
    );
    // One process to end: with it ends everything that it has started.
    let mut command = host.command("unshare");
    command.args(["--pid", "--fork", "--kill-child", "sh", "-c", &both]);
    let front = Running::start("front", files, &mut command);
    let gossip = SocketAddr::from((host.ip, 7946));
    host.run(move || {
        eventually("the front's gossip is up", Duration::from_secs(10), || {
            TcpStream::connect(gossip).ok()
        })
    })
    .join()
    .expect("a client does not panic");
    front
}

/// Whether the front would send requests to `name` at `ip`, by what it has written so far.
pub(crate) fn in_rotation(kind: Front, files: &Path, name: &str, ip: Ipv4Addr) -> bool {
    let read = |file: &str| std::fs::read_to_string(files.join(file)).unwrap_or_default();
    match kind {
        Front::Haproxy => {
            let log = read("front.log");
            let about = format!("Server b/{name} is ");
            let last = log.rsplit(&about).next().unwrap_or_default();
            !(log.contains(&about) && last.starts_with("DOWN"))
        }
        Front::Nginx => read(UPSTREAMS).contains(&format!("server {ip}:80;")),
        Front::Lb => unreachable!("it has an admin"),
    }
}

/// The lines by which the front tells that it took a web out, not because it left.
pub(crate) fn went_out(kind: Front, files: &Path) -> Vec<String> {
    let (file, mark) = match kind {
        Front::Haproxy => ("front.log", " is DOWN"),
        Front::Nginx => (EVENTS, "member-failed"),
        Front::Lb => unreachable!("it has a log"),
    };
    let text = std::fs::read_to_string(files.join(file)).unwrap_or_default();
    let lines = text.lines().filter(|line| line.contains(mark));
    lines.map(str::to_owned).collect()
}

/// Waits until `count` nodes answer in turn; a peer that never gets there is a figure, not a failure.
pub(crate) fn until_rotating(client: &Host, vip: SocketAddr, count: usize) {
    let begun = Instant::now();
    let settled = client.run(move || {
        while begun.elapsed() < PATIENCE {
            let answers: BTreeSet<String> = (0..4 * count.max(1))
                .filter_map(|_| get(vip, "/"))
                .filter(|(status, _)| *status == 200)
                .map(|(_, body)| body)
                .collect();
            if answers.len() == count {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    });
    if !settled.join().expect("a client does not panic") {
        println!("    not within {PATIENCE:?}: {count} nodes answer");
    }
}

const UPSTREAMS: &str = "upstreams.conf";
const EVENTS: &str = "events";
const PATIENCE: Duration = Duration::from_secs(40);
