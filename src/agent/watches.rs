//! The tasks that watch the services: the agent's own checks, and the agent-check command.
//!
//! ```text
//! Companion ─▶ health::own tasks ─watch<Opinion>──┐
//!           └▶ agent-check task ──watch<Wish>─────┴─▶ Standing, at each change
//! ```
//!
//! Gossip waits for none of them, and neither does the end of the program.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tracing::{info, warn};

use super::standing::{Standing, Word};
use crate::announce::line::{Line, Wish};
use crate::clock;
use crate::config::Companion;
use crate::health::own::ttl::Deadline;
use crate::health::own::{self, Opinion, OwnCheck};
use crate::script::{self, Keep, Order};
use crate::task;

/// Of a check that asks no address.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// For an answer of the agent-check command.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Of its output; an answer is its first line.
const ANSWER_BYTES_MAX: usize = 1024;

/// What is watched, by whom. Dropping it ends the tasks and what they run.
#[derive(Debug, Default)]
pub(super) struct Watches {
    /// Of the role.
    check: Option<Own>,
    /// Of further services, by name.
    more: BTreeMap<String, Own>,
    wish: Option<Watch<Wish>>,
}

/// A check of our own.
#[derive(Debug)]
struct Own {
    watch: Watch<Opinion>,
    /// That it asks, as fronts do.
    address: Option<SocketAddr>,
}

impl Own {
    /// What has no address has no check either that asks one.
    fn start(
        check: &OwnCheck,
        address: Option<SocketAddr>,
        settings: &Companion,
        known: Option<Opinion>,
    ) -> Self {
        let unproven = || Opinion::Unproven("not checked yet".to_owned());
        let (sender, seen) = watch::channel(known.unwrap_or_else(unproven));
        let asked = address.unwrap_or(NOWHERE);
        let watching = own::watch(check.clone(), asked, settings.timing.clone(), sender);
        let task = task::spawn(watching).abort_handle();
        Self {
            watch: Watch { seen, task },
            address,
        }
    }

    fn word(&mut self) -> Word {
        Word {
            opinion: self.watch.seen.borrow_and_update().clone(),
            is_checked_by_fronts: self.address.is_some(),
        }
    }
}

/// Where a check asks the service whose port is on `address`.
fn asked(check: &OwnCheck, address: SocketAddr) -> Option<SocketAddr> {
    matches!(check, OwnCheck::Network(_)).then_some(address)
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
            let task = task::spawn(deadline.watch(*ttl, sender)).abort_handle();
            watches.check = Some(Own {
                watch: Watch { seen, task },
                address: None,
            });
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
            self.check = Some(Own::start(check, None, settings, None));
        }
        for more in &settings.more {
            if let check @ OwnCheck::Exec(_) = &more.check {
                let own = Own::start(check, None, settings, None);
                self.more.insert(more.service.clone(), own);
            }
        }
        self.hear(settings);
    }

    /// Begins with what asks the service at `address`, and further services on their ports.
    pub(super) fn reach(&mut self, settings: &Companion, address: SocketAddr) {
        if let Some(check @ OwnCheck::Network(_)) = &settings.check {
            self.check = Some(Own::start(check, Some(address), settings, None));
        }
        for more in &settings.more {
            if let check @ OwnCheck::Network(_) = &more.check {
                let address = SocketAddr::new(address.ip(), more.port);
                let own = Own::start(check, Some(address), settings, None);
                self.more.insert(more.service.clone(), own);
            }
        }
    }

    /// Takes over what differs. Until a new check has found out more, the old one's word stands.
    pub(super) fn reload(&mut self, old: &Companion, new: &Companion, address: SocketAddr) {
        let known = |own: Option<Own>| own.map(|own| own.watch.seen.borrow().clone());
        let moved = self
            .check
            .as_ref()
            .and_then(|own| own.address)
            .is_some_and(|known| known != address);
        let differs = (&old.check, &old.timing) != (&new.check, &new.timing) || moved;
        // A ttl check has no timing but its own, and stays as it is until a restart.
        if differs && !matches!(new.check, Some(OwnCheck::Ttl(_))) {
            let known = known(self.check.take());
            self.check = new
                .check
                .as_ref()
                .map(|check| Own::start(check, asked(check, address), new, known));
        }
        self.more
            .retain(|name, _| new.more.iter().any(|more| more.service == *name));
        for more in &new.more {
            let address = asked(&more.check, SocketAddr::new(address.ip(), more.port));
            let moved = self
                .more
                .get(&more.service)
                .is_none_or(|own| own.address != address);
            if moved || old.timing != new.timing || !old.more.contains(more) {
                let known = known(self.more.remove(&more.service));
                let own = Own::start(&more.check, address, new, known);
                self.more.insert(more.service.clone(), own);
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

    fn hear(&mut self, settings: &Companion) {
        if let Some(command) = settings.agent_check.clone() {
            let (sender, seen) = watch::channel(Wish::default());
            let hearing = listen(command, settings.agent_check_interval, sender);
            let task = task::spawn(hearing).abort_handle();
            self.wish = Some(Watch { seen, task });
        }
    }

    /// What is known now.
    pub(super) fn standing(&mut self) -> Standing {
        let more = self.more.iter_mut();
        Standing {
            check: self.check.as_mut().map(Own::word),
            more: more.map(|(name, own)| (name.clone(), own.word())).collect(),
            wish: self
                .wish
                .as_mut()
                .map(|watch| watch.seen.borrow_and_update().clone())
                .unwrap_or_default(),
        }
    }

    /// Returns when something else is known; never, where nothing is watched.
    pub(super) async fn changed(&mut self) {
        let check = self.check.as_mut().map(|own| &mut own.watch);
        let mut more: Vec<_> = self
            .more
            .values_mut()
            .map(|own| Box::pin(changed(Some(&mut own.watch))))
            .collect();
        let any_more = std::future::poll_fn(|context| {
            let is_ready = more
                .iter_mut()
                .any(|one| one.as_mut().poll(context).is_ready());
            if is_ready {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        tokio::select! {
            () = changed(check) => {}
            () = any_more => {}
            () = changed(self.wish.as_mut()) => {}
        }
    }

    /// Returns when each command has said its first word; at once, where there is none.
    pub(super) async fn first_word(&mut self) {
        for own in self.check.iter_mut().chain(self.more.values_mut()) {
            let said = |opinion: &Opinion| !matches!(opinion, Opinion::Unproven(_));
            let _ = own.watch.seen.wait_for(said).await;
        }
    }
}

async fn changed<T>(watch: Option<&mut Watch<T>>) {
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
