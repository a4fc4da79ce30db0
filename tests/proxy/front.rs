//! The proxy under test: real workers, and a registry that the test drives by hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use lb::announce::{CheckSpec, Proto, State};
use lb::clock;
use lb::pool::registry::{self, Key, Outcome, Registry};
use lb::pool::snapshot::Pool;
use lb::pool::spec::{Spec, Standing, UpstreamId};
use lb::pool::upstream::Live;
use lb::pool::{ejection, queue};
use lb::proxy::access::Log;
use lb::proxy::stats::Reason;
use lb::proxy::{self, Feedback, Limits, Listen, Listener, Routes, Server, Settings, Timeouts};
use lb::shutdown::{self, Trigger};
use tokio::sync::mpsc;

use crate::peer::Peer;
use crate::toy::Toy;

/// A running front with one pool, `web`.
pub(crate) struct Front {
    pub address: SocketAddr,
    pub registry: Registry,
    pub pool: Arc<Pool>,
    specs: Vec<Spec>,
    feedback: mpsc::Receiver<Feedback>,
    heard: Vec<Feedback>,
    trigger: Option<Trigger>,
    server: Option<Server>,
}

/// One worker, shipped timeouts.
pub(crate) fn settings() -> Settings {
    Settings {
        listeners: vec![Listener::plain(
            "web",
            Listen::Exactly(vec![SocketAddr::from(([127, 0, 0, 1], 0))]),
        )],
        workers: 1,
        timeouts: Timeouts::default(),
        limits: Limits::default(),
    }
}

/// The same, where clients on loopback may say on whose behalf they ask.
pub(crate) fn trusting() -> Settings {
    let mut settings = settings();
    settings.listeners[0].trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    settings
}

/// A static backend.
pub(crate) fn spec(address: SocketAddr, weight: u16, backup: bool) -> Spec {
    Spec {
        id: UpstreamId {
            node: address.to_string().into(),
            service: "web".into(),
        },
        address,
        weight,
        tier: 0,
        backup,
        check: None,
        proto: None,
        announced: State::Ready,
        standing: Standing::Static,
        joined: 0,
        unusable: None,
        warnings: vec![],
    }
}

fn pool(limits: queue::Settings) -> registry::Settings {
    registry::Settings {
        name: "web".to_owned(),
        check: CheckSpec::Tcp { port: None },
        proto: Proto::Http,
        default_port: 80,
        lost_keep: Duration::from_secs(3600),
        ejection: ejection::Settings::default(),
        hop: lb::pool::hop::Settings::default(),
        limits,
        backends: vec![],
    }
}

impl Front {
    /// These backends, all in.
    pub(crate) fn of(toys: &[&Toy]) -> Self {
        Self::with(settings(), toys)
    }

    /// These backends, all in.
    pub(crate) fn with(settings: Settings, toys: &[&Toy]) -> Self {
        let specs = toys.iter().map(|toy| spec(toy.address, 1, false)).collect();
        let mut front = Self::unproven(settings, specs);
        front.all_up();
        front
    }

    /// These backends, none checked yet.
    pub(crate) fn unproven(settings: Settings, specs: Vec<Spec>) -> Self {
        Self::start(settings, specs, queue::Settings::default(), None)
    }

    /// As [`Self::unproven`], with a line for each request.
    pub(crate) fn logged(settings: Settings, specs: Vec<Spec>, access: Option<&Log>) -> Self {
        Self::start(settings, specs, queue::Settings::default(), access)
    }

    /// Two workers, and backends that take so much, all in.
    pub(crate) fn limited(limits: queue::Settings, toys: &[&Toy]) -> Self {
        let specs = toys.iter().map(|toy| spec(toy.address, 1, false)).collect();
        let settings = Settings {
            workers: 2,
            ..settings()
        };
        let mut front = Self::start(settings, specs, limits, None);
        front.all_up();
        front
    }

    /// A reload of how connections to its backends begin and end.
    pub(crate) fn hop(&mut self, hop: lb::pool::hop::Settings) {
        let settings = registry::Settings {
            hop,
            ..pool(queue::Settings::default())
        };
        self.registry.configure(clock::now(), vec![settings]);
        self.settle();
    }

    /// A reload of the pool's limits.
    pub(crate) fn limit(&mut self, limits: queue::Settings) {
        self.registry.configure(clock::now(), vec![pool(limits)]);
        self.settle();
    }

    /// These backends, none checked yet, with these limits.
    pub(crate) fn start(
        settings: Settings,
        specs: Vec<Spec>,
        limits: queue::Settings,
        access: Option<&Log>,
    ) -> Self {
        Self::routed(settings, specs, limits, access, |pools| Routes {
            pools,
            ..Routes::default()
        })
    }

    /// The same, with routes of the test's own.
    pub(crate) fn routed(
        settings: Settings,
        specs: Vec<Spec>,
        limits: queue::Settings,
        access: Option<&Log>,
        routes: impl FnOnce(Vec<Arc<Pool>>) -> Routes,
    ) -> Self {
        let mut registry = Registry::new(clock::now(), vec![pool(limits)]);
        registry.set_specs(clock::now(), "web", specs.clone());
        let pools = registry.pools();
        let pool = pools[0].clone();
        let routes = Arc::new(ArcSwap::from_pointee(routes(pools)));
        let (feedback_in, feedback) = mpsc::channel(1024);
        let (trigger, stop) = shutdown::channel();
        let listeners =
            run(proxy::bind(&settings.listeners, settings.workers)).expect("a free port");
        let address = listeners.addresses()[0].address;
        let server = proxy::start(settings, listeners, routes, feedback_in, access, stop)
            .expect("threads start");
        let mut front = Self {
            address,
            registry,
            pool,
            specs,
            feedback,
            heard: Vec::new(),
            trigger: Some(trigger),
            server: Some(server),
        };
        front.settle();
        front
    }

