//! The companion on a web node: announces services, knows whether they work, leaves properly.
//!
//! ```text
//! config ─▶ state ─▶ gossip member with tags role, port, … ─▶ SIGTERM or SIGINT ─▶ graceful leave ─▶ 0
//!              watches ─▶ standing ─▶ announcer ─▶ tags     SIGHUP ─▶ other tags, checks, handlers
//!              hosts: members ─▶ a block of /etc/hosts
//! rpc: members, events, queries, … ─▶ gossip; leave ─▶ 0
//! run -- COMMAND:  service ─▶ its port opens ─▶ the above ─▶ left ─▶ SIGTERM to it ─▶ its exit code
//! ```
//!
//! One current-thread runtime and no server but the RPC's: it must cost a web node nothing. What is not asked for has
//! no task.

mod announcer;
mod hosts;
mod service;
mod standing;
mod watches;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal as Kill;
use tokio::net::TcpListener;
use tracing::{error, info, warn};

use self::announcer::Announcer;
use self::service::Service;
use self::standing::Standing;
use self::watches::Watches;
use crate::announce::Tags;
use crate::gossip::driver::{Handle, Settings};
use crate::handlers::Handlers;
use crate::health::own::Opinion;
use crate::membership::commands::Commands;
use crate::membership::journal::{self, Journal};
use crate::membership::{self, Attendance, Signal, Signals};
use crate::state::State;
use crate::{announce, clock, config, notify, rpc, script, shutdown};

/// Sockets served at a time. The runtime's own figure is made for a server, and takes 12 kB.
const EVENTS_PER_TICK: usize = 64;

/// How long the first announcement waits for a quick check, which saves a second one.
const FIRST_WORD_MAX: Duration = Duration::from_millis(300);

/// Where a service listens that has no port of its own: HTTP's.
const PORT: u16 = 80;

/// Runs until SIGTERM or SIGINT; SIGHUP reads tags, checks and handlers again.
///
/// Exit codes: 0 left as asked; 1 failed while running or the gossip port stayed busy; 2 not allowed or badly
/// configured; 4 another living node has our name.
pub fn run(config: config::Agent) -> ExitCode {
    enter(config, None)
}

/// Runs `command`, joins when its port opens, leaves before it is stopped, and ends with its exit code: 128 and
/// the signal where one ended it, 126 and 127 where it could not be started, those of [`run`] where we ended first.
pub fn run_with(config: config::Agent, command: Vec<OsString>) -> ExitCode {
    enter(config, Some(command))
}

