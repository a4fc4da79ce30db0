//! Names to addresses, and the task that keeps trying them.
//!
//! ```text
//! "web1", "10.0.0.3", "seeds.lan:7000" ──resolve──▶ addresses ──Command::Join──▶ Tried
//!
//! keeper:  peers of the last run, each once ─▶ alone? ─▶ try, pause 200 ms … 5 s ─▶ somebody is there ─▶ wait
//!                                                ▲                                                         │
//!                                                └────────────────────── alone again ◀─────────────────────┘
//! ```

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use super::{Command, Joined};
use crate::gossip::core::io::Past;
use crate::gossip::core::member::{Members, Status};

/// Serf's port.
const PORT: u16 = 7946;

/// First pause; doubled after each try.
const PAUSE_MIN: Duration = Duration::from_millis(200);

/// Longest pause, so that a front finds a late cluster within seconds.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A resolver that does not answer must not hold up the addresses that need none.
const RESOLVE_MAX: Duration = Duration::from_secs(5);

/// Peers of the last run that are tried together; so many push/pulls a core makes at one time.
const REUNITE_AT_ONCE: usize = 16;

/// Peers of the last run in one try of the keeper.
const PEERS_A_ROUND: usize = 8;

/// The longest that they hold up the next.
const REUNITE_MAX: Duration = Duration::from_millis(500);

/// What the core says of a join.
#[derive(Clone, Debug, Default)]
pub(super) struct Tried {
    pub(super) reached: usize,
    pub(super) failures: Vec<(SocketAddr, String)>,
}

/// A text of `--join` and the addresses that it means now.
struct Target {
    text: String,
    found: Result<Vec<SocketAddr>, String>,
}

/// Resolves and tries each address once.
pub(super) async fn once(commands: &mpsc::Sender<Command>, texts: &[String], past: Past) -> Joined {
    let targets = resolve_all(texts).await;
    attempt(commands, &targets, &[], past).await
}

async fn attempt(
    commands: &mpsc::Sender<Command>,
    targets: &[Target],
    own: &[SocketAddr],
    past: Past,
) -> Joined {
    let mut joined = Joined::default();
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for target in targets {
        match &target.found {
            Ok(found) => addresses.extend(found.iter().filter(|address| !own.contains(address))),
            Err(error) => joined.failures.push((target.text.clone(), error.clone())),
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return joined;
    }
    let tried = ask(commands, addresses.clone(), past)
        .await
        .unwrap_or_else(|| Tried {
            reached: 0,
            failures: addresses
                .into_iter()
                .map(|address| (address, "gossip has ended".to_owned()))
                .collect(),
        });
    joined.reached = tried.reached;
    for (address, cause) in tried.failures {
        joined.failures.push((shown(targets, address), cause));
    }
    joined
}

pub(super) async fn ask(
    commands: &mpsc::Sender<Command>,
    addresses: Vec<SocketAddr>,
    past: Past,
) -> Option<Tried> {
    let (reply, answer) = oneshot::channel();
    commands
        .send(Command::Join {
            addresses,
            past,
            reply,
        })
        .await
        .ok()?;
    answer.await.ok()
}

/// The text that was asked for, with the address where that says more.
fn shown(targets: &[Target], address: SocketAddr) -> String {
    let text = targets
        .iter()
        .find(|target| matches!(&target.found, Ok(found) if found.contains(&address)))
        .map_or("", |target| &target.text);
    if text.is_empty() || text.parse() == Ok(address) || text.parse() == Ok(address.ip()) {
        address.to_string()
    } else {
        format!("{text} ({address})")
    }
}

async fn resolve_all(texts: &[String]) -> Vec<Target> {
    let mut targets = Vec::new();
    for text in texts {
        let found = match tokio::time::timeout(RESOLVE_MAX, resolve(text)).await {
            Ok(found) => found,
            Err(_) => Err("the resolver does not answer".to_owned()),
        };
        targets.push(Target {
            text: text.clone(),
            found,
        });
    }
    targets
}

/// Addresses of an IP, host or DNS name, with or without port.
async fn resolve(text: &str) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(vec![address]);
    }
    if let Ok(ip) = text
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>()
    {
        return Ok(vec![SocketAddr::new(ip, PORT)]);
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => match port.parse() {
            Ok(port) => (host, port),
            Err(_) => return Err(format!("{port:?} is not a port")),
        },
        None => (text, PORT),
    };
    let found: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| format!("the name is not known: {error}"))?
        .collect();
    if found.is_empty() {
        return Err("the name has no address".to_owned());
    }
    Ok(found)
}

/// What the keeper goes by.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) addresses: Vec<String>,
    /// Members of the last run.
    pub(super) peers: Vec<SocketAddr>,
    /// Our name, to tell others from us.
    pub(super) name: watch::Receiver<Arc<str>>,
    /// Addresses that are us.
    pub(super) own: [SocketAddr; 2],
    pub(super) random: ChaCha8Rng,
}

