//! The demo's course: start, say what to try, tell what happens, stop in order.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::chaos::{Chaos, Load};
use super::fleet::{Fleet, Part, Turn};
use super::screen::{Screen, banner};
use super::watch::Watch;
use super::{Failure, Options};
use crate::clock;
use crate::membership::{Signal, Signals};

/// The whole demo.
pub(super) async fn play(options: Options) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new().map_err(Failure::Signals)?;
    let mut screen = Screen::new();
    let mut fleet = Fleet::start(&options, clock::now())?;
    let watch = Watch::new(fleet.addresses.admin);
    tokio::select! {
        ready = wait_for_front(&mut fleet, &watch) => ready?,
        () = stop_wanted(&mut signals) => return Ok(ExitCode::SUCCESS),
    }
    screen.text(&banner(&options, &fleet));

    let ordeal = options.chaos.then(|| {
        let seed = options.seed.unwrap_or_else(|| clock::random().random());
        screen.line(format_args!("chaos with --seed {seed}"));
        Ordeal::new(seed, clock::now())
    });
    let mut act = Act {
        until: options.run_for.map(|run_for| clock::now() + run_for),
        fleet,
        screen,
        watch,
        ordeal,
    };
    let end = act.go_on(&mut signals).await;
    act.stop(&mut signals).await;
    end?;
    Ok(act.verdict())
}

async fn wait_for_front(fleet: &mut Fleet, watch: &Watch) -> Result<(), Failure> {
    let start = clock::now();
    while !watch.answers().await {
        if let Some(status) = fleet.front.ended() {
            return Err(fleet.front.post_mortem(status).await);
        }
        if clock::now() >= start + FRONT_MAX {
            return Err(Failure::Silent(fleet.addresses.admin));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

async fn stop_wanted(signals: &mut Signals) {
    while signals.next().await != Signal::Stop {}
}

/// Chaos with its client, who starts asking once everybody is in.
#[derive(Debug)]
struct Ordeal {
    chaos: Chaos,
    load: Option<Load>,
    told: Instant,
}

impl Ordeal {
    fn new(seed: u64, now: Instant) -> Self {
        Self {
            chaos: Chaos::new(seed, now),
            load: None,
            told: now,
        }
    }

    fn summary(&self) -> Option<String> {
        let load = self.load.as_ref()?;
        Some(load.summary(self.chaos.kills()))
    }

    /// Kills, counts and tells.
    fn go_on(&mut self, now: Instant, fleet: &Fleet, in_rotation: &[String]) -> Vec<String> {
        let Some(load) = &self.load else {
            // Until then a failed request would say nothing about chaos.
            if in_rotation.len() == fleet.nodes.len() {
                self.load = Some(Load::start(fleet.addresses.proxy));
                self.told = now;
            }
            return Vec::new();
        };
        let mut lines = load.news();
        lines.extend(self.chaos.strike(now, &fleet.nodes, in_rotation));
        if now >= self.told + STATUS {
            self.told = now;
            lines.push(load.summary(self.chaos.kills()));
        }
        lines
    }
}

/// The demo once everything runs.
#[derive(Debug)]
struct Act {
    until: Option<Instant>,
    fleet: Fleet,
    screen: Screen,
    watch: Watch,
    ordeal: Option<Ordeal>,
}

impl Act {
    /// Until a signal, the end of the time, or of who reads us.
    async fn go_on(&mut self, signals: &mut Signals) -> Result<(), Failure> {
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                signal = signals.next() => if signal == Signal::Stop {
                    return Ok(());
                },
                _ = look.tick() => {}
            }
            let now = clock::now();
            self.keep_alive(now).await?;
            self.screen.lines(self.watch.look().await);
            if let Some(ordeal) = &mut self.ordeal {
                let lines = ordeal.go_on(now, &self.fleet, &self.watch.in_rotation());
                self.screen.lines(lines);
            }
            if self.screen.is_closed() || self.until.is_some_and(|until| now >= until) {
                return Ok(());
            }
        }
    }

    /// Starts again what died, a while later; the front's death ends the demo.
    async fn keep_alive(&mut self, now: Instant) -> Result<(), Failure> {
        if let Some(status) = self.fleet.front.ended() {
            return Err(self.fleet.front.post_mortem(status).await);
        }
        let pause = match self.ordeal {
            Some(_) => PAUSE_CHAOS,
            None => PAUSE,
        };
        for node in &mut self.fleet.nodes {
            for (what, part) in [("server", &mut node.web), ("agent", &mut node.agent)] {
                let Some(line) = news_of(what, part, now, pause)? else {
                    continue;
                };
                self.screen.line(format_args!("{}  {line}", node.name));
            }
        }
        Ok(())
    }

    /// Everything in order, or at once at the second signal.
    async fn stop(&mut self, signals: &mut Signals) {
        self.screen.text("\n");
        let orderly = async {
            if let Some(load) = self.ordeal.as_ref().and_then(|ordeal| ordeal.load.as_ref()) {
                load.finish().await;
            }
            self.screen
                .line("stopping: the agents say goodbye, then the servers and the front end");
            tell_until(self.fleet.stop_agents(), &mut self.watch, &mut self.screen).await;
            self.fleet.stop_rest().await;
        };
        tokio::select! {
            () = orderly => {}
            // Whatever still runs is killed when its `Program` is dropped.
            () = stop_wanted(signals) => {}
        }
        let summary = self.ordeal.as_ref().and_then(Ordeal::summary);
        if let Some(summary) = summary {
            self.screen.line(summary);
        }
        self.screen.line("nothing is left running");
    }

    fn verdict(&self) -> ExitCode {
        let load = self.ordeal.as_ref().and_then(|ordeal| ordeal.load.as_ref());
        match load {
            Some(load) if load.failed() > 0 => ExitCode::from(3),
            _ => ExitCode::SUCCESS,
        }
    }
}

/// What changes until `done`, and what it left behind.
async fn tell_until(done: impl Future<Output = ()>, watch: &mut Watch, screen: &mut Screen) {
    tokio::pin!(done);
    while tokio::time::timeout(LOOK, &mut done).await.is_err() {
        screen.lines(watch.look().await);
    }
    screen.lines(watch.look().await);
}

fn news_of(
    what: &str,
    part: &mut Part,
    now: Instant,
    pause: Duration,
) -> Result<Option<String>, Failure> {
    let before = part.program.pid();
    let line = part.turn(now, pause)?.map(|turn| match turn {
        Turn::Ended(status) => format!(
            "its {what} (pid {before}) ended: {status}; starts again in {}",
            clock::readable(pause)
        ),
        Turn::Started => format!("its {what} starts again (pid {})", part.program.pid()),
    });
    Ok(line)
}

/// Between two looks at the front and the children.
const LOOK: Duration = Duration::from_millis(100);

/// Between two status lines of chaos.
const STATUS: Duration = Duration::from_secs(2);

/// Long enough to see what happens without the one that died.
const PAUSE: Duration = Duration::from_secs(10);

/// A restart of a real server takes about as long.
const PAUSE_CHAOS: Duration = Duration::from_secs(1);

/// For the front's first answer.
const FRONT_MAX: Duration = Duration::from_secs(10);
