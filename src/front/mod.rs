//! The front: everything wired together, started and stopped in order.
//!
//! ```text
//! control thread: gossip ─▶ members ─▶ Control (registry, checks) ─▶ ArcSwap<Snapshot>
//!                 admin ◀── counters        ▲ feedback                     │
//! worker threads: listener ─▶ requests ─────┴──────────────────────────────┘
//!
//! start:  lock state → bind proxy, admin, gossip → pools → workers → banner
//! stop:   not ready → shutdown_delay → stop accepting, drain → leave gossip → 0
//! upgrade: another process does all of the start; then stop accepting, drain → 0, without a leave (see `upgrade`)
//! ```

mod banner;
mod control;
mod failure;
mod http2;
mod life;
mod memory;
mod occasions;
mod plan;
mod pulse;
mod secure;
mod sockets;
pub mod upgrade;
mod view;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use self::banner::{Banner, Known};
use self::control::{Control, Inputs, Order};
use self::failure::Failure;
use self::memory::Memory;
use self::sockets::Openings;
use self::upgrade::Estate;
use self::upgrade::door::Served;
use self::upgrade::predecessor::{self, Predecessor};
use self::upgrade::successor::Program;
use self::view::{Phase, View};
use crate::gossip::driver::{self, Handle};
use crate::handlers::Handlers;
use crate::membership::commands::Commands;
use crate::membership::journal::{self, Journal, Opened};
use crate::membership::{self, Attendance};
use crate::pool::effective::State as Verdict;
use crate::proxy::Inherited;
use crate::proxy::access;
use crate::proxy::bound::Bound;
use crate::state::State;
use crate::timeline::Timeline;
use crate::{clock, config, notify, proxy, rpc, shutdown};

/// Runs until SIGTERM or SIGINT; SIGHUP reads the configuration again, SIGUSR1 opens the access log anew, SIGUSR2 has
/// a new process of the same program take over.
///
/// Exit codes: 0 stopped as asked, or replaced; 1 failed while running or a port stayed busy; 2 not allowed or badly
/// configured; 4 just started under the name of another living node.
pub fn run(config: config::Front) -> ExitCode {
    let program = Program::of_process();
    let outcome = sockets::activated().and_then(|activated| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Failure::System {
                what: "the control thread",
                source,
            })
            .and_then(|runtime| runtime.block_on(life::serve(config, activated, program)))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("lb: {failure}");
            failure.exit_code()
        }
    }
}

/// A front that serves.
#[derive(Debug)]
struct Front {
    config: config::Front,
    gossip: Handle,
    state: Option<Arc<State>>,
    journal: Journal,
    handlers: Handlers,
    attendance: Option<Attendance>,
    orders: mpsc::Sender<Order>,
    phase: Arc<Phase>,
    access: Option<access::Log>,
    /// Our own listeners, which can't be backends.
    own: Vec<SocketAddr>,
    /// For a successor. While it is here, no socket of ours is closed.
    estate: Arc<Estate>,
    program: Program,
    /// Ends the workers.
    stop: shutdown::Trigger,
    /// Ends the admin server, which answers "not ready" to the last.
    end: shutdown::Trigger,
}

/// A front that has just begun.
#[derive(Debug)]
struct Started {
    front: Front,
    server: proxy::Server,
    rpc: rpc::Server,
    door: Option<Served>,
}

