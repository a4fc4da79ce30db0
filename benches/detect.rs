//! How long a kill -9 goes unnoticed by gossip alone, beside stock Serf: `cargo bench --bench detect -- 3 10 30 rounds=10 clusters=4`.
//!
//! ```text
//! N lb-agent ──┐ on loopback, LAN constants, at the same time; clusters=K of each, kill=K at once
//! N serf agent ┘      │
//!   round: random pause ─▶ kill -9 one of them ─▶ each survivor's line "failed" ─▶ restart ─▶ each survivor's line "joined"
//! ```
//!
//! The clock is ours for both: a line counts when it arrives here. The process dies and its host does not, so its port
//! refuses streams at once and drops packets; neither program takes a refusal for death. Never killed: the one that
//! all others join. Needs Debian's `serf`. The table is kept in `benches/README.md`.

#![allow(clippy::disallowed_methods, reason = "a bench reads the real clock")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: u8| {
        let text = words.iter().find_map(|word| word.strip_prefix(name));
        text.map_or(default, |text| text.parse().expect("a small number"))
    };
    let (rounds, clusters) = (number("rounds=", 10), number("clusters=", 1));
    let kill = number("kill=", 1);
    let mut sizes: Vec<u8> = words.iter().filter_map(|word| word.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![3, 10, 30];
    }

    println!("| program | N | kills | first | median | last | last, largest |");
    println!("|---|---|---|---|---|---|---|");
    for size in sizes {
        let runs = [Program::Ours, Program::Stock].map(|program| {
            let run = move |copy| {
                std::thread::spawn(move || {
                    let mut cluster = Cluster::start(program, copy, size);
                    (0..rounds)
                        .map(|round| cluster.round(round, kill))
                        .collect::<Vec<_>>()
                })
            };
            (0..clusters).map(run).collect::<Vec<_>>()
        });
        // All are waited for first: a panic here ends the process, and would leave the agents of other runs behind.
        let ended = runs.map(|runs| runs.into_iter().map(|run| run.join()).collect::<Vec<_>>());
        for (program, runs) in [Program::Ours, Program::Stock].iter().zip(ended) {
            let rounds = runs.into_iter().map(|run| run.expect("every round ends"));
            program.print(size, &rounds.flatten().collect::<Vec<_>>());
        }
    }
}

/// Whose agents a cluster is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Ours,
    Stock,
}

/// What one kill came to: when the first survivor showed it, the median one, the last one.
type Noticed = [Duration; 3];

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "lb-agent",
            Self::Stock => "serf",
        }
    }

    /// Address of an agent of cluster `copy`.
    fn address(self, copy: u8, index: u8) -> String {
        format!("127.{}.{copy}.{}", 41 + self as u8, index + 1)
    }

    fn command(self, copy: u8, index: u8) -> Command {
        let (at, first) = (self.address(copy, index), self.address(copy, 0));
        let node = node(index);
        let mut command;
        match self {
            Self::Ours => {
                command = Command::new(env!("CARGO_BIN_EXE_lb-agent"));
                command.args(["--role", "web", "--port", "8080", "--node", &node]);
                command.args(["--bind", &format!("{at}:7946"), "--rpc-addr", "off"]);
                command.args(["--state-dir", "none", "--discover", "off"]);
                if index > 0 {
                    command.args(["--join", &first]);
                }
            }
            Self::Stock => {
                command = Command::new("serf");
                command.args(["agent", "-role=web", "-tag", "port=8080"]);
                command
                    .arg(format!("-node={node}"))
                    .arg(format!("-bind={at}"));
                command.arg(format!("-rpc-addr={at}:7373"));
                if index > 0 {
                    command.args([
                        format!("-retry-join={first}"),
                        "-retry-interval=1s".to_owned(),
                    ]);
                }
            }
        }
        command
    }

    /// What a line of its log says of another node.
    fn read(self, line: &str) -> Option<(String, bool)> {
        let words = |end| line[..end].rsplit(' ').next().map(str::to_owned);
        match self {
            Self::Ours => {
                let joined = line.find(" joined the cluster address=");
                let failed = line.find(" stopped answering gossip");
                let end = joined.or(failed)?;
                Some((words(end)?, joined.is_some()))
            }
            Self::Stock => {
                let (_, event) = line.split_once("serf: EventMember")?;
                let mut words = event.split(' ');
                let joined = match words.next()? {
                    "Join:" => true,
                    "Failed:" => false,
                    _ => return None,
                };
                Some((words.next()?.to_owned(), joined))
            }
        }
    }

    fn print(self, size: u8, rounds: &[Noticed]) {
        let sorted = |which: usize| {
            let mut all: Vec<f64> = rounds
                .iter()
                .map(|noticed| noticed[which].as_secs_f64())
                .collect();
            all.sort_by(f64::total_cmp);
            all
        };
        let median = |which: usize| middle(&sorted(which));
        println!(
            "| {} | {size} | {} | {:.1} s | {:.1} s | {:.1} s | {:.1} s |",
            self.name(),
            rounds.len(),
            median(0),
            median(1),
            median(2),
            sorted(2).last().expect("a round"),
        );
    }
}

/// The lower middle one of several.
fn middle<T: Copy>(sorted: &[T]) -> T {
    sorted[(sorted.len() - 1) / 2]
}

