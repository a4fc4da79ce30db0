//! The admin server over raw sockets: paths, bytes that matter, what a scraper reads.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lb::admin::{self, Source};
use lb::announce::Proto;
use lb::gossip::core::io::Stats;
use lb::gossip::core::member::{Member, Members, Status};
use lb::gossip::core::serf::tags::Encoded;
use lb::pool::effective::{State, Verdict};
use lb::pool::snapshot::{Backend, Pool, Snapshot};
use lb::pool::spec::UpstreamId;
use lb::pool::upstream::{Lease, Live, Upstream};
use lb::proxy::Scrape;
use lb::proxy::stats::{BackendCounts, Durations, QueueCounts, Reason};
use lb::{clock, shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A front as the admin server sees it.
struct Front {
    pools: Vec<Arc<Pool>>,
    members: Arc<Members>,
    ready: Mutex<Result<(), String>>,
}

impl Source for Front {
    fn node(&self) -> String {
        "front".to_owned()
    }
    fn members(&self) -> Arc<Members> {
        Arc::clone(&self.members)
    }
    async fn gossip(&self) -> Stats {
        Stats {
            packets_received: 7,
            dropped: BTreeMap::from([("crc", 3)]),
            health_score: 2,
            ..Stats::default()
        }
    }
    fn ready(&self) -> Result<(), String> {
        self.ready.lock().expect("not poisoned").clone()
    }
    fn pools(&self) -> Vec<Arc<Pool>> {
        self.pools.clone()
    }
    fn requests(&self) -> Scrape {
        let id = |node: &str| UpstreamId {
            node: node.into(),
            service: "web".into(),
        };
        let address = "10.0.0.1:80".parse().expect("an address");
        let mut reached = BackendCounts {
            pool: "web".into(),
            backend: Some((id("web1"), address)),
            classes: [0, 40, 0, 0, 1, 0, 0],
            durations: Durations {
                seconds: 0.5,
                ..Durations::default()
            },
            connections: [1, 2, 3, 4],
            received: 100,
            sent: 1000,
        };
        reached.durations.buckets[0] = 30;
        reached.durations.buckets[1] = 10;
        reached.durations.buckets[15] = 1;
        let before_rename = BackendCounts {
            backend: Some((id("old"), address)),
            classes: [0, 2, 0, 0, 0, 0, 0],
            durations: Durations {
                seconds: 0.25,
                ..reached.durations.clone()
            },
            ..reached.clone()
        };
        let nobody = BackendCounts {
            backend: None,
            classes: [0, 0, 0, 0, 2, 0, 0],
            connections: [0; 4],
            received: 0,
            sent: 0,
            ..reached.clone()
        };
        Scrape {
            backends: vec![before_rename, nobody, reached],
            queues: vec![QueueCounts {
                pool: "web".into(),
                waits: Durations {
                    buckets: [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                    seconds: 0.125,
                },
                dropped: [5, 6, 7, 8],
            }],
            retries: vec![(Reason::Connect, 4), (Reason::Rescue, 0)],
            retries_refused: 3,
            connections_open: 9,
            connections_total: 99,
            requests_in_flight: 0,
            unheaded: [9, 8, 7, 5],
            access_log_lost: 6,
            handshakes: lb::proxy::stats::Handshakes {
                full: 21,
                resumed: 22,
                failed: [1, 2, 3, 4, 5, 6, 7, 8, 9],
            },
        }
    }
    fn checks(&self) -> (u64, u64) {
        (11, 5)
    }
}

fn backend(node: &str, address: &str, state: State, reason: &str) -> Backend {
    Backend {
        upstream: Arc::new(Upstream {
            id: UpstreamId {
                node: node.into(),
                service: "web".into(),
            },
            address: address.parse().expect("an address"),
            weight: 1,
            tier: 0,
            backup: false,
            proto: Proto::Http,
            live: Arc::new(Live::default()),
        }),
        verdict: Verdict {
            in_rotation: state == State::Up,
            state,
            reason: reason.to_owned(),
            weight: 1,
            tier: 0,
            backup: false,
        },
        since: clock::now(),
    }
}

fn member(name: &str, status: Status, tags: &[(&str, &str)]) -> Arc<Member> {
    Arc::new(Member {
        name: name.into(),
        address: "10.0.0.1:7946".parse().expect("an address"),
        tags: Encoded::of(
            &tags
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        ),
        status,
        suspect: false,
        incarnation: 6,
        joined: 1,
        since: clock::now(),
        versions: [1, 5, 2, 2, 5, 4],
    })
}

/// Two backends, one in; two members, one failed.
fn front() -> Front {
    let pool = Pool::new("web");
    let up = backend("web1", "10.0.0.1:80", State::Up, "check http:/ passed");
    let down = backend("we\"b2\n", "10.0.0.2:80", State::Down, "refused \\ twice");
    pool.snapshot.store(Arc::new(Snapshot {
        generation: 12,
        settled: true,
        active: vec![Arc::clone(&up.upstream)],
        backends: vec![up, down],
        ..Snapshot::default()
    }));
    Front {
        pools: vec![Arc::new(pool)],
        members: Arc::new(Members {
            generation: 1,
            by_name: [
                member("web1", Status::Alive, &[("role", "web"), ("port", "80")]),
                member("old", Status::Failed, &[]),
            ]
            .into_iter()
            .collect(),
        }),
        ready: Mutex::new(Ok(())),
    }
}

/// A running server; it ends with this value.
struct Running {
    address: SocketAddr,
    front: Arc<Front>,
    _trigger: shutdown::Trigger,
}

async fn started() -> Running {
    let settings = admin::Settings {
        listen: Some("127.0.0.1:0".parse().expect("an address")),
        ready_requires_backend: false,
    };
    let listener = admin::bind(&settings)
        .await
        .expect("a free port")
        .expect("admin is on");
    let address = listener.local_addr().expect("bound");
    let front = Arc::new(front());
    let (trigger, shutdown) = shutdown::channel();
    tokio::spawn(admin::serve(listener, Arc::clone(&front), shutdown));
    Running {
        address,
        front,
        _trigger: trigger,
    }
}

impl Running {
    /// Sends `bytes` and reads until the server closes: (head, body).
    async fn exchange(&self, bytes: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).await.expect("connected");
        stream.write_all(bytes.as_bytes()).await.expect("sent");
        let mut all = String::new();
        tokio::time::timeout(Duration::from_secs(20), stream.read_to_string(&mut all))
            .await
            .expect("an answer in time")
            .expect("text");
        let (head, body) = all.split_once("\r\n\r\n").expect("a whole head");
        (head.to_owned(), body.to_owned())
    }

    async fn request(&self, method: &str, path: &str) -> (String, String) {
        self.exchange(&format!(
            "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        ))
        .await
    }

    async fn json(&self, path: &str) -> serde_json::Value {
        let (head, body) = self.request("GET", path).await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("content-type: application/json"), "{head}");
        serde_json::from_str(&body).expect("JSON")
    }
}

fn assert_line(page: &str, line: &str) {
    assert!(
        page.lines().any(|other| other == line),
        "no line {line:?} in:\n{page}"
    );
}

#[tokio::test]
async fn health_is_one_word() {
    let server = started().await;

    let (head, body) = server.request("GET", "/healthz").await;

    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("content-type: text/plain"), "{head}");
    assert!(head.contains("cache-control: no-store"), "{head}");
    assert_eq!(body, "ok\n");
}

#[tokio::test]
async fn readiness_says_why_not() {
    let server = started().await;

    let (head, body) = server.request("GET", "/readyz").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body, "ready\n");

    *server.front.ready.lock().expect("not poisoned") = Err("shutting down".to_owned());
    let (head, body) = server.request("GET", "/readyz").await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert_eq!(body, "not ready: shutting down\n");
}