/// Joins whenever nobody else is alive: at the start, and again should all the others go. Ends with the driver.
///
/// Holds a weak sender only, so that the last `Handle` decides how long gossip lives.
pub(super) async fn keep(
    commands: mpsc::WeakSender<Command>,
    mut members: watch::Receiver<Arc<Members>>,
    mut keeper: Keeper,
) {
    if keeper.addresses.is_empty() && keeper.peers.is_empty() {
        return;
    }
    reunite(&commands, &members, &keeper).await;
    let mut pause = PAUSE_MIN;
    let mut told: Option<Vec<String>> = None;
    loop {
        let alone = |members: &Arc<Members>| is_alone(members, &keeper.name.borrow());
        match members.wait_for(alone).await {
            Ok(members) if is_leaving(&members, &keeper.name.borrow()) => return,
            Ok(_) => {}
            Err(_) => return,
        }
        let Some(commands) = commands.upgrade() else {
            return;
        };
        // Resolved anew each time: an address behind a name may have moved.
        let mut targets = resolve_all(&keeper.addresses).await;
        // A few at a time, others the next: machines that are switched off take long to say nothing.
        let some = keeper.peers.len().min(PEERS_A_ROUND);
        targets.extend(keeper.peers[..some].iter().map(|peer| Target {
            text: peer.to_string(),
            found: Ok(vec![*peer]),
        }));
        keeper.peers.rotate_left(some);
        let joined = attempt(&commands, &targets, &keeper.own, Past::Missed).await;
        drop(commands);
        tell(&joined, &mut told);
        if joined.reached > 0 {
            pause = PAUSE_MAX;
        }
        tokio::time::sleep(pause.mul_f64(keeper.random.random_range(0.8..1.2))).await;
        pause = if joined.reached > 0 {
            PAUSE_MIN
        } else {
            (pause * 2).min(PAUSE_MAX)
        };
    }
}

/// Tries every peer of the last run once, even when the first is there already.
///
/// Where all start at once, each meets whoever started before it. Were one enough, two that met could stay
/// apart from another two for ever.
async fn reunite(
    commands: &mpsc::WeakSender<Command>,
    members: &watch::Receiver<Arc<Members>>,
    keeper: &Keeper,
) {
    for some in keeper.peers.chunks(REUNITE_AT_ONCE) {
        let known: BTreeSet<SocketAddr> = members
            .borrow()
            .by_name
            .values()
            .filter(|member| member.status == Status::Alive)
            .map(|member| member.address)
            .collect();
        let unmet = |peer: &&SocketAddr| !known.contains(peer) && !keeper.own.contains(peer);
        let unmet: Vec<SocketAddr> = some.iter().filter(unmet).copied().collect();
        let Some(commands) = commands.upgrade() else {
            return;
        };
        if unmet.is_empty() {
            continue;
        }
        // One that is switched off does not hold up the rest; the core goes on trying it meanwhile.
        match tokio::time::timeout(REUNITE_MAX, ask(&commands, unmet, Past::Missed)).await {
            Ok(Some(tried)) if tried.reached > 0 => {
                info!(reached = tried.reached, "joined members of the last run");
            }
            _ => {}
        }
    }
}

pub(super) fn is_alone(members: &Members, own: &str) -> bool {
    !members
        .by_name
        .values()
        .any(|member| member.status == Status::Alive && member.name != own)
}

fn is_leaving(members: &Members, own: &str) -> bool {
    members
        .by_name
        .get(own)
        .is_some_and(|member| matches!(member.status, Status::Leaving | Status::Left))
}

/// One line when the outcome is another one than last time, not one for each try.
fn tell(joined: &Joined, told: &mut Option<Vec<String>>) {
    if joined.reached > 0 {
        info!(reached = joined.reached, "joined the cluster");
        *told = None;
        return;
    }
    let causes: Vec<String> = joined
        .failures
        .iter()
        .map(|(text, cause)| format!("{text}: {cause}"))
        .collect();
    if told.as_ref() != Some(&causes) {
        if causes.is_empty() {
            info!("every address to join is our own; waiting for others to join us");
        } else {
            warn!("nobody to join yet ({}); trying on", causes.join(", "));
        }
        *told = Some(causes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn found(text: &str) -> Result<Vec<SocketAddr>, String> {
        resolve(text).await
    }

    #[tokio::test]
    async fn the_port_may_be_left_out() {
        for (text, address) in [
            ("10.0.0.3", "10.0.0.3:7946"),
            ("10.0.0.3:7000", "10.0.0.3:7000"),
            ("::1", "[::1]:7946"),
            ("[::1]", "[::1]:7946"),
            ("[::1]:7000", "[::1]:7000"),
        ] {
            assert_eq!(
                found(text).await,
                Ok(vec![address.parse().unwrap()]),
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn a_name_is_looked_up() {
        let local = found("localhost:7000").await.unwrap();

        assert!(
            local
                .iter()
                .all(|address| address.ip().is_loopback() && address.port() == 7000)
        );
        assert!(!local.is_empty());
    }

    #[tokio::test]
    async fn a_bad_port_is_named() {
        assert_eq!(
            found("web:http").await,
            Err("\"http\" is not a port".to_owned())
        );
    }

    #[test]
    fn a_failure_shows_what_was_asked_for() {
        let address: SocketAddr = "127.0.0.1:7946".parse().unwrap();
        let of = |text: &str| {
            [Target {
                text: text.to_owned(),
                found: Ok(vec![address]),
            }]
        };

        assert_eq!(shown(&of("127.0.0.1"), address), "127.0.0.1:7946");
        assert_eq!(shown(&of("127.0.0.1:7946"), address), "127.0.0.1:7946");
        assert_eq!(shown(&of("web1"), address), "web1 (127.0.0.1:7946)");
    }
}