fn node(index: u8) -> String {
    format!("n{index}")
}

/// A line that mattered: who said of whom that it joined (or failed), and when we read it.
struct Seen {
    by: u8,
    of: String,
    joined: bool,
    at: Instant,
}

/// The agents of one program; killed when dropped.
struct Cluster {
    program: Program,
    /// Tells clusters of one program apart.
    copy: u8,
    agents: Vec<Child>,
    sender: Sender<Seen>,
    seen: Receiver<Seen>,
    /// What each says of each other, and since when: true for joined, false for failed.
    views: BTreeMap<(u8, String), (bool, Instant)>,
    /// Killed, and not restarted yet.
    down: BTreeSet<u8>,
    random: ChaCha8Rng,
}

impl Cluster {
    /// Starts `size` agents and waits until all know all.
    fn start(program: Program, copy: u8, size: u8) -> Self {
        let (sender, seen) = channel();
        let mut cluster = Self {
            program,
            copy,
            agents: Vec::new(),
            sender,
            seen,
            views: BTreeMap::new(),
            down: BTreeSet::new(),
            random: ChaCha8Rng::seed_from_u64(u64::from(std::process::id()) << 8 | u64::from(copy)),
        };
        for index in 0..size {
            let agent = cluster.spawn(index);
            cluster.agents.push(agent);
        }
        for of in 0..size {
            cluster.until(of, true);
        }
        // The news of the joins ends, and who was blamed in the crowd is acquitted.
        std::thread::sleep(SETTLE);
        cluster
    }

    fn spawn(&self, index: u8) -> Child {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut command = self.program.command(self.copy, index);
        let copy = writer.try_clone().expect("a second descriptor");
        command.stdin(Stdio::null()).stdout(copy).stderr(writer);
        let child = command.spawn().expect("the agent can be run");
        let (program, sender) = (self.program, self.sender.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                let at = Instant::now();
                if let Some((of, joined)) = program.read(&line) {
                    let by = index;
                    let _ = sender.send(Seen { by, of, joined, at });
                }
            }
        });
        child
    }

    /// Kills one (or more at once), measures, brings them back.
    fn round(&mut self, round: u8, kill: u8) -> Noticed {
        let pause = self.random.random_range(PAUSE);
        std::thread::sleep(Duration::from_millis(pause));
        self.take_news();
        let doubted: Vec<_> = self.views.iter().filter(|(_, view)| !view.0).collect();
        assert!(
            doubted.is_empty(),
            "somebody is failed in a calm: {doubted:?}"
        );

        let others = self.size() - 1;
        self.down = (0..kill).map(|one| (round + one) % others + 1).collect();
        let down = self.down.clone();
        let killed = Instant::now();
        for victim in &down {
            let agent = &mut self.agents[usize::from(*victim)];
            agent.kill().expect("it can be killed");
            agent.wait().expect("it ends");
            self.views.retain(|(by, _), _| by != victim);
        }
        let mut after = Vec::new();
        for victim in &down {
            after.extend(self.until(*victim, false).iter().map(|at| *at - killed));
        }
        after.sort();

        for victim in std::mem::take(&mut self.down) {
            self.agents[usize::from(victim)] = self.spawn(victim);
        }
        for of in 0..self.size() {
            self.until(of, true);
        }
        eprintln!("{:?} N={} {down:?}: {after:.1?}", self.program, others + 1);
        [after[0], middle(&after), after[after.len() - 1]]
    }

    fn size(&self) -> u8 {
        u8::try_from(self.agents.len()).expect("a small cluster")
    }

    /// Waits until all others that run say of `of` that it joined (or failed); since when they do.
    fn until(&mut self, of: u8, joined: bool) -> Vec<Instant> {
        let deadline = Instant::now() + LONGEST;
        let name = node(of);
        let by: Vec<u8> = (0..self.size())
            .filter(|by| *by != of && !self.down.contains(by))
            .collect();
        loop {
            let told = by.iter().map(|by| self.views.get(&(*by, name.clone())));
            let since: Vec<Instant> = told
                .flatten()
                .filter(|view| view.0 == joined)
                .map(|view| view.1)
                .collect();
            if since.len() == by.len() {
                return since;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.seen.recv_timeout(left) {
                Ok(seen) => self.note(seen),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    let what = if joined { "joined" } else { "failed" };
                    panic!("{:?}: not everyone says that {name} {what}", self.program)
                }
            }
        }
    }

    fn take_news(&mut self) {
        while let Ok(seen) = self.seen.try_recv() {
            self.note(seen);
        }
    }

    fn note(&mut self, seen: Seen) {
        let view = self.views.entry((seen.by, seen.of));
        let view = view.or_insert((seen.joined, seen.at));
        if view.0 != seen.joined {
            *view = (seen.joined, seen.at);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for agent in &mut self.agents {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

/// After the start, before the first round.
const SETTLE: Duration = Duration::from_secs(8);

/// Milliseconds before a kill, drawn anew each time: kills shall not march in step with anybody's ticks. Long
/// enough for everyone to trust its own network again after the last round.
const PAUSE: std::ops::Range<u64> = 4000..7000;

/// Longer than any round should take.
const LONGEST: Duration = Duration::from_secs(120);
