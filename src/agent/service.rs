//! The service that `lb-agent run -- COMMAND…` starts, and stops after everyone knows.
//!
//! ```text
//! start ─▶ its port opens ─▶ (joined) ─▶ ended by itself: its exit code
//!                                  └───▶ SIGTERM to its group ──grace──▶ SIGKILL
//! ```
//!
//! A process group of its own, so that Ctrl-C reaches the agent alone, which leaves the cluster first.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind};
use tracing::{info, warn};

use crate::membership::Signals;
use crate::script::{self, Ours};

/// Between two looks at the port.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// For one connect of them; local ones take none of it.
const LOOK_MAX: Duration = Duration::from_millis(250);

/// How a shell tells that there is no such program, and that it may not be run.
const NOT_FOUND: u8 = 127;
const NOT_ALLOWED: u8 = 126;

/// Why there is no service.
#[derive(Debug, thiserror::Error)]
#[error("{program}: {source}")]
pub(super) struct NotStarted {
    program: String,
    source: io::Error,
}

impl NotStarted {
    pub(super) fn exit_code(&self) -> u8 {
        match self.source.kind() {
            io::ErrorKind::NotFound => NOT_FOUND,
            _ => NOT_ALLOWED,
        }
    }
}

/// What comes of a running service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It has ended, with this exit code.
    Ended(u8),
    /// SIGQUIT: it shall end by that.
    Quit,
}

/// A running service. Dropping it kills all of its group.
#[derive(Debug)]
pub(super) struct Service {
    child: Child,
    _ours: Ours,
    group: u32,
    usr2: unix::Signal,
    quit: unix::Signal,
}

impl Service {
    /// Starts `command` with `env` added to our environment.
    pub(super) fn start(command: &[OsString], env: &[(&str, String)]) -> Result<Self, NotStarted> {
        let program = command.first().cloned().unwrap_or_default();
        let not_started = |source| NotStarted {
            program: program.to_string_lossy().into_owned(),
            source,
        };
        // Before the child: from now on they no longer end us and leave it alone.
        let usr2 = unix::signal(SignalKind::user_defined2()).map_err(not_started)?;
        let quit = unix::signal(SignalKind::quit()).map_err(not_started)?;
        let mut started = Command::new(&program);
        started
            .args(command.iter().skip(1))
            .envs(env.iter().map(|(name, value)| (name, value)))
            .process_group(0);
        for secret in script::SECRETS {
            started.env_remove(secret);
        }
        let (child, ours) = script::spawn(&mut started).map_err(not_started)?;
        let group = child.id().unwrap_or_default();
        info!(pid = group, "started {}", program.to_string_lossy());
        Ok(Self {
            child,
            _ours: ours,
            group,
            usr2,
            quit,
        })
    }

    /// Its end, or a wish for it; what means nothing to us is passed on.
    pub(super) async fn next(&mut self) -> Heard {
        loop {
            tokio::select! {
                code = ended(&mut self.child) => return Heard::Ended(code),
                _ = self.usr2.recv() => script::signal_group(self.group, Signal::USR2),
                _ = self.quit.recv() => return Heard::Quit,
            }
        }
    }

    /// Passes a signal on.
    pub(super) fn signal(&self, signal: Signal) {
        script::signal_group(self.group, signal);
    }

    /// `signal`, and SIGKILL after `grace` or at the second wish to stop; its exit code.
    pub(super) async fn stop(
        mut self,
        signal: Signal,
        grace: Duration,
        signals: &mut Signals,
    ) -> u8 {
        self.signal(signal);
        // Somebody who is stopped may have to hear it.
        self.signal(Signal::CONT);
        tokio::select! {
            code = ended(&mut self.child) => return code,
            () = tokio::time::sleep(grace) => warn!("the service did not stop within {grace:?}; killed"),
            () = signals.stop_again() => warn!("the service is killed, as asked twice"),
        }
        self.signal(Signal::KILL);
        ended(&mut self.child).await
    }
}

/// Returns once somebody accepts connections at `port` of any of our addresses, the `given` ones among them.
pub(super) async fn opened(port: u16, given: impl Iterator<Item = IpAddr>) {
    let mut addresses: Vec<IpAddr> = given.filter(|ip| !ip.is_unspecified()).collect();
    addresses.extend([
        IpAddr::from(Ipv4Addr::LOCALHOST),
        Ipv6Addr::LOCALHOST.into(),
    ]);
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    addresses.extend(interfaces.iter().map(if_addrs::Interface::ip));
    loop {
        for ip in &addresses {
            let connect = TcpStream::connect(SocketAddr::new(*ip, port));
            if let Ok(Ok(_)) = tokio::time::timeout(LOOK_MAX, connect).await {
                return;
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Its exit code once it has ended; 128 and the signal for one that was killed.
async fn ended(child: &mut Child) -> u8 {
    match child.wait().await {
        Ok(status) => u8::try_from(script::exit_code(status)).unwrap_or(u8::MAX),
        Err(error) => {
            warn!("the service cannot be waited for: {error}");
            1
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}