#[tokio::test]
async fn pools_are_shown_with_reasons_and_ages() {
    let server = started().await;
    let busy = Arc::clone(&server.front.pools[0].snapshot.load().backends[0].upstream);
    let _lease = Lease::take(&busy);

    let mut json = server.json("/api/v1/pools").await;

    let backends = json["pools"][0]["backends"]
        .as_array_mut()
        .expect("backends");
    for backend in backends {
        let since = backend["since"].take();
        let since = since.as_str().expect("text");
        assert!(since.len() == 24 && since.ends_with('Z'), "{since}");
        let age = backend["since_s"].take();
        assert!(age.as_f64().is_some_and(|age| (0.0..60.0).contains(&age)));
    }
    let expected = serde_json::json!({"pools": [{
        "name": "web",
        "generation": 12,
        "in_rotation": 1,
        "panic": false,
        "max_in_flight": 0,
        "queue": 1000,
        "queued": 0,
        "backends": [
            {
                "node": "web1", "service": "web", "address": "10.0.0.1:80", "state": "up",
                "in_rotation": true, "reason": "check http:/ passed", "weight": 1, "tier": 0,
                "backup": false, "since": null, "since_s": null, "in_flight": 1
            },
            {
                "node": "we\"b2\n", "service": "web", "address": "10.0.0.2:80", "state": "down",
                "in_rotation": false, "reason": "refused \\ twice", "weight": 1, "tier": 0,
                "backup": false, "since": null, "since_s": null, "in_flight": 0
            }
        ]
    }]});
    assert_eq!(json, expected);
}