impl Front {
    /// Binds everything that can fail first, then starts. One that has a predecessor takes over from it.
    async fn start(
        config: config::Front,
        activated: Inherited,
        program: Program,
    ) -> Result<Started, Failure> {
        raise_descriptor_limit();
        let mut predecessor = predecessor::find().await?;
        let access = config.access_log.as_ref().map(access::open).transpose()?;
        let Openings {
            state,
            listeners,
            admin,
            rpc: commanded,
            door,
            estate,
        } = Openings::open(&config, activated, predecessor.as_mut()).await?;
        let bound = listeners.addresses().to_vec();
        let own: Vec<SocketAddr> = bound
            .iter()
            .map(|bound| bound.address)
            .chain(config.admin.listen)
            .chain(config.rpc.listen)
            .collect();
        // Before gossip: a front that can't start must not show up and vanish in the cluster.
        let statics = plan::statics(&config.clusters, &own).await?;
        let (gossip, mut opened) = join(&config, state.clone(), predecessor.as_mut()).await?;
        let advertised = gossip.advertised().address;
        let whoami = gossip.clone();
        let handlers = Handlers::new(config.handlers.clone(), move || membership::who(&whoami));
        let attendance = membership::attend(&gossip, &handlers, &config.handlers);
        let plans = plan::plans(&config.clusters, statics, advertised, &own);
        let told = predecessor.as_ref().and_then(Predecessor::backends);
        let memory = Memory::new(clock::now(), state.clone(), told, gossip.names());
        let known = Known {
            statics: plans.iter().map(|plan| plan.statics.len()).sum(),
            remembered: plans
                .iter()
                .map(|plan| memory.count(&plan.cluster.pool.name))
                .sum(),
        };

        let (feedback, feedbacks) = mpsc::channel(FEEDBACK_MAX);
        let (orders, order_queue) = mpsc::channel(1);
        let inputs = Inputs {
            members: gossip.members(),
            acks: gossip.acks(),
            feedback: feedbacks,
            orders: order_queue,
            memory,
            handlers: handlers.clone(),
        };
        let control = Control::new(
            plans,
            inputs,
            Arc::new(Mutex::new(Timeline::new(TIMELINE_ENTRIES))),
        );
        let shared = control.shared();
        tokio::spawn(control.run());
        if let Some(predecessor) = &mut predecessor {
            // Whatever it served with, we have looked at.
            let longest = JUDGED_MAX.min(config.proxy.timeouts.successor / 2);
            let _ = tokio::time::timeout(longest, judged(&shared, known)).await;
            predecessor.ready().await?;
            // Only now is it complete, and only now is it ours.
            opened = journal::open(config.snapshot.as_ref(), &mut config.gossip.clone())?;
        }

        let (stop, stopping) = shutdown::channel();
        let server = proxy::start(
            config.proxy.clone(),
            listeners,
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
        let journal = Journal::keep(opened, &gossip);
        let commands = Commands::new(gossip.clone(), state.clone(), handlers.clone())
            .keeping(journal.clone(), config.tags_file.as_deref());
        let rpc = rpc::start(commanded, &config.rpc, commands, ending.clone());
        if let Some(listener) = admin {
            let view = View {
                gossip: gossip.clone(),
                handlers: handlers.clone(),
                shared,
                requests: server.counters(),
                listeners: config.proxy.listeners.clone(),
                phase: Arc::clone(&phase),
            };
            tokio::spawn(crate::admin::serve(listener, Arc::new(view), ending));
        }
        if let Some(state) = &state {
            state.own();
        }
        let door = door.map(|door| door.serve());
        if let Some(predecessor) = predecessor {
            let (pid, version) = predecessor.who();
            predecessor.serving().await;
            info!("took over from process {pid} (lb {version}), which drains");
        }
        eprint!(
            "{}",
            banner(&config, &bound, server.workers(), &gossip, known)
        );
        notify::ready(&format!("serving {}", count(bound.len(), "address")));
        let front = Self {
            config,
            gossip,
            state,
            journal,
            handlers,
            attendance,
            orders,
            phase,
            access,
            own,
            estate: Arc::new(estate),
            program,
            stop,
            end,
        };
        Ok(Started {
            front,
            server,
            rpc,
            door,
        })
    }

    /// All or nothing: everything that can fail comes before the one order that cannot. In a few words, how it went.
    async fn reload(&mut self) -> &'static str {
        let mut fresh = match config::reload(&self.config) {
            Ok(fresh) => fresh,
            Err(reason) => {
                error!("reload refused, the running configuration stays: {reason}");
                return REFUSED;
            }
        };
        let statics = match plan::statics(&fresh.clusters, &self.own).await {
            Ok(statics) => statics,
            Err(reason) => {
                error!("reload refused, the running configuration stays: {reason}");
                return REFUSED;
            }
        };
        let advertised = self.gossip.advertised().address;
        let plans = plan::plans(&fresh.clusters, statics, advertised, &self.own);
        let (done, committed) = oneshot::channel();
        if self
            .orders
            .send(Order::Reload { plans, done })
            .await
            .is_err()
            || committed.await.is_err()
        {
            error!("reload lost: the control task has ended");
            return REFUSED;
        }
        secure::replace(&self.config.proxy.listeners, &mut fresh.proxy.listeners);
        self.handlers.replace(fresh.handlers.clone());
        if self.attendance.is_none() || fresh.handlers.specs.is_empty() {
            self.attendance = membership::attend(&self.gossip, &self.handlers, &fresh.handlers);
        }
        for warning in &fresh.warnings {
            warn!("{warning}");
        }
        self.config = fresh;
        info!(pools = self.config.clusters.len(), "reloaded");
        "reloaded"
    }

    fn reopen(&self) {
        match &self.access {
            Some(access) => access.reopen(),
            None => info!("SIGUSR1: there is no access log to open anew"),
        }
    }

    /// Not ready, then no more connections, then no more requests, then out of the cluster.
    async fn stop(self, server: proxy::Server, interrupted: bool) {
        let timeouts = &self.config.proxy.timeouts;
        self.phase.stop();
        info!(
            "stopping: requests under way get up to {}",
            clock::readable(timeouts.drain)
        );
        tokio::time::sleep(timeouts.shutdown_delay).await;
        // The workers hold the last descriptors then, and whoever comes after they closed theirs is refused.
        drop(self.estate);
        self.stop.trigger();
        server.drained().await;
        if let Some(access) = self.access {
            access.close(LAST_LINES_MAX).await;
        }
        if interrupted {
            self.journal.leave().await;
        }
        membership::leave(&self.gossip).await;
        membership::last_scripts(self.attendance, &self.handlers).await;
        self.journal.finish().await;
        if let Some(state) = &self.state {
            state.flush().await;
        }
        self.end.trigger();
    }

    /// Another process accepts, answers and is the member: what is left are requests under way.
    async fn retire(self, server: proxy::Server) {
        self.end.trigger();
        // It was finished when gossip fell silent, and is the successor's now.
        drop(self.journal);
        server.replaced();
        drop(self.estate);
        self.stop.trigger();
        tokio::join!(server.drained(), tokio::time::sleep(ANSWERS_MAX));
        if let Some(access) = self.access {
            access.close(LAST_LINES_MAX).await;
        }
        membership::last_scripts(self.attendance, &self.handlers).await;
    }
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

/// Feedback waiting for the control task; beyond it workers drop theirs, checks find out as well.
const FEEDBACK_MAX: usize = 4096;

/// What the service manager shows after a reload that was no good.
const REFUSED: &str = "reload refused, the running configuration stays";

const TIMELINE_ENTRIES: usize = 1000;

/// What admin and RPC were asked when a successor took over is answered within this.
const ANSWERS_MAX: Duration = Duration::from_secs(1);

/// How long the end waits for a disk to take the last lines of the access log.
const LAST_LINES_MAX: Duration = Duration::from_secs(5);

/// How long a new process looks at the backends it was told of. One check takes half a second at most.
const JUDGED_MAX: Duration = Duration::from_secs(5);
const JUDGED_PAUSE: Duration = Duration::from_millis(5);
