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
mod start;
pub mod upgrade;
mod view;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use self::control::Order;
use self::failure::Failure;
use self::upgrade::Estate;
use self::upgrade::successor::Program;
use self::view::Phase;
use crate::gossip::driver::Handle;
use crate::handlers::Handlers;
use crate::membership::journal::Journal;
use crate::membership::{self, Attendance};
use crate::proxy::access;
use crate::state::State;
use crate::{clock, config, proxy, shutdown};

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

impl Front {
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

/// What the service manager shows after a reload that was no good.
const REFUSED: &str = "reload refused, the running configuration stays";

/// What admin and RPC were asked when a successor took over is answered within this.
const ANSWERS_MAX: Duration = Duration::from_secs(1);

/// How long the end waits for a disk to take the last lines of the access log.
const LAST_LINES_MAX: Duration = Duration::from_secs(5);