fn enter(config: config::Agent, command: Option<Vec<OsString>>) -> ExitCode {
    // Moved about as a whole it would be on the stack more than once.
    let config = Box::new(config);
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_io_events_per_tick(EVENTS_PER_TICK)
        .build()
        .map_err(|error| Failure::new(1, format!("starting: {error}")))
        .and_then(|runtime| runtime.block_on(serve(config, command)));
    match outcome {
        Ok(code) => ExitCode::from(code),
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

/// What those outside want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// To stop; the service shall get this signal.
    Stop(Kill),
    /// To read the configuration again.
    Reload,
    /// The service has ended, with this exit code.
    Ended(u8),
}

async fn serve(config: Box<config::Agent>, command: Option<Vec<OsString>>) -> Result<u8, Failure> {
    let mut signals = Signals::new()
        .map_err(|error| Failure::new(1, format!("signals cannot be received: {error}")))?;
    for warning in &config.warnings {
        warn!("{warning}");
    }
    tokio::spawn(script::bury_orphans());
    // Before the service: it may report as soon as it runs.
    let watches = Watches::bind(&config.companion).map_err(|error| {
        let code = if error.kind() == ErrorKind::AddrInUse {
            1
        } else {
            2
        };
        Failure::new(
            code,
            format!("the check's socket: {error}; choose another with --check-socket"),
        )
    })?;
    let env = watches.environment(&config.companion);
    let mut service = match &command {
        Some(command) => Some(
            Service::start(command, &env)
                .map_err(|error| Failure::new(error.exit_code(), error))?,
        ),
        None => None,
    };
    let grace = config.companion.stop_timeout;
    // A port that stays busy for a while must not make Ctrl-C wait.
    let started = tokio::select! {
        // On the heap, which it gives back: the stack would keep what only a start needs.
        started = Box::pin(Member::start(config, watches, service.is_some())) => started,
        heard = until_end(&mut service, &mut signals) => {
            return Ok(end(service, heard, grace, &mut signals).await);
        }
    };
    let ended = match started {
        Ok(mut member) => match member.live(&mut service, &mut signals).await {
            Ok(heard) => {
                Box::pin(member.leave(&mut signals)).await;
                Ok(heard)
            }
            Err(failure) => Err(failure),
        },
        Err(failure) => Err(failure),
    };
    match ended {
        Ok(heard) => Ok(end(service, heard, grace, &mut signals).await),
        Err(failure) => {
            end(service, Heard::Stop(Kill::TERM), grace, &mut signals).await;
            Err(failure)
        }
    }
}

/// The next thing that is wanted. The service hears of what may be meant for it.
async fn hear(service: &mut Option<Service>, signals: &mut Signals) -> Heard {
    loop {
        let signal = tokio::select! {
            signal = signals.next() => signal,
            heard = of_service(service) => return heard,
        };
        let forward = |kill| service.iter().for_each(|service| service.signal(kill));
        match signal {
            Signal::Stop => return Heard::Stop(Kill::TERM),
            Signal::Reload => {
                forward(Kill::HUP);
                return Heard::Reload;
            }
            // The agent writes no file that could be renamed.
            Signal::Reopen => forward(Kill::USR1),
        }
    }
}

async fn of_service(service: &mut Option<Service>) -> Heard {
    match service {
        Some(service) => match service.next().await {
            service::Heard::Ended(code) => Heard::Ended(code),
            service::Heard::Quit => Heard::Stop(Kill::QUIT),
        },
        None => std::future::pending().await,
    }
}

async fn until_end(service: &mut Option<Service>, signals: &mut Signals) -> Heard {
    loop {
        match hear(service, signals).await {
            Heard::Reload => info!("SIGHUP: nothing is announced yet"),
            heard => return heard,
        }
    }
}

/// Stops the service where it still runs; the exit code.
async fn end(service: Option<Service>, heard: Heard, grace: Duration, signals: &mut Signals) -> u8 {
    match (heard, service) {
        (Heard::Ended(code), _) => {
            info!(code, "the service has ended");
            code
        }
        (Heard::Stop(signal), Some(service)) => service.stop(signal, grace, signals).await,
        (_, Some(service)) => service.stop(Kill::TERM, grace, signals).await,
        (_, None) => 0,
    }
}

/// The agent while it is a member.
struct Member {
    config: Box<config::Agent>,
    gossip: Handle,
    state: Option<Arc<State>>,
    journal: Journal,
    watches: Watches,
    announcer: Announcer,
    /// What checks said that has had its line.
    told: Standing,
    handlers: Handlers,
    attendance: Option<Attendance>,
    rpc: rpc::Server,
    /// Ends the RPC.
    _end: shutdown::Trigger,
}

impl Member {
    /// `waits`: for the service's port to open, before anybody hears of us.
    async fn start(
        config: Box<config::Agent>,
        mut watches: Watches,
        waits: bool,
    ) -> Result<Self, Failure> {
        if waits {
            opened(&config).await;
        }
        watches.begin(&config.companion);
        let _ = tokio::time::timeout(FIRST_WORD_MAX, watches.first_word()).await;
        let standing = watches.standing();
        tell(&Standing::default(), &standing);
        let tags = standing.announced(&config.gossip.tags);
        let (gossip, state, journal, commanded) = join(&config, tags.clone()).await?;
        // Before anything happens: of all that does, scripts are told.
        let whoami = gossip.clone();
        let handlers = Handlers::new(config.handlers.clone(), move || membership::who(&whoami));
        let attendance = membership::attend(&gossip, &handlers, &config.handlers);
        let (end, ending) = shutdown::channel();
        let commands = Commands::new(gossip.clone(), state.clone(), handlers.clone())
            .keeping(journal.clone(), config.tags_file.as_deref());
        let turn = commands.tags_turn();
        let rpc = rpc::start(commanded, &config.rpc, commands, ending);
        eprintln!("{}", banner(&config, &gossip));
        notify::ready("member of the cluster");
        watches.reach(&config.companion, own_address(&config, &gossip));
        if let Some(path) = config.companion.hosts_file.clone() {
            tokio::spawn(hosts::follow(gossip.members(), path));
        }
        let announcer = Announcer::new(gossip.clone(), config.gossip.tags.clone(), tags, turn);
        Ok(Self {
            config,
            gossip,
            state,
            journal,
            watches,
            announcer,
            told: standing,
            handlers,
            attendance,
            rpc,
            _end: end,
        })
    }

    /// Until somebody wants it to end, or our name is another's.
    async fn live(
        &mut self,
        service: &mut Option<Service>,
        signals: &mut Signals,
    ) -> Result<Heard, Failure> {
        loop {
            tokio::select! {
                heard = hear(service, signals) => match heard {
                    Heard::Reload => {
                        notify::reloading(clock::system_us());
                        Box::pin(self.reload()).await;
                        notify::ready("member of the cluster");
                    }
                    heard => return Ok(heard),
                },
                () = self.watches.changed() => {
                    let standing = self.watches.standing();
                    tell(&self.told, &standing);
                    self.announcer.say(&standing).await;
                    self.told = standing;
                }
                () = self.rpc.left() => {
                    info!("left, as asked through RPC");
                    return Ok(Heard::Stop(Kill::TERM));
                }
                taken = membership::taken_at_start(self.gossip.clone()) => {
                    return Err(Failure::new(4, membership::taken(&taken.name, taken.holder)));
                }
            }
        }
    }

    /// All or nothing.
    async fn reload(&mut self) {
        let fresh = match config::reload_agent(&self.config) {
            Ok(fresh) => fresh,
            Err(reason) => {
                return error!("reload refused, the running configuration stays: {reason}");
            }
        };
        for warning in &fresh.warnings {
            warn!("{warning}");
        }
        let old = std::mem::replace(&mut *self.config, fresh);
        let address = own_address(&self.config, &self.gossip);
        self.watches
            .reload(&old.companion, &self.config.companion, address);
        self.handlers.replace(self.config.handlers.clone());
        if self.attendance.is_none() || self.config.handlers.specs.is_empty() {
            self.attendance =
                membership::attend(&self.gossip, &self.handlers, &self.config.handlers);
        }
        let standing = self.watches.standing();
        self.announcer
            .reload(self.config.gossip.tags.clone(), &standing)
            .await;
        info!("reloaded");
    }

    async fn leave(self, signals: &mut Signals) {
        info!("leaving the cluster");
        notify::stopping("leaving the cluster");
        let interrupted = signals.interrupted();
        let leaving = async {
            if interrupted {
                self.journal.leave().await;
            }
            membership::leave(&self.gossip).await;
            info!("left");
            // Scripts that were told of the last events are not cut off in the middle.
            membership::last_scripts(self.attendance, &self.handlers).await;
        };
        tokio::select! {
            () = leaving => {}
            () = signals.stop_again() => warn!("stopped at once, as asked twice"),
        }
        self.journal.finish().await;
        if let Some(state) = self.state {
            state.flush().await;
        }
    }
}

/// Waits for the service to be there.
async fn opened(config: &config::Agent) {
    let Some(port) = config.services.first().and_then(|service| service.port) else {
        return warn!(
            "without --port nobody knows when the service is there; it is announced at once"
        );
    };
    let bind = config.gossip.bind.ip();
    let advertise = config.gossip.advertise.map(|address| address.ip());
    service::opened(port, std::iter::once(bind).chain(advertise)).await;
    info!(port, "the service is there");
}

/// Where we reach the service: as fronts do, unless that address is a router's.
fn own_address(config: &config::Agent, gossip: &Handle) -> SocketAddr {
    let port = config.services.first().and_then(|service| service.port);
    let ip = gossip.advertised().address.ip();
    let is_ours = std::net::UdpSocket::bind((ip, 0)).is_ok();
    let ip = if is_ours {
        ip
    } else {
        Ipv4Addr::LOCALHOST.into()
    };
    SocketAddr::new(ip, port.unwrap_or(PORT))
}

/// One line for each check that says something else than was `told`.
fn tell(told: &Standing, standing: &Standing) {
    if let Some(word) = &standing.check
        && told.check.as_ref() != Some(word)
    {
        line("the service", &word.opinion);
    }
    for (name, word) in &standing.more {
        if told.more.get(name) != Some(word) {
            line(&format!("the service {name}"), &word.opinion);
        }
    }
}

fn line(service: &str, opinion: &Opinion) {
    match opinion {
        Opinion::Passes(said) => info!("{service}'s check passes: {said}"),
        Opinion::Fails(why) => warn!("{service}'s check fails: {why}"),
        Opinion::Unproven(why) => info!("{service} is not proven yet: {why}"),
    }
}

/// What a membership comes to.
type Joined = (Handle, Option<Arc<State>>, Journal, Option<TcpListener>);

async fn join(config: &config::Agent, tags: Tags) -> Result<Joined, Failure> {
    let state = membership::state(config.state.as_deref(), &config.gossip.node)
        .await
        .map_err(|busy| Failure::new(1, busy))?;
    let commanded = rpc::bind(&config.rpc).await.map_err(|error| {
        let code = if error.is_configuration() { 2 } else { 1 };
        Failure::new(code, error)
    })?;
    let mut settings = Settings {
        tags,
        ..config.gossip.clone()
    };
    let opened = journal::open(config.snapshot.as_ref(), &mut settings)
        .map_err(|error| Failure::new(2, error))?;
    let ring = config.keyring_file.clone();
    let gossip = membership::start(settings, state.clone(), ring)
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
    let journal = Journal::keep(opened, &gossip);
    Ok((gossip, state, journal, commanded))
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