    /// A new client connection.
    pub(crate) fn client(&self) -> Peer {
        Peer::connect(self.address)
    }

    fn key(&self, address: SocketAddr) -> Key {
        let spec = self.specs.iter().find(|spec| spec.address == address);
        Key {
            pool: "web".into(),
            id: spec.expect("a known backend").id.clone(),
            address,
        }
    }

    fn checked(&mut self, address: SocketAddr, up: bool) {
        let now = clock::now();
        let outcome = Outcome {
            started: now,
            ended: now,
            result: match up {
                true => Ok("connected".to_owned()),
                false => Err("connection refused".to_owned()),
            },
            timed_out: false,
            up: Some(up),
        };
        let key = self.key(address);
        self.registry.checked(now, &key, outcome);
        self.settle();
    }

    /// Its check passes or fails, whatever comes of that.
    pub(crate) fn change(&mut self, toy: &Toy, up: bool) {
        self.checked(toy.address, up);
    }

    /// Its check passes.
    pub(crate) fn up(&mut self, toy: &Toy) {
        self.checked(toy.address, true);
        assert!(self.pool.snapshot.load().has(toy.address), "it is in");
    }

    /// Its check fails.
    pub(crate) fn down(&mut self, toy: &Toy) {
        self.checked(toy.address, false);
        assert!(!self.pool.snapshot.load().has(toy.address), "it is out");
    }

    /// Its node says "drain"; requests under way there go on.
    pub(crate) fn drain(&mut self, toy: &Toy) {
        for spec in &mut self.specs {
            if spec.address == toy.address {
                spec.announced = State::Drain;
            }
        }
        self.registry
            .set_specs(clock::now(), "web", self.specs.clone());
        self.settle();
        assert!(!self.pool.snapshot.load().has(toy.address), "it is out");
    }

    /// All checks pass.
    pub(crate) fn all_up(&mut self) {
        for spec in self.specs.clone() {
            self.checked(spec.address, true);
        }
    }

    /// Does what is due in the next moments: stores that wait for their turn.
    fn settle(&mut self) {
        let soon = clock::now() + Duration::from_secs(1);
        while let Some(due) = self.registry.poll_timeout().filter(|due| *due < soon) {
            self.registry.handle_timeout(due);
        }
    }

    /// Everything the workers have reported so far.
    pub(crate) fn feedback(&mut self) -> &[Feedback] {
        while let Ok(feedback) = self.feedback.try_recv() {
            self.heard.push(feedback);
        }
        &self.heard
    }

    /// Has the registry hear of the requests that failed since the last call of this or of `feedback`.
    pub(crate) fn learn(&mut self) {
        while let Ok(feedback) = self.feedback.try_recv() {
            if let Feedback::Failed { key, reason } = &feedback {
                self.registry.request_failed(clock::now(), key, reason);
            }
            self.heard.push(feedback);
        }
    }

    /// Has the registry hear of the connects that failed since the last call of this or of `feedback`.
    pub(crate) fn learn_connects(&mut self) {
        while let Ok(feedback) = self.feedback.try_recv() {
            if let Feedback::ConnectFailed { key, reason } = &feedback {
                self.registry.connect_failed(clock::now(), key, reason);
            }
            self.heard.push(feedback);
        }
        self.settle();
    }

    /// Whether it takes requests.
    pub(crate) fn is_in(&self, toy: &Toy) -> bool {
        self.pool.snapshot.load().has(toy.address)
    }

    /// The numbers now.
    pub(crate) fn stats(&self) -> proxy::Scrape {
        self.server.as_ref().expect("it runs").stats()
    }

    /// The numbers, also beyond its end.
    pub(crate) fn counters(&self) -> proxy::Counters {
        self.server.as_ref().expect("it runs").counters()
    }

    /// Repeats for this reason.
    pub(crate) fn retries(&self, reason: Reason) -> u64 {
        let stats = self.stats();
        let count = stats.retries.iter().find(|(known, _)| *known == reason);
        count.expect("all reasons are there").1
    }

    /// Requests that this backend has now, as the pool counts them.
    pub(crate) fn in_flight(&self, toy: &Toy) -> u32 {
        self.live(toy).in_flight()
    }

    /// What workers share about this backend.
    pub(crate) fn live(&self, toy: &Toy) -> Arc<Live> {
        let snapshot = self.pool.snapshot.load();
        let mut backends = snapshot.backends.iter();
        let backend = backends.find(|backend| backend.upstream.address == toy.address);
        backend.expect("a known backend").upstream.live.clone()
    }

    /// Says "stop".
    pub(crate) fn stop(&mut self) {
        self.trigger.take().expect("stopped once").trigger();
    }

    /// Waits for the end of all workers.
    pub(crate) fn drained(&mut self) {
        run(self.server.take().expect("drained once").drained());
    }
}

/// Runs a future on a small runtime of its own.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}
