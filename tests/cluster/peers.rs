//! The systems that `lb` replaces, as fronts of the same scenarios: for figures beside ours, never for a verdict.
//!
//! ```text
//! LB_TEST_FRONT=haproxy   HAProxy with a fixed list of servers, checks each second, retries
//! LB_TEST_FRONT=nginx     serf agent ─member events─▶ handler ─▶ upstream file ─▶ nginx -s reload
//! ```

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

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

/// nginx behind a Serf member whose handler writes the upstreams and reloads.
pub(crate) fn start_nginx(host: &Host, files: &Path) -> Running {
    let path = |name: &str| files.join(name).display().to_string();
    let config = format!(
        "daemon off; worker_processes 2; pid {pid}; error_log {log};\nevents {{}}\nhttp {{ access_log off;\n\
         client_body_temp_path {body}; proxy_temp_path {body}; fastcgi_temp_path {body}; uwsgi_temp_path {body}; scgi_temp_path {body};\n\
         upstream web {{ include {upstreams}; }}\n\
         server {{ listen 80; location / {{ proxy_pass http://web; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}\n",
        pid = path("nginx.pid"),
        log = path("nginx.log"),
        body = path("temp"),
        upstreams = path("upstreams.conf"),
    );
    std::fs::write(path("nginx.conf"), config).expect("the configuration can be written");
    std::fs::write(path("upstreams.conf"), "server 127.0.0.1:1;\n")
        .expect("the upstreams can be written");
    let handler = format!(
        "#!/bin/sh\nserf members -status=alive -tag role=web | awk '{{split($2,a,\":\"); print \"server \" a[1] \":80;\"}}' > {new}\n\
         [ -s {new} ] || echo 'server 127.0.0.1:1;' > {new}\nmv {new} {upstreams}\nnginx -c {conf} -s reload\n",
        new = path("upstreams.new"),
        upstreams = path("upstreams.conf"),
        conf = path("nginx.conf"),
    );
    let script = files.join("handler");
    std::fs::write(&script, handler).expect("the handler can be written");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755))
        .expect("it can be made executable");
    // One process to end: the shell starts Serf beside nginx and takes both with it.
    let both = format!(
        "serf agent -node=front -bind={ip} -event-handler={script} & serf=$!; nginx -c {conf} & nginx=$!; \
         trap 'kill -9 $serf; kill $nginx; exit' TERM; wait",
        ip = host.ip,
        script = script.display(),
        conf = path("nginx.conf"),
    );
    let mut command = host.command("sh");
    command.args(["-c", &both]);
    Running::start("front", files, &mut command)
}

/// Waits until `count` nodes answer in turn.
pub(crate) fn until_rotating(client: &Host, vip: SocketAddr, count: usize) {
    client
        .run(move || {
            eventually(
                &format!("{count} nodes answer"),
                Duration::from_secs(90),
                || {
                    let answers: BTreeSet<String> = (0..4 * count.max(1))
                        .filter_map(|_| get(vip, "/"))
                        .filter(|(status, _)| *status == 200)
                        .map(|(_, body)| body)
                        .collect();
                    (answers.len() == count).then_some(())
                },
            );
        })
        .join()
        .expect("a client does not panic");
}
