//! The real proxy: its own worker thread on loopback, with one backend that never goes out of rotation.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use lb::announce::{CheckSpec, Proto, State};
use lb::clock;
use lb::pool::ejection;
use lb::pool::registry::{self, Key, Outcome, Registry};
use lb::pool::snapshot::Pool;
use lb::pool::spec::{Spec, Standing, UpstreamId};
use lb::proxy::{self, Feedback, Limits, Listen, Listener, Routes, Server, Settings, Timeouts};
use lb::shutdown::{self, Trigger};
use tokio::sync::mpsc;

/// A running front.
pub struct Front {
    pub address: SocketAddr,
    pool: Arc<Pool>,
    server: Server,
    /// `/proc/self/task/N/stat` of its worker.
    worker: File,
    _registry: Registry,
    _feedback: mpsc::Receiver<Feedback>,
    _trigger: Trigger,
}

/// Small limits, so that they are met; waits as shipped, so that none of them is.
fn settings() -> Settings {
    Settings {
        listeners: vec![Listener::plain(
            "web",
            Listen::Exactly(vec![SocketAddr::from(([127, 0, 0, 1], 0))]),
        )],
        workers: 1,
        timeouts: Timeouts::default(),
        limits: Limits {
            retries_per_second: 1_000_000,
            replay_bytes: 64,
            request_line_bytes: 256,
            head_bytes: 1024,
            header_fields: 40,
            ..Limits::default()
        },
    }
}

impl Front {
    /// In front of what listens there.
    pub fn new(backend: SocketAddr) -> Self {
        let id = UpstreamId {
            node: "web1".into(),
            service: "web".into(),
        };
        let now = clock::now();
        let mut registry = Registry::new(
            now,
            vec![registry::Settings {
                name: "web".to_owned(),
                check: CheckSpec::Tcp { port: None },
                proto: Proto::Http,
                default_port: 80,
                lost_keep: Duration::from_secs(3600),
                ejection: ejection::Settings::default(),
                limits: lb::pool::queue::Settings::default(),
                hop: lb::pool::hop::Settings::default(),
                backends: vec![],
            }],
        );
        let spec = Spec {
            id: id.clone(),
            address: backend,
            weight: 1,
            tier: 0,
            backup: false,
            check: None,
            proto: None,
            announced: State::Ready,
            standing: Standing::Static,
            joined: 0,
            unusable: None,
            warnings: vec![],
        };
        registry.set_specs(now, "web", vec![spec]);
        let key = Key {
            pool: "web".into(),
            id,
            address: backend,
        };
        let up = Outcome {
            started: now,
            ended: now,
            result: Ok("connected".to_owned()),
            timed_out: false,
            up: Some(true),
        };
        registry.checked(now, &key, up);
        let soon = clock::now() + Duration::from_secs(1);
        while let Some(due) = registry.poll_timeout().filter(|due| *due < soon) {
            registry.handle_timeout(due);
        }
        let pools = registry.pools();
        let pool = pools[0].clone();
        assert!(pool.snapshot.load().has(backend));
        let routes = Arc::new(ArcSwap::from_pointee(Routes {
            pools,
            ..Routes::default()
        }));
        let (feedback_in, feedback) = mpsc::channel(16);
        let (trigger, stop) = shutdown::channel();
        let settings = settings();
        let listeners = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(proxy::bind(&settings.listeners, 1))
            .expect("a free port");
        let address = listeners.addresses()[0].address;
        let server =
            proxy::start(settings, listeners, routes, feedback_in, None, stop).expect("a thread");
        Self {
            address,
            pool,
            server,
            worker: worker(),
            _registry: registry,
            _feedback: feedback,
            _trigger: trigger,
        }
    }

    /// Returns when the worker has nothing to do: it sleeps, waiting for a socket or for time to pass.
    pub fn quiet(&self) {
        let mut text = [0; 128];
        loop {
            let read = self.worker.read_at(&mut text, 0).expect("it runs");
            let name_end = text[..read].iter().rposition(|byte| *byte == b')');
            if name_end.is_some_and(|end| text.get(end + 2) == Some(&b'S')) {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// Client connections, requests, and requests of the backend, that it knows of now.
    pub fn open(&self) -> (u64, u64, u32) {
        let stats = self.server.stats();
        let snapshot = self.pool.snapshot.load();
        let live = &snapshot.backends[0].upstream.live;
        (
            stats.connections_open,
            stats.requests_in_flight,
            live.in_flight(),
        )
    }
}

fn worker() -> File {
    loop {
        for task in std::fs::read_dir("/proc/self/task")
            .expect("Linux")
            .flatten()
        {
            let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            if name.trim() == "worker-0" {
                return File::open(task.path().join("stat")).expect("it runs");
            }
        }
        std::thread::yield_now();
    }
}
