//! Registry and checks together, against real sockets: from "port open" to "in rotation" and back out.

use std::sync::Arc;
use std::time::Duration;

use lb::announce::{Proto, State};
use lb::clock;
use lb::health::{self, Report, Supervisor};
use lb::pool::registry::{Key, Outcome, Registry, Settings};
use lb::pool::snapshot::Snapshot;
use lb::pool::spec::{Spec, Standing, UpstreamId};
use lb::pool::{ejection, queue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Far beyond any wait that should be needed.
const DEADLINE: Duration = Duration::from_secs(20);

/// What a front does between gossip, checks and pools, in small.
struct Front {
    registry: Registry,
    supervisor: Supervisor<Key>,
    reports: mpsc::Receiver<Report<Key>>,
    spec: Spec,
}

impl Front {
    fn of(address: std::net::SocketAddr) -> Self {
        let settings = Settings {
            name: "web".to_owned(),
            check: "http:/".parse().unwrap(),
            proto: Proto::Http,
            default_port: 80,
            lost_keep: Duration::from_secs(3600),
            ejection: ejection::Settings::default(),
            hop: lb::pool::hop::Settings::default(),
            limits: queue::Settings::default(),
            backends: vec![],
        };
        let (sender, reports) = mpsc::channel(16);
        let mut front = Self {
            registry: Registry::new(clock::now(), vec![settings]),
            supervisor: Supervisor::new(sender),
            reports,
            spec: Spec {
                id: UpstreamId {
                    node: "web1".into(),
                    service: "web".into(),
                },
                address,
                weight: 1,
                tier: 0,
                backup: false,
                check: None,
                proto: None,
                announced: State::Ready,
                standing: Standing::Alive,
                joined: 1,
                unusable: None,
                warnings: vec![],
            },
        };
        front.gossip_says(Standing::Alive);
        front
    }

    fn gossip_says(&mut self, standing: Standing) {
        self.spec.standing = standing;
        let specs = vec![self.spec.clone()];
        self.registry.set_specs(clock::now(), "web", specs);
        self.adapt();
    }

    fn connects_fail(&mut self, times: usize) {
        let key = self.registry.targets()[0].key.clone();
        for _ in 0..times {
            self.registry
                .connect_failed(clock::now(), &key, "connection refused");
        }
        self.adapt();
    }

    fn adapt(&mut self) {
        let target = |target: lb::pool::registry::Target| health::Target {
            address: target.key.address,
            key: target.key,
            check: target.check,
            settings: health::Settings::default(),
            extra: target.extra,
            http2: None,
            witness: None,
            secured: None,
        };
        let targets = self.registry.targets().into_iter().map(target).collect();
        self.supervisor.set(targets);
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.registry.pools()[0].snapshot.load_full()
    }

    /// Turns the front until someone is in rotation, or nobody; how long that took.
    async fn until_in(&mut self, wanted: bool) -> Duration {
        let begun = clock::now();
        while self.snapshot().active.is_empty() == wanted {
            let due = self.registry.poll_timeout();
            let rest = due.map_or(DEADLINE, |due| due.saturating_duration_since(clock::now()));
            match timeout(rest, self.reports.recv()).await {
                Ok(report) => self.report(report.expect("checks go on")),
                Err(_) => self.registry.handle_timeout(clock::now()),
            }
            assert!(begun.elapsed() < DEADLINE, "{:?}", self.snapshot().backends);
            self.adapt();
        }
        begun.elapsed()
    }

    fn report(&mut self, report: Report<Key>) {
        let outcome = Outcome {
            started: report.started,
            ended: report.ended,
            result: report.result,
            timed_out: report.timed_out,
            up: report.up,
        };
        self.registry.checked(clock::now(), &report.key, outcome);
    }
}

/// Serves until dropped; a dropped server's connections are closed with it.
struct Web(tokio::task::JoinHandle<()>);

impl Web {
    fn on(listener: TcpListener) -> Self {
        Self(tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = [0; 1024];
                let _ = stream.read(&mut asked).await;
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                let _ = stream.write_all(answer).await;
            }
        }))
    }

    async fn kill(mut self) {
        self.0.abort();
        let _ = (&mut self.0).await;
    }
}

/// On a loopback address of its own, so that no other test can take the port of a killed server.
fn bound(address: &str) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address.parse().unwrap()).unwrap();
    socket
}

#[tokio::test]
async fn a_server_is_in_soon_after_its_port_opens_and_out_when_it_dies() {
    let socket = bound("127.9.9.1:0");
    let address = socket.local_addr().unwrap();
    let mut front = Front::of(address);
    assert!(front.snapshot().active.is_empty());

    let web = Web::on(socket.listen(16).unwrap());
    let came = front.until_in(true).await;
    let reason = front.snapshot().backends[0].verdict.reason.clone();
    assert_eq!(reason, "check http:/ passed: 200");

    web.kill().await;
    let at = clock::now();
    front.connects_fail(1);
    assert!(!front.snapshot().active.is_empty());
    front.connects_fail(1);
    assert!(front.snapshot().active.is_empty());
    // The checks agree before long.
    while !front.snapshot().backends[0]
        .verdict
        .reason
        .contains("checks failed")
    {
        let report = timeout(DEADLINE, front.reports.recv()).await.unwrap();
        front.report(report.unwrap());
        front
            .registry
            .handle_timeout(clock::now() + Duration::from_millis(10));
        front.adapt();
    }
    let agreed = at.elapsed();

    let web = Web::on(bound(&address.to_string()).listen(16).unwrap());
    let back = front.until_in(true).await;
    println!("in {came:?} after the port opened, checks agreed in {agreed:?}, back in {back:?}");
    web.kill().await;
}

#[tokio::test]
async fn a_lost_agent_keeps_serving_until_its_server_dies_too() {
    let socket = bound("127.9.9.2:0");
    let mut front = Front::of(socket.local_addr().unwrap());
    let web = Web::on(socket.listen(16).unwrap());
    front.until_in(true).await;

    front.gossip_says(Standing::Failed);
    let report = timeout(DEADLINE, front.reports.recv()).await.unwrap();
    front.report(report.unwrap());
    assert_eq!(front.snapshot().active.len(), 1);

    web.kill().await;
    let out = front.until_in(false).await;
    println!("out {out:?} after the server died");
    let reason = front.snapshot().backends[0].verdict.reason.clone();
    assert!(
        reason.starts_with("agent lost, then a check failed: "),
        "{reason}"
    );
    assert_eq!(front.registry.targets(), []);
}
