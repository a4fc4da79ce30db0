//! The front: everything wired together, started and stopped in order.
//!
//! ```text
//! control thread: gossip ─▶ members ─▶ Control (registry, checks) ─▶ ArcSwap<Snapshot>
//!                 admin ◀── counters        ▲ feedback                     │
//! worker threads: listener ─▶ requests ─────┴──────────────────────────────┘
//!
//! start:  lock state → bind proxy, admin, gossip → pools → workers → banner
//! stop:   not ready → shutdown_delay → stop accepting, drain → leave gossip → 0
//! ```

mod banner;
mod control;
mod failure;
mod http2;
mod memory;
mod occasions;
mod plan;
mod pulse;
mod view;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use self::banner::{Banner, Known};
use self::control::{Control, Inputs, Order};
use self::failure::Failure;
use self::memory::Memory;
use self::view::{Phase, View};
use crate::gossip::driver::{self, Handle};
use crate::handlers::Handlers;
use crate::membership::commands::Commands;
use crate::membership::journal::{self, Journal};
use crate::membership::{self, Attendance, Signal, Signals};
use crate::proxy::access;
use crate::proxy::listeners::Bound;
use crate::state::State;
use crate::timeline::Timeline;
use crate::{admin, clock, config, proxy, rpc, shutdown};

/// Runs until SIGTERM or SIGINT; SIGHUP reads the configuration again, SIGUSR1 opens the access log anew.
///
/// Exit codes: 0 stopped as asked; 1 failed while running or a port stayed busy; 2 not allowed or badly configured;
/// 4 just started under the name of another living node.
pub fn run(config: config::Front) -> ExitCode {
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::System {
            what: "the control thread",
            source,
        })
        .and_then(|runtime| runtime.block_on(serve(config)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("lb: {failure}");
            failure.exit_code()
        }
    }
}

async fn serve(config: config::Front) -> Result<(), Failure> {
    let mut signals = Signals::new().map_err(|source| Failure::System {
        what: "signal handling",
        source,
    })?;
    // A port that stays busy for a while must not make Ctrl-C wait.
    let started = tokio::select! {
        started = Front::start(config) => started?,
        () = signals.stop() => return Ok(()),
    };
    let (mut front, server, rpc) = started;
    let mut left = false;

    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Reload => front.reload().await,
                Signal::Reopen => front.reopen(),
                Signal::Stop => break,
            },
            taken = membership::taken_at_start(front.gossip.clone()) => return Err(Failure::Name(taken)),
            () = rpc.left(), if !left => {
                left = true;
                warn!("out of the cluster, as asked through RPC; routing goes on by checks alone, to the backends known now; a restart joins again");
            }
        }
    }

    let interrupted = signals.interrupted();
    tokio::select! {
        () = front.stop(server, interrupted) => info!("stopped"),
        () = signals.stop_again() => warn!("stopped at once, as asked twice"),
    }
    Ok(())
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
    /// Ends the workers.
    stop: shutdown::Trigger,
    /// Ends the admin server, which answers "not ready" to the last.
    end: shutdown::Trigger,
}

impl Front {
    /// Binds everything that can fail first, then starts.
    async fn start(config: config::Front) -> Result<(Self, proxy::Server, rpc::Server), Failure> {
        raise_descriptor_limit();
        let access = config.access_log.as_ref().map(access::open).transpose()?;
        let state = membership::state(config.state.as_deref(), &config.gossip.node).await?;
        let listeners = proxy::bind(&config.proxy.listeners, config.proxy.workers).await?;
        let bound = listeners.addresses().to_vec();
        let admin = bind_admin(&config.admin).await?;
        let commanded = rpc::bind(&config.rpc).await?;
        let own: Vec<SocketAddr> = bound
            .iter()
            .map(|bound| bound.address)
            .chain(config.admin.listen)
            .chain(config.rpc.listen)
            .collect();
        // Before gossip: a front that can't start must not show up and vanish in the cluster.
        let statics = plan::statics(&config.clusters, &own).await?;
        let mut membership = config.gossip.clone();
        let opened = journal::open(config.snapshot.as_ref(), &mut membership)?;
        let gossip = membership::start(membership, state.clone()).await?;
        let advertised = gossip.advertised().address;
        config::in_clear_only_in_private(advertised, &config.gossip, config.insecure_gossip)
            .map_err(driver::StartError::Advertise)?;
        let whoami = gossip.clone();
        let handlers = Handlers::new(config.handlers.clone(), move || membership::who(&whoami));
        let attendance = membership::attend(&gossip, &handlers, &config.handlers);
        let plans = plan::plans(&config.clusters, statics, advertised, &own);
        let memory = Memory::new(clock::now(), state.clone(), gossip.names());
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
                phase: Arc::clone(&phase),
            };
            tokio::spawn(admin::serve(listener, Arc::new(view), ending));
        }
        eprint!(
            "{}",
            banner(&config, &bound, server.workers(), &gossip, known)
        );
        Ok((
            Self {
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
                stop,
                end,
            },
            server,
            rpc,
        ))
    }

    /// All or nothing: everything that can fail comes before the one order that cannot.
    async fn reload(&mut self) {
        let fresh = match config::reload(&self.config) {
            Ok(fresh) => fresh,
            Err(reason) => {
                return error!("reload refused, the running configuration stays: {reason}");
            }
        };
        let statics = match plan::statics(&fresh.clusters, &self.own).await {
            Ok(statics) => statics,
            Err(reason) => {
                return error!("reload refused, the running configuration stays: {reason}");
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
            return error!("reload lost: the control task has ended");
        }
        self.handlers.replace(fresh.handlers.clone());
        if self.attendance.is_none() || fresh.handlers.specs.is_empty() {
            self.attendance = membership::attend(&self.gossip, &self.handlers, &fresh.handlers);
        }
        for warning in &fresh.warnings {
            warn!("{warning}");
        }
        self.config = fresh;
        info!(pools = self.config.clusters.len(), "reloaded");
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
}

/// A busy port is often our own predecessor, about to end.
async fn bind_admin(settings: &admin::Settings) -> Result<Option<TcpListener>, Failure> {
    let started = clock::now();
    loop {
        let source = match admin::bind(settings).await {
            Ok(listener) => return Ok(listener),
            Err(source) => source,
        };
        if source.kind() != io::ErrorKind::AddrInUse || started.elapsed() >= BUSY_MAX {
            let address = settings.listen.unwrap_or(config::ADMIN);
            return Err(Failure::Admin { address, source });
        }
        tokio::time::sleep(BUSY_PAUSE).await;
    }
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
            .map(|bound| banner::Entry {
                address: bound.address,
                cluster: config.proxy.listeners[usize::from(bound.listener)]
                    .cluster
                    .as_deref(),
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

const TIMELINE_ENTRIES: usize = 1000;

/// How long the end waits for a disk to take the last lines of the access log.
const LAST_LINES_MAX: Duration = Duration::from_secs(5);

/// How long a busy admin port is retried, and how often.
const BUSY_MAX: Duration = Duration::from_secs(10);
const BUSY_PAUSE: Duration = Duration::from_millis(100);
