//! The start of a front: what can fail comes first, what others see of it last.
//!
//! ```text
//! sockets, state ─▶ enter (member, pools as known so far) ─▶ judge (control task) ─▶ workers ─▶ RPC, admin ─▶ banner
//!                                                               └── with a predecessor: until all are judged, then
//!                                                                   it makes room
//! ```

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::banner::{self, Banner, Known};
use super::control::{self, Control, Inputs};
use super::failure::Failure;
use super::memory::Memory;
use super::plan::{self, PoolPlan};
use super::sockets::Openings;
use super::upgrade::door::Served;
use super::upgrade::predecessor::{self, Predecessor};
use super::upgrade::successor::Program;
use super::view::{Phase, View};
use super::{Front, secure};
use crate::gossip::driver::{self, Handle};
use crate::handlers::Handlers;
use crate::membership::commands::Commands;
use crate::membership::journal::{self, Journal, Opened};
use crate::membership::{self, Attendance};
use crate::pool::effective::State as Verdict;
use crate::proxy::bound::Bound;
use crate::proxy::{Inherited, access};
use crate::state::State;
use crate::timeline::Timeline;
use crate::{clock, config, notify, proxy, rpc, shutdown};

/// Feedback waiting for the control task; beyond it workers drop theirs, checks find out as well.
const FEEDBACK_MAX: usize = 4096;

const TIMELINE_ENTRIES: usize = 1000;

/// How long a new process looks at the backends it was told of. One check takes half a second at most.
const JUDGED_MAX: Duration = Duration::from_secs(5);
const JUDGED_PAUSE: Duration = Duration::from_millis(5);

/// A front that has just begun.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) front: Front,
    pub(super) server: proxy::Server,
    pub(super) rpc: rpc::Server,
    pub(super) door: Option<Served>,
}

/// A member of the cluster that knows its pools so far, and has judged nobody yet.
struct Entered {
    gossip: Handle,
    opened: Option<Opened>,
    handlers: Handlers,
    attendance: Option<Attendance>,
    plans: Vec<PoolPlan>,
    memory: Memory,
    known: Known,
}

impl Front {
    /// Binds everything that can fail first, then starts. One that has a predecessor takes over from it.
    pub(super) async fn start(
        config: config::Front,
        activated: Inherited,
        program: Program,
    ) -> Result<Started, Failure> {
        raise_descriptor_limit();
        let mut predecessor = predecessor::find().await?;
        let access = config.access_log.as_ref().map(access::open).transpose()?;
        let openings = Openings::open(&config, activated, predecessor.as_mut()).await?;
        let state = openings.state;
        let bound = openings.listeners.addresses().to_vec();
        let own = own_addresses(&config, &bound);
        let entered = enter(&config, &own, state.clone(), predecessor.as_mut()).await?;
        let (gossip, handlers, known) = (entered.gossip, entered.handlers, entered.known);
        let (feedback, feedbacks) = mpsc::channel(FEEDBACK_MAX);
        let (orders, order_queue) = mpsc::channel(1);
        let inputs = Inputs {
            members: gossip.members(),
            acks: gossip.acks(),
            feedback: feedbacks,
            orders: order_queue,
            memory: entered.memory,
            handlers: handlers.clone(),
        };
        let shared = judge(entered.plans, inputs);
        let mut opened = entered.opened;
        if let Some(predecessor) = &mut predecessor {
            opened = relieve(predecessor, &config, &shared, known).await?;
        }

        let (stop, stopping) = shutdown::channel();
        let server = proxy::start(
            config.proxy.clone(),
            openings.listeners,
            Arc::clone(&shared.routes),
            feedback,
            access.as_ref(),
            stopping,
        )
        .map_err(|source| Failure::System {
            what: "a worker",
            source,
        })?;
        secure::watch(&config.proxy.listeners);
        let phase = Arc::new(Phase::new(
            config.proxy.timeouts.first_verdict,
            config.admin.ready_requires_backend,
        ));
        let (end, ending) = shutdown::channel();
        let front = Self {
            journal: Journal::keep(opened, &gossip),
            gossip,
            state,
            handlers,
            attendance: entered.attendance,
            orders,
            phase,
            access,
            own,
            estate: Arc::new(openings.estate),
            program,
            stop,
            end,
            config,
        };
        let rpc = front.command(openings.rpc, ending.clone());
        if let Some(listener) = openings.admin {
            front.show(listener, shared, &server, ending);
        }
        if let Some(state) = &front.state {
            state.own();
        }
        let door = openings.door.map(|door| door.serve());
        if let Some(predecessor) = predecessor {
            let (pid, version) = predecessor.who();
            predecessor.serving().await;
            info!("took over from process {pid} (lb {version}), which drains");
        }
        let text = banner(
            &front.config,
            &bound,
            server.workers(),
            &front.gossip,
            known,
        );
        eprint!("{text}");
        notify::ready(&format!("serving {}", count(bound.len(), "address")));
        Ok(Started {
            front,
            server,
            rpc,
            door,
        })
    }

    /// Has commands answered.
    fn command(&self, listener: Option<TcpListener>, ending: shutdown::Shutdown) -> rpc::Server {
        let (state, handlers) = (self.state.clone(), self.handlers.clone());
        let commands = Commands::new(self.gossip.clone(), state, handlers)
            .keeping(self.journal.clone(), self.config.tags_file.as_deref());
        rpc::start(listener, &self.config.rpc, commands, ending)
    }