#[tokio::test]
async fn members_are_shown_as_serf_calls_them() {
    let server = started().await;

    let json = server.json("/api/v1/members").await;

    assert_eq!(json["self"], "front");
    let (old, web1) = (&json["members"][0], &json["members"][1]);
    assert_eq!(old["name"], "old");
    assert_eq!(old["status"], "failed");
    assert!(old["role"].is_null());
    assert_eq!(web1["name"], "web1");
    assert_eq!(web1["address"], "10.0.0.1:7946");
    assert_eq!(web1["status"], "alive");
    assert_eq!(web1["suspect"], false);
    assert_eq!(web1["role"], "web");
    assert_eq!(
        web1["tags"],
        serde_json::json!({"role": "web", "port": "80"})
    );
    assert_eq!(web1["incarnation"], 6);
    assert!(web1["since"].as_str().is_some_and(|at| at.ends_with('Z')));
    assert!(web1["since_s"].is_f64());
}

#[tokio::test]
async fn metrics_have_the_names_of_the_contract() {
    let server = started().await;

    let (head, page) = server.request("GET", "/metrics").await;

    assert!(
        head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{head}"
    );
    for line in [
        r#"lb_requests_total{pool="web",backend="10.0.0.1:80",class="2xx"} 42"#,
        r#"lb_requests_total{pool="web",backend="10.0.0.1:80",class="5xx"} 1"#,
        r#"lb_requests_total{pool="web",backend="",class="5xx"} 2"#,
        // Of two names that one address had.
        r#"lb_tcp_connections_total{pool="web",backend="10.0.0.1:80",class="done"} 2"#,
        r#"lb_tcp_connections_total{pool="web",backend="10.0.0.1:80",class="lb"} 8"#,
        r#"lb_tcp_bytes_total{pool="web",backend="10.0.0.1:80",direction="in"} 200"#,
        r#"lb_tcp_bytes_total{pool="web",backend="10.0.0.1:80",direction="out"} 2000"#,
        r#"lb_proxy_protocol_refused_total{reason="untrusted"} 9"#,
        r#"lb_proxy_protocol_refused_total{reason="closed"} 5"#,
        "# TYPE lb_requests_total counter",
        "# TYPE lb_request_duration_seconds histogram",
        r#"lb_request_duration_seconds_bucket{pool="web",backend="10.0.0.1:80",le="0.0005"} 60"#,
        r#"lb_request_duration_seconds_bucket{pool="web",backend="10.0.0.1:80",le="0.001"} 80"#,
        r#"lb_request_duration_seconds_bucket{pool="web",backend="10.0.0.1:80",le="60"} 80"#,
        r#"lb_request_duration_seconds_bucket{pool="web",backend="10.0.0.1:80",le="+Inf"} 82"#,
        r#"lb_request_duration_seconds_sum{pool="web",backend="10.0.0.1:80"} 0.75"#,
        r#"lb_request_duration_seconds_count{pool="web",backend="10.0.0.1:80"} 82"#,
        r#"lb_request_duration_seconds_count{pool="web",backend=""} 41"#,
        r#"lb_requests_in_flight{pool="web",backend="10.0.0.1:80"} 0"#,
        r#"lb_backend_in_rotation{pool="web",backend="10.0.0.1:80",node="web1"} 1"#,
        r#"lb_backend_in_rotation{pool="web",backend="10.0.0.2:80",node="we\"b2\n"} 0"#,
        r#"lb_backend_state{pool="web",backend="10.0.0.1:80",node="web1",state="up"} 1"#,
        r#"lb_backend_state{pool="web",backend="10.0.0.1:80",node="web1",state="down"} 0"#,
        r#"lb_retries_total{reason="connect"} 4"#,
        r#"lb_retries_total{reason="rescue"} 0"#,
        r#"lb_retries_refused_total 3"#,
        r#"lb_pool_max_in_flight{pool="web"} 0"#,
        r#"lb_queue_length{pool="web"} 0"#,
        r#"lb_queue_wait_seconds_bucket{pool="web",le="0.0005"} 2"#,
        r#"lb_queue_wait_seconds_sum{pool="web"} 0.125"#,
        r#"lb_queue_wait_seconds_count{pool="web"} 3"#,
        r#"lb_queue_dropped_total{pool="web",reason="overflow"} 5"#,
        r#"lb_queue_dropped_total{pool="web",reason="timeout"} 6"#,
        r#"lb_queue_dropped_total{pool="web",reason="left"} 7"#,
        r#"lb_queue_dropped_total{pool="web",reason="nobody"} 8"#,
        r#"lb_connections 9"#,
        r#"lb_connections_total 99"#,
        r#"lb_checks_total{result="pass"} 11"#,
        r#"lb_checks_total{result="fail"} 5"#,
        r#"lb_pool_generation{pool="web"} 12"#,
        r#"lb_pool_backends{pool="web"} 2"#,
        r#"lb_pool_backends_in_rotation{pool="web"} 1"#,
        r#"lb_gossip_members{status="alive"} 1"#,
        r#"lb_gossip_members{status="leaving"} 0"#,
        r#"lb_gossip_members{status="left"} 0"#,
        r#"lb_gossip_members{status="failed"} 1"#,
        r#"lb_gossip_dropped_total{reason="crc"} 3"#,
        r#"lb_gossip_packets_total{direction="in"} 7"#,
        "lb_gossip_health_score 2",
        concat!(
            r#"lb_build_info{version=""#,
            env!("CARGO_PKG_VERSION"),
            r#""} 1"#
        ),
    ] {
        assert_line(&page, line);
    }
    for name in [
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
        "process_open_fds ",
    ] {
        assert!(page.lines().any(|line| line.starts_with(name)), "{name}");
    }
}

