//! A front from its start to its end: what signals and callers want of it.
//!
//! ```text
//! SIGHUP ─▶ reload      SIGUSR1 ─▶ reopen      SIGTERM, SIGINT ─▶ stop ─▶ leave ─▶ 0
//! SIGUSR2, `lb upgrade` ─▶ a successor ─┬─ serves ─▶ retire, without a leave ─▶ 0
//!                                       └─ fails  ─▶ told, and all goes on
//! ```

use std::pin::Pin;

use tokio::signal::unix::{self, SignalKind};
use tracing::{error, info, warn};

use super::failure::Failure;
use super::start::Started;
use super::upgrade::door::{Caller, Reply, Served};
use super::upgrade::successor::{self, Failed, Plan, Successor};
use super::{Front, Program};
use crate::membership::{self, Signal, Signals};
use crate::proxy::Inherited;
use crate::{clock, config, notify, rpc, script};

/// Serves until asked to stop, or replaced.
pub(super) async fn serve(
    config: config::Front,
    activated: Inherited,
    program: Program,
) -> Result<(), Failure> {
    let handled = |source| Failure::System {
        what: "signal handling",
        source,
    };
    let mut signals = Signals::new().map_err(handled)?;
    let mut usr2 = unix::signal(SignalKind::user_defined2()).map_err(handled)?;
    tokio::spawn(script::bury_orphans());
    // A port that stays busy for a while must not make Ctrl-C wait.
    let started = tokio::select! {
        started = Front::start(config, activated, program) => started?,
        () = signals.stop() => return Ok(()),
    };
    let Started {
        mut front,
        server,
        rpc,
        mut door,
    } = started;
    let watched = notify::watchdog().map(|every| {
        tokio::spawn(async move {
            loop {
                notify::alive();
                tokio::time::sleep(every).await;
            }
        })
    });
    let then = front
        .live(&mut signals, &mut usr2, &rpc, door.as_mut())
        .await?;
    match then {
        Then::Stop => {
            notify::stopping("requests under way finish");
            if let Some(door) = door {
                door.close();
            }
            let interrupted = signals.interrupted();
            tokio::select! {
                () = front.stop(server, interrupted) => info!("stopped"),
                () = signals.stop_again() => warn!("stopped at once, as asked twice"),
            }
        }
        Then::Replaced(successor, caller) => {
            // The manager hears of the successor only.
            if let Some(watched) = watched {
                watched.abort();
            }
            if let Some(door) = door {
                door.hand_over();
            }
            front.told(&successor, caller).await;
            let stop_twice = async {
                signals.stop().await;
                info!("stopping already: process {} serves", successor.pid);
                signals.stop_again().await;
            };
            tokio::select! {
                () = front.retire(server) => info!("drained; process {} serves", successor.pid),
                () = stop_twice => warn!("stopped at once, as asked twice"),
                () = refuse(&mut usr2, &successor) => {}
            }
        }
    }
    Ok(())
}

/// How a life ends.
enum Then {
    Stop,
    Replaced(Successor, Option<Caller>),
}

/// An upgrade under way, and who asked for it; `None`: a signal.
struct Attempt {
    outcome: Pin<Box<dyn Future<Output = Result<Successor, Failed>>>>,
    caller: Option<Caller>,
}

impl Front {
    async fn live(
        &mut self,
        signals: &mut Signals,
        usr2: &mut unix::Signal,
        rpc: &rpc::Server,
        mut door: Option<&mut Served>,
    ) -> Result<Then, Failure> {
        let mut left = false;
        let mut attempt: Option<Attempt> = None;
        loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Reload if attempt.is_some() => {
                        error!("reload refused: an upgrade is under way, and reads the configuration itself");
                    }
                    Signal::Reload => {
                        notify::reloading(clock::system_us());
                        notify::ready(self.reload().await);
                    }
                    Signal::Reopen => self.reopen(),
                    Signal::Stop => {
                        if let Some(Attempt { outcome, caller }) = attempt {
                            warn!("the upgrade is given up: asked to stop");
                            drop(outcome);
                            refused(caller, "lb was asked to stop meanwhile").await;
                        }
                        return Ok(Then::Stop);
                    }
                },
                _ = usr2.recv() => self.begin(&mut attempt, None).await,
                caller = next(&mut door) => self.begin(&mut attempt, Some(caller)).await,
                outcome = ended(&mut attempt) => {
                    let caller = attempt.take().and_then(|attempt| attempt.caller);
                    match outcome {
                        Ok(successor) => return Ok(Then::Replaced(successor, caller)),
                        Err(failed) => {
                            error!("upgrade failed, this process goes on: {failed}");
                            refused(caller, &failed.to_string()).await;
                        }
                    }
                }
                taken = membership::taken_at_start(self.gossip.clone()) => return Err(Failure::Name(taken)),
                () = rpc.left(), if !left => {
                    left = true;
                    warn!("out of the cluster, as asked through RPC; routing goes on by checks alone, to the backends known now; a restart joins again");
                }
            }
        }
    }

    /// Starts an upgrade, unless one is under way.
    async fn begin(&self, attempt: &mut Option<Attempt>, caller: Option<Caller>) {
        let refusal = if attempt.is_some() {
            "an upgrade is under way already"
        } else if std::process::id() == 1 {
            "this is process 1 of a container, which ends with it: start a new container instead"
        } else {
            let mut program = self.program.clone();
            if let Some(binary) = caller
                .as_ref()
                .and_then(|caller| caller.request.binary.clone())
            {
                program.file = binary;
            }
            let outcome = successor::upgrade(Plan {
                program,
                estate: self.estate.clone(),
                gossip: self.gossip.clone(),
                state: self.state.clone(),
                journal: self.journal.clone(),
                orders: self.orders.clone(),
                config: self.config.clone(),
            });
            *attempt = Some(Attempt {
                outcome: Box::pin(outcome),
                caller,
            });
            return;
        };
        warn!("upgrade refused: {refusal}");
        refused(caller, refusal).await;
    }

    /// Says who serves now, and that this one ends.
    async fn told(&self, successor: &Successor, caller: Option<Caller>) {
        let Successor { pid, version } = successor;
        let drain = clock::readable(self.config.proxy.timeouts.drain);
        info!(
            "upgraded: process {pid} (lb {version}) serves; requests under way here get up to {drain}"
        );
        if let Some(caller) = caller {
            let reply = Reply::Done {
                pid: *pid,
                version: version.clone(),
                old_pid: std::process::id(),
                old_version: env!("CARGO_PKG_VERSION").to_owned(),
                drain,
            };
            caller.answer(&reply).await;
        }
    }
}

async fn refused(caller: Option<Caller>, reason: &str) {
    if let Some(caller) = caller {
        let reason = reason.to_owned();
        caller.answer(&Reply::Failed { reason }).await;
    }
}

/// A process that was replaced has nothing to hand on.
async fn refuse(usr2: &mut unix::Signal, successor: &Successor) {
    loop {
        usr2.recv().await;
        warn!(
            "upgrade refused: this process was replaced by process {}, ask that one",
            successor.pid
        );
    }
}

async fn next(door: &mut Option<&mut Served>) -> Caller {
    match door {
        Some(door) => door.next().await,
        None => std::future::pending().await,
    }
}

async fn ended(attempt: &mut Option<Attempt>) -> Result<Successor, Failed> {
    match attempt {
        Some(attempt) => attempt.outcome.as_mut().await,
        None => std::future::pending().await,
    }
}