    /// Has the admin address answer.
    fn show(
        &self,
        listener: TcpListener,
        shared: control::Shared,
        server: &proxy::Server,
        ending: shutdown::Shutdown,
    ) {
        let view = View {
            gossip: self.gossip.clone(),
            handlers: self.handlers.clone(),
            shared,
            requests: server.counters(),
            listeners: self.config.proxy.listeners.clone(),
            phase: Arc::clone(&self.phase),
        };
        tokio::spawn(crate::admin::serve(listener, Arc::new(view), ending));
    }
}

/// Every address that we listen on, which can't be a backend's.
fn own_addresses(config: &config::Front, bound: &[Bound]) -> Vec<SocketAddr> {
    bound
        .iter()
        .map(|bound| bound.address)
        .chain(config.admin.listen)
        .chain(config.rpc.listen)
        .collect()
}

/// Becomes a member; `own` are our listeners' addresses.
async fn enter(
    config: &config::Front,
    own: &[SocketAddr],
    state: Option<Arc<State>>,
    mut predecessor: Option<&mut Predecessor>,
) -> Result<Entered, Failure> {
    // First: a front that can't start must not show up and vanish in the cluster.
    let statics = plan::statics(&config.clusters, own).await?;
    let (gossip, opened) = join(config, state.clone(), predecessor.as_deref_mut()).await?;
    let advertised = gossip.advertised().address;
    let whoami = gossip.clone();
    let handlers = Handlers::new(config.handlers.clone(), move || membership::who(&whoami));
    let attendance = membership::attend(&gossip, &handlers, &config.handlers);
    let plans = plan::plans(&config.clusters, statics, advertised, own);
    let told = predecessor.as_deref().and_then(Predecessor::backends);
    let memory = Memory::new(clock::now(), state, told, gossip.names());
    let known = Known {
        statics: plans.iter().map(|plan| plan.statics.len()).sum(),
        remembered: plans
            .iter()
            .map(|plan| memory.count(&plan.cluster.pool.name))
            .sum(),
    };
    Ok(Entered {
        gossip,
        opened,
        handlers,
        attendance,
        plans,
        memory,
        known,
    })
}

/// Starts the control task.
fn judge(plans: Vec<PoolPlan>, inputs: Inputs) -> control::Shared {
    let timeline = Arc::new(Mutex::new(Timeline::new(TIMELINE_ENTRIES)));
    let control = Control::new(plans, inputs, timeline);
    let shared = control.shared();
    tokio::spawn(control.run());
    shared
}

/// Takes over from `predecessor`, once we know what it knew of the backends: its snapshot is ours then.
async fn relieve(
    predecessor: &mut Predecessor,
    config: &config::Front,
    shared: &control::Shared,
    known: Known,
) -> Result<Option<Opened>, Failure> {
    // Whatever it served with, we have looked at.
    let longest = JUDGED_MAX.min(config.proxy.timeouts.successor / 2);
    let _ = tokio::time::timeout(longest, judged(shared, known)).await;
    predecessor.ready().await?;
    // Only now is it complete, and only now is it ours.
    let opened = journal::open(config.snapshot.as_ref(), &mut config.gossip.clone())?;
    Ok(opened)
}

/// Starts the member, or goes on as the one that the predecessor was.
async fn join(
    config: &config::Front,
    state: Option<Arc<State>>,
    predecessor: Option<&mut Predecessor>,
) -> Result<(Handle, Option<Opened>), Failure> {
    let mut opened = None;
    let (settings, seat) = match predecessor {
        // It knows more than the snapshot that it writes.
        Some(predecessor) => (predecessor.shape(config)?, predecessor.seat()),
        None => {
            let mut settings = config.gossip.clone();
            opened = journal::open(config.snapshot.as_ref(), &mut settings)?;
            (settings, None)
        }
    };
    let gossip = membership::start_at(settings, state, seat).await?;
    let advertised = gossip.advertised().address;
    config::in_clear_only_in_private(advertised, &config.gossip, config.insecure_gossip)
        .map_err(driver::StartError::Advertise)?;
    Ok((gossip, opened))
}

/// Returns when every backend known from the start has its first verdict.
async fn judged(shared: &control::Shared, known: Known) {
    let expected = known.statics + known.remembered;
    loop {
        let routes = shared.routes.load();
        let (mut all, mut open) = (0, 0);
        for pool in &routes.pools {
            let snapshot = pool.snapshot.load();
            let unproven = |backend: &&crate::pool::snapshot::Backend| {
                backend.verdict.state == Verdict::Unproven
            };
            all += snapshot.backends.len();
            open += snapshot.backends.iter().filter(unproven).count();
        }
        if all >= expected && open == 0 {
            return;
        }
        tokio::time::sleep(JUDGED_PAUSE).await;
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "es" })
}

fn banner(
    config: &config::Front,
    bound: &[Bound],
    workers: usize,
    gossip: &Handle,
    known: Known,
) -> String {
    let banner = Banner {
        pools: config
            .clusters
            .iter()
            .map(|cluster| cluster.pool.name.as_str())
            .collect(),
        entries: bound
            .iter()
            .map(|bound| {
                let listener = &config.proxy.listeners[usize::from(bound.listener)];
                banner::Entry {
                    address: bound.address,
                    secured: listener.tls.is_some(),
                    cluster: listener.cluster.as_deref(),
                    relays: listener.mode == proxy::Mode::Tcp,
                    introduced: listener.proxy_protocol.is_some(),
                }
            })
            .collect(),
        workers,
        admin: config.admin.listen,
        node: &gossip.name(),
        gossip: gossip.advertised(),
        key: gossip
            .keyring()
            .borrow()
            .as_ref()
            .map(|keys| keys.primary().fingerprint()),
        join: &config.gossip.join,
        known,
    };
    banner.text()
}

/// A proxy needs two descriptors a request; the soft limit of a shell is far below the hard one.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            warn!(%error, "the descriptor limit stays low");
        }
    }
}