#[tokio::test]
async fn no_series_is_said_twice_when_two_nodes_share_an_address() {
    let server = started().await;
    let pool = &server.front.pools[0];
    let twins = vec![
        backend("old", "10.0.0.9:80", State::Shadowed, "shadowed by new"),
        backend("new", "10.0.0.9:80", State::Up, "check http:/ passed"),
    ];
    let _leases: Vec<_> = twins
        .iter()
        .map(|twin| Lease::take(&twin.upstream))
        .collect();
    pool.snapshot.store(Arc::new(Snapshot {
        backends: twins,
        ..Snapshot::default()
    }));

    let (_, page) = server.request("GET", "/metrics").await;

    assert_line(
        &page,
        r#"lb_requests_in_flight{pool="web",backend="10.0.0.9:80"} 2"#,
    );
    let mut series = BTreeMap::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (name, _) = line.rsplit_once(' ').expect("a name and a value");
        assert!(
            series.insert(name, line).is_none(),
            "{name} is there twice:\n{page}"
        );
    }
}

#[tokio::test]
async fn counters_of_a_backend_just_gone_are_still_shown() {
    let server = started().await;
    server.front.pools[0]
        .snapshot
        .store(Arc::new(Snapshot::default()));

    let (_, page) = server.request("GET", "/metrics").await;

    assert_line(
        &page,
        r#"lb_requests_total{pool="web",backend="10.0.0.1:80",class="2xx"} 42"#,
    );
    assert!(!page.contains("lb_backend_state{"), "{page}");
}

