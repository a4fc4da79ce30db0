//! The tasks that watch the service: the agent's own check, and the agent-check command.
//!
//! ```text
//! Companion ─▶ health::own task ──watch<Opinion>──┐
//!           └▶ agent-check task ──watch<Wish>─────┴─▶ Standing, at each change
//! ```
//!
//! Gossip waits for none of them, and neither does the end of the program.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tracing::{info, warn};

use super::standing::Standing;
use crate::announce::line::{Line, Wish};
use crate::clock;
use crate::config::Companion;
use crate::health::own::ttl::Deadline;
use crate::health::own::{self, Opinion, OwnCheck};
use crate::script::{self, Keep, Order};

/// Of a check that asks no address.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// For an answer of the agent-check command.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Of its output; an answer is its first line.
const ANSWER_BYTES_MAX: usize = 1024;

/// What is watched, by whom. Dropping it ends the tasks and what they run.
#[derive(Debug, Default)]
pub(super) struct Watches {
    check: Option<Watch<Opinion>>,
    is_checked_by_fronts: bool,
    /// That a check asks.
    address: Option<SocketAddr>,
    wish: Option<Watch<Wish>>,
}

#[derive(Debug)]
struct Watch<T> {
    seen: watch::Receiver<T>,
    task: AbortHandle,
}

impl<T> Drop for Watch<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watches {
    /// Takes the place where the service reports to, if it shall report.
    ///
    /// # Errors
    /// Those of the socket.
    pub(super) fn bind(settings: &Companion) -> io::Result<Self> {
        let mut watches = Self::default();
        if let (Some(OwnCheck::Ttl(ttl)), Some(path)) = (&settings.check, &settings.check_socket) {
            let deadline = Deadline::bind(path)?;
            info!(socket = %path.display(), "reports of the service are awaited");
            let why = format!("no report yet, one is due every {}", clock::readable(*ttl));
            let (sender, seen) = watch::channel(Opinion::Unproven(why));
            let task = tokio::spawn(deadline.watch(*ttl, sender)).abort_handle();
            watches.check = Some(Watch { seen, task });
        }
        Ok(watches)
    }

    /// What a service finds in its environment that can report as it would to systemd.
    pub(super) fn environment(&self, settings: &Companion) -> Vec<(&'static str, String)> {
        match (&settings.check, &settings.check_socket) {
            (Some(OwnCheck::Ttl(ttl)), Some(path)) => vec![
                ("NOTIFY_SOCKET", path.display().to_string()),
                ("WATCHDOG_USEC", ttl.as_micros().to_string()),
            ],
            _ => Vec::new(),
        }
    }

    /// Begins with what needs no address.
    pub(super) fn begin(&mut self, settings: &Companion) {
        if let Some(check @ OwnCheck::Exec(_)) = &settings.check {
            self.start(check.clone(), NOWHERE, settings, None);
        }
        self.hear(settings);
    }

    /// Begins with what asks the service at `address`.
    pub(super) fn reach(&mut self, settings: &Companion, address: SocketAddr) {
        if let Some(check @ OwnCheck::Network(_)) = &settings.check {
            self.is_checked_by_fronts = true;
            self.address = Some(address);
            self.start(check.clone(), address, settings, None);
        }
    }

    /// Takes over what differs. Until a new check has found out more, the old one's word stands.
    pub(super) fn reload(&mut self, old: &Companion, new: &Companion, address: SocketAddr) {
        let moved = self.address.is_some_and(|known| known != address);
        let differs = (&old.check, &old.timing) != (&new.check, &new.timing) || moved;
        // A ttl check has no timing but its own, and stays as it is until a restart.
        if differs && !matches!(new.check, Some(OwnCheck::Ttl(_))) {
            let known = self.check.take().map(|watch| watch.seen.borrow().clone());
            self.address = None;
            self.is_checked_by_fronts = false;
            match &new.check {
                Some(check @ OwnCheck::Network(_)) => {
                    self.is_checked_by_fronts = true;
                    self.address = Some(address);
                    self.start(check.clone(), address, new, known);
                }
                Some(check) => self.start(check.clone(), NOWHERE, new, known),
                None => {}
            }
        }
        let agent_check = |settings: &Companion| {
            let command = settings.agent_check.clone();
            (command, settings.agent_check_interval)
        };
        if agent_check(old) != agent_check(new) {
            self.wish = None;
            self.hear(new);
        }
    }

    fn start(
        &mut self,
        check: OwnCheck,
        address: SocketAddr,
        settings: &Companion,
        known: Option<Opinion>,
    ) {
        let unproven = || Opinion::Unproven("not checked yet".to_owned());
        let (sender, seen) = watch::channel(known.unwrap_or_else(unproven));
        let watching = own::watch(check, address, settings.timing.clone(), sender);
        let task = tokio::spawn(watching).abort_handle();
        self.check = Some(Watch { seen, task });
    }

    fn hear(&mut self, settings: &Companion) {
        if let Some(command) = settings.agent_check.clone() {
            let (sender, seen) = watch::channel(Wish::default());
            let hearing = listen(command, settings.agent_check_interval, sender);
            let task = tokio::spawn(hearing).abort_handle();
            self.wish = Some(Watch { seen, task });
        }
    }

    /// What is known now.
    pub(super) fn standing(&mut self) -> Standing {
        Standing {
            check: self
                .check
                .as_mut()
                .map(|watch| watch.seen.borrow_and_update().clone()),
            is_checked_by_fronts: self.is_checked_by_fronts,
            wish: self
                .wish
                .as_mut()
                .map(|watch| watch.seen.borrow_and_update().clone())
                .unwrap_or_default(),
        }
    }

    /// Returns when something else is known; never, where nothing is watched.
    pub(super) async fn changed(&mut self) {
        tokio::select! {
            () = changed(&mut self.check) => {}
            () = changed(&mut self.wish) => {}
        }
    }

    /// Returns when a command has said its first word; at once, where there is none.
    pub(super) async fn first_word(&mut self) {
        if let Some(watch) = &mut self.check {
            let said = |opinion: &Opinion| !matches!(opinion, Opinion::Unproven(_));
            let _ = watch.seen.wait_for(said).await;
        }
    }
}

async fn changed<T>(watch: &mut Option<Watch<T>>) {
    if let Some(watch) = watch
        && watch.seen.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// Runs the command for ever. One that fails says nothing about the service: its own check does that.
async fn listen(command: String, interval: Duration, wish: watch::Sender<Wish>) {
    let mut silent = false;
    while !wish.is_closed() {
        let ran = script::run(&Order {
            command: &command,
            env: &[],
            stdin: &[],
            timeout: ANSWER_MAX,
            keep: Keep::First(ANSWER_BYTES_MAX),
        })
        .await;
        match ran.output.first_line().parse::<Line>() {
            Ok(line) => {
                silent = false;
                wish.send_if_modified(|wish| {
                    let before = wish.clone();
                    wish.hear(line);
                    *wish != before
                });
            }
            // Once until it speaks again.
            Err(bad) if !std::mem::replace(&mut silent, true) => {
                warn!(
                    "the agent-check command is not understood ({}): {bad}",
                    ran.end
                );
            }
            Err(_) => {}
        }
        if let Some(leftover) = ran.leftover {
            leftover.gone().await;
        }
        tokio::time::sleep(interval).await;
    }
}
