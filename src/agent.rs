//! The companion on a web node: announces services, leaves properly.
//!
//! ```text
//! config ─▶ state ─▶ gossip member with tags role, port, … ─▶ SIGTERM or SIGINT ─▶ graceful leave ─▶ 0
//! ```
//!
//! One current-thread runtime and no server of any kind: it must cost a web node nothing.

use std::process::ExitCode;

use tracing::{info, warn};

use crate::membership::{self, Signal, Signals};
use crate::{announce, config};

/// Runs until SIGTERM or SIGINT.
///
/// Exit codes: 0 left as asked; 1 failed while running or the gossip port stayed busy; 2 not allowed or badly configured;
/// 4 the name is another living node's, found before we were in.
pub fn run(config: config::Agent) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("lb-agent: starting: {error}");
            return ExitCode::from(1);
        }
    };
    runtime.block_on(serve(config))
}

async fn serve(config: config::Agent) -> ExitCode {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("lb-agent: signals cannot be received: {error}");
            return ExitCode::from(1);
        }
    };
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let state = match membership::state(config.state.as_deref(), &config.gossip.node).await {
        Ok(state) => state,
        Err(busy) => {
            eprintln!("lb-agent: {busy}");
            return ExitCode::from(1);
        }
    };
    let gossip = match membership::start(config.gossip.clone(), state.clone()).await {
        Ok(gossip) => gossip,
        Err(error) => {
            eprintln!("lb-agent: {error}");
            return ExitCode::from(if membership::is_configuration(&error) {
                2
            } else {
                1
            });
        }
    };
    let advertised = gossip.advertised();
    eprintln!(
        "lb-agent {}: {} as {:?} at {} ({}), {}",
        env!("CARGO_PKG_VERSION"),
        services(&config.services),
        gossip.name(),
        advertised.address,
        advertised.why,
        match &config.gossip.keyring {
            Some(keys) => format!("encrypted (key {})", keys.primary().fingerprint()),
            None => "UNENCRYPTED".to_owned(),
        }
    );

    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Reload => warn!("SIGHUP changes nothing yet; restart to announce other tags"),
                Signal::Stop => break,
            },
            taken = gossip.name_taken() => {
                eprintln!("lb-agent: {}", membership::taken(&taken.name, taken.holder));
                return ExitCode::from(4);
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
    ExitCode::SUCCESS
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