#[tokio::test]
async fn the_index_lists_what_there_is() {
    let server = started().await;

    let (head, body) = server.request("GET", "/").await;

    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    for path in [
        "/metrics",
        "/healthz",
        "/readyz",
        "/api/v1/pools",
        "/api/v1/members",
    ] {
        assert!(body.contains(path), "{path} is missing in:\n{body}");
        let (head, _) = server.request("GET", path).await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {head}");
    }
}

#[tokio::test]
async fn other_paths_are_not_found_and_queries_are_ignored() {
    let server = started().await;

    for path in ["/nothing", "/metrics/", "/api/v1", "/api/v1/../pools"] {
        let (head, _) = server.request("GET", path).await;
        assert!(head.starts_with("HTTP/1.1 404 "), "{path}: {head}");
    }
    let (head, body) = server.request("GET", "/healthz?verbose=1").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(body, "ok\n");
}

#[tokio::test]
async fn other_methods_are_refused_with_the_allowed_ones() {
    let server = started().await;

    for method in ["POST", "DELETE", "OPTIONS", "BREW"] {
        let (head, _) = server.request(method, "/api/v1/pools").await;
        assert!(head.starts_with("HTTP/1.1 405 "), "{method}: {head}");
        assert!(head.contains("allow: GET, HEAD"), "{method}: {head}");
    }
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let server = started().await;

    let (head, body) = server.request("HEAD", "/healthz").await;

    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("content-length: 3"), "{head}");
    assert_eq!(body, "");
}

#[tokio::test]
async fn what_is_no_http_is_a_bad_request() {
    let server = started().await;

    for bytes in [
        "garbage\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nno colon\r\n\r\n",
    ] {
        let (head, _) = server.exchange(bytes).await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{bytes:?}: {head}");
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(40_000));
    let (head, _) = server.exchange(&long).await;
    assert!(head.starts_with("HTTP/1.1 4"), "{head}");
    assert_eq!(server.request("GET", "/healthz").await.1, "ok\n");
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let server = started().await;
    let one = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let last = "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

    let (_, rest) = server.exchange(&format!("{one}{one}{last}")).await;

    assert_eq!(rest.matches("HTTP/1.1 200 OK").count(), 2, "{rest}");
    assert_eq!(rest.matches("ok\n").count(), 3, "{rest}");
}

#[tokio::test]
async fn off_is_off() {
    let settings = admin::Settings {
        listen: None,
        ready_requires_backend: false,
    };

    let bound = admin::bind(&settings).await.expect("nothing to bind");

    assert!(bound.is_none());
}

#[test]
fn a_front_is_ready_with_its_first_verdict_or_when_the_wait_is_over() {
    let pool = Arc::new(Pool::new("web"));
    let pools = [Arc::clone(&pool)];

    let unsettled = admin::readiness(&pools, false, false);
    assert!(unsettled.is_err_and(|why| why.contains("\"web\" has no first verdict")));
    assert_eq!(admin::readiness(&pools, true, false), Ok(()));
    let empty = admin::readiness(&pools, true, true);
    assert!(empty.is_err_and(|why| why.contains("no backend in rotation")));

    pool.snapshot.store(front().pools[0].snapshot.load_full());
    assert_eq!(admin::readiness(&pools, false, true), Ok(()));
}
