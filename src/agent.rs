//! The companion on a web node: announces services, leaves properly.
//!
//! ```text
//! config ─▶ state ─▶ gossip member with tags role, port, … ─▶ SIGTERM or SIGINT ─▶ graceful leave ─▶ 0
//! ```
//!
//! One current-thread runtime and no server of any kind: it must cost a web node nothing.

use std::process::ExitCode;
use std::sync::Arc;

use tracing::{info, warn};

use crate::gossip::driver::Handle;
use crate::membership::{self, Signal, Signals};
use crate::state::State;
use crate::{announce, config};

/// Sockets served at a time. The runtime's own figure is made for a server, and takes 12 kB.
const EVENTS_PER_TICK: usize = 64;

/// Runs until SIGTERM or SIGINT.
///
/// Exit codes: 0 left as asked; 1 failed while running or the gossip port stayed busy; 2 not allowed or badly
/// configured; 4 another living node has our name.
pub fn run(config: config::Agent) -> ExitCode {
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_io_events_per_tick(EVENTS_PER_TICK)
        .build()
        .map_err(|error| Failure::new(1, format!("starting: {error}")))
        .and_then(|runtime| runtime.block_on(serve(config)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("lb-agent: {}", failure.why);
            ExitCode::from(failure.code)
        }
    }
}

/// Why the agent ends without having been asked to.
struct Failure {
    code: u8,
    why: String,
}

impl Failure {
    fn new(code: u8, why: impl ToString) -> Self {
        let why = why.to_string();
        Self { code, why }
    }
}

async fn serve(config: config::Agent) -> Result<(), Failure> {
    let mut signals = Signals::new()
        .map_err(|error| Failure::new(1, format!("signals cannot be received: {error}")))?;
    for warning in &config.warnings {
        warn!("{warning}");
    }
    // A port that stays busy for a while must not make Ctrl-C wait.
    let (gossip, state) = tokio::select! {
        started = start(&config) => started?,
        () = signals.stop() => return Ok(()),
    };
    eprintln!("{}", banner(&config, &gossip));

    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Reload => warn!("SIGHUP changes nothing yet; restart to announce other tags"),
                // It writes no file.
                Signal::Reopen => {}
                Signal::Stop => break,
            },
            taken = membership::taken_at_start(gossip.clone()) => {
                return Err(Failure::new(4, membership::taken(&taken.name, taken.holder)));
            }
        }
    }

    info!("leaving the cluster");
    tokio::select! {
        () = membership::leave(&gossip) => info!("left"),
        () = signals.stop_again() => warn!("stopped at once, as asked twice"),
    }
    if let Some(state) = state {
        state.flush().await;
    }
    Ok(())
}

async fn start(config: &config::Agent) -> Result<(Handle, Option<Arc<State>>), Failure> {
    let state = membership::state(config.state.as_deref(), &config.gossip.node)
        .await
        .map_err(|busy| Failure::new(1, busy))?;
    let gossip = membership::start(config.gossip.clone(), state.clone())
        .await
        .map_err(|error| {
            let code = if membership::is_configuration(&error) {
                2
            } else {
                1
            };
            Failure::new(code, error)
        })?;
    let advertised = gossip.advertised().address;
    config::in_clear_only_in_private(advertised, &config.gossip, config.insecure_gossip)
        .map_err(|why| Failure::new(2, why))?;
    Ok((gossip, state))
}

fn banner(config: &config::Agent, gossip: &Handle) -> String {
    let advertised = gossip.advertised();
    format!(
        "lb-agent {}: {} as {:?} at {} ({}), {}",
        env!("CARGO_PKG_VERSION"),
        services(&config.services),
        gossip.name(),
        advertised.address,
        advertised.why,
        match &*gossip.keyring().borrow() {
            Some(keys) => format!("encrypted (key {})", keys.primary().fingerprint()),
            None => "UNENCRYPTED".to_owned(),
        }
    )
}

fn services(services: &[announce::Service]) -> String {
    let each = services.iter().map(|service| match service.port {
        Some(port) => format!("role {} on port {port}", service.name),
        None => format!("role {} on the pool's port", service.name),
    });
    match each.collect::<Vec<_>>() {
        none if none.is_empty() => "no service announced".to_owned(),
        some => some.join(", "),
    }
}
