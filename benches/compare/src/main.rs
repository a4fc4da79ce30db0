//! `lb` beside nginx and HAProxy, on this machine, now.
//!
//!   each repeat ─▶ each row ─▶ each proxy, in turning order:
//!       configure, start on core 0 ─▶ does it tell backends what all tell? ─▶ warm up ─▶ CPU before
//!       ─▶ load from core 1 ─▶ CPU after ─▶ samples ─▶ tables ─▶ RESULTS.md
//!
//! The figure is the CPU time of the proxy's processes per request, and the other's over ours within
//! one repeat: requests per second and latency follow what else runs on a machine, this much less.
//! All traffic is on loopback. Build nothing meanwhile.

mod backend;
mod cores;
mod cost;
mod failure;
mod histogram;
mod hold;
mod load;
mod machine;
mod options;
mod proxy;
mod relay;
mod rows;
mod samples;
mod streams;
mod table;
mod wire;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::Pid;

use crate::cores::{Cores, pin};
use crate::failure::{During, Failure};
use crate::options::Options;
use crate::proxy::{Program, Running, Setup};
use crate::rows::{Row, Subject, Work};
use crate::samples::Samples;

/// Ports of the proxies: four each; below the range of ephemeral ports.
const PROXY_PORT: u16 = 20_901;
/// The first of the backends'.
const BACKEND_PORT: u16 = 21_001;
const BACKENDS: u16 = 500;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("compare: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    // What this program starts beside the proxies is itself.
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [word, ports @ ..] = &*words
        && word == proxy::RELAY
    {
        let ports: Result<Vec<u16>, _> = ports.iter().map(|port| port.parse()).collect();
        return match ports.during("ports")?[..] {
            [port, first, count] => relay::run(port, first, count),
            _ => Err(Failure("a relay needs three numbers".to_owned())),
        };
    }
    let Some(options) = Options::read(words.into_iter())? else {
        return Ok(());
    };
    let bench = Bench::new(&options)?;
    match &options.hold {
        Some((row, label)) => bench.hold(row, label),
        None => bench.compare(),
    }
}

struct Bench<'a> {
    options: &'a Options,
    cores: Cores,
    backends: Pid,
    programs: Vec<(Program, PathBuf)>,
    run: PathBuf,
}

impl<'a> Bench<'a> {
    fn new(options: &'a Options) -> Result<Self, Failure> {
        let cores = Cores::found()?;
        let mut programs = Vec::new();
        for peer in [Program::Nginx, Program::Haproxy] {
            if options.without.contains(&peer) {
                continue;
            }
            let name = peer.name();
            let path = machine::find(name).ok_or_else(|| {
                Failure(format!("{name} is missing: install its package (Debian: apt-get install {name}), or say --without {name}"))
            })?;
            programs.push((peer, path));
        }
        let lb = options.lb.clone().map_or_else(machine::build, Ok)?;
        let lb = lb.canonicalize().during(lb.display())?;
        programs.push((Program::Lb, lb));
        let own = std::env::current_exe().during("the relay")?;
        programs.push((Program::Relay, own));
        // 9,000 connections on either side of the proxy need descriptors; what is started inherits the limit.
        let limit = getrlimit(Resource::Nofile);
        let wanted = limit.maximum.map_or(20_000, |most| most.min(20_000));
        let raised = Rlimit {
            current: Some(limit.current.unwrap_or(wanted).max(wanted)),
            ..limit
        };
        setrlimit(Resource::Nofile, raised).during("raising the limit of descriptors")?;
        let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/run");
        fs::create_dir_all(&run).during(run.display())?;
        if options.rows.iter().any(|row| row.tls) {
            wire::certificate(&run)?;
        }
        Ok(Self {
            backends: backend::start(BACKEND_PORT, BACKENDS)?,
            options,
            cores,
            programs,
            run,
        })
    }

    fn path(&self, program: Program) -> Option<&Path> {
        let (_, path) = self.programs.iter().find(|(known, _)| *known == program)?;
        Some(path)
    }

    /// What a subject's run needs; `None` where its program is done without.
    fn setup(&self, row: &Row, subject: &Subject) -> Option<Setup<'_>> {
        Some(Setup {
            program: subject.program,
            path: self.path(subject.program)?,
            workers: subject.workers,
            splice: subject.splice,
            log: row.log,
            tls: row.tls.then(wire::tls13),
            backends: (BACKEND_PORT, row.backends),
            ports: PROXY_PORT,
            run: &self.run,
        })
    }

    fn compare(&self) -> Result<(), Failure> {
        let lb = self
            .path(Program::Lb)
            .ok_or_else(|| Failure("no lb".to_owned()))?;
        let identity = machine::identity(lb)?;
        let kept = self.run.join("samples.tsv");
        let mut samples = Samples::kept(&kept, &identity);
        let mut skipped = Vec::new();
        for row in &self.options.rows {
            samples.forget(row.key);
            if row.log
                && !self
                    .setup(row, &row.subjects[0])
                    .map_or(Ok(true), |setup| setup.is_understood())?
            {
                skipped.push((row.key, "this lb has no access log".to_owned()));
            }
        }
        let most = self.options.rows.iter().map(|row| row.repeats_min).max();
        for repeat in 0..self.options.repeats.max(most.unwrap_or(0)) {
            for row in &self.options.rows {
                if repeat >= self.options.repeats.max(row.repeats_min)
                    || skipped.iter().any(|(key, _)| *key == row.key)
                {
                    continue;
                }
                let turned = (0..row.subjects.len())
                    .map(|at| &row.subjects[(at + repeat) % row.subjects.len()]);
                for subject in turned {
                    self.measure(row, subject, &mut samples)?;
                }
            }
            samples.keep(&kept, &identity)?;
        }
        let tables = table::tables(&samples, &skipped);
        println!("{tables}");
        let out = &self.options.out;
        fs::write(out, self.head(lb) + &tables)
            .during(format_args!("writing {}", out.display()))?;
        println!("Written to {}.", out.display());
        Ok(())
    }

    /// What stands above the tables.
    fn head(&self, lb: &Path) -> String {
        let peers = [Program::Nginx, Program::Haproxy].into_iter();
        let peers: Vec<PathBuf> = peers
            .filter_map(|peer| self.path(peer))
            .map(PathBuf::from)
            .collect();
        let cores = self.cores.count();
        format!(
            "# lb beside nginx and HAProxy\n\n\
             Made by `cargo run --release --manifest-path benches/compare/Cargo.toml` on {}, of {} s each run.\n\n\
             - {}\n- {}\n\n\
             One worker on one core, load and backends on another, all on loopback; keep-alive on both sides unless said. All of them: \
             X-Forwarded-For, -Proto and -Host, X-Real-IP, Forwarded and Via written anew, passive checks, retries, timeouts, \
             counters; lb and HAProxy also check every backend each second, which the free nginx cannot, and lb alone makes a `traceparent`. \
             Access log off unless said. The configurations are in [conf](conf).\n",
            machine::today(),
            self.options.seconds,
            machine::facts(cores),
            machine::versions(lb, &peers).join("\n- "),
        )
    }

    /// Starts a proxy on its cores, with this thread and the backends on theirs.
    fn start(&self, setup: &Setup<'_>) -> Result<Running, Failure> {
        machine::wait_for_room();
        pin(None, self.cores.of_proxy(setup.workers))?;
        let running = setup.start();
        let load = self.cores.of_load(setup.workers);
        pin(None, load)?;
        pin(Some(self.backends), load)?;
        // Until checks have seen every backend: one period, and a little.
        sleep(Duration::from_millis(if setup.backends.1 > 3 {
            1500
        } else {
            400
        }));
        running
    }

    /// What puts a row's load on a running proxy, for so long; `None` where connections are held.
    fn load(
        &self,
        row: &Row,
        subject: &Subject,
    ) -> Option<impl Fn(Duration) -> Result<load::Outcome, Failure>> {
        let rate = self.options.rate;
        let many = match row.work {
            Work::Streams(path, connections, streams) => Some((path, (connections, streams))),
            _ => None,
        };
        let tls = row.tls.then(wire::tls13);
        let plan = row.work.plan(PROXY_PORT, Duration::ZERO, rate);
        let plan = plan.map(|plan| load::Plan { tls, ..plan });
        if many.is_none() && plan.is_none() {
            return None;
        }
        // lb hears which version a connection begins with.
        let port = match subject.program {
            Program::Lb => PROXY_PORT,
            _ => PROXY_PORT + streams::BESIDE,
        };
        Some(move |length| match (many, &plan) {
            (Some((path, many)), _) => streams::run(port, path, many, length),
            (None, Some(plan)) => load::run(load::Plan {
                length,
                ..plan.clone()
            }),
            (None, None) => Err(Failure("no load".to_owned())),
        })
    }

    fn measure(&self, row: &Row, subject: &Subject, samples: &mut Samples) -> Result<(), Failure> {
        let Some(setup) = self.setup(row, subject) else {
            return Ok(());
        };
        let running = self.start(&setup)?;
        let mut add = |figure: &str, value: f64| samples.add(row.key, subject.label, figure, value);
        add("repeats", 1.0);
        let length = Duration::from_secs_f64(self.options.seconds);
        let held = match row.work {
            Work::Idle(count) => Some((
                hold::idle(running.pid(), PROXY_PORT, count, &setup.tls)?,
                count,
            )),
            Work::Slow(count) => Some((hold::slow(running.pid(), PROXY_PORT, count)?, count)),
            _ => None,
        };
        if let Some((growth, count)) = held {
            let grown = growth.with.saturating_sub(growth.before) as f64;
            add("before_mib", growth.before as f64 / 1024.0);
            add("grown_mib", grown / 1024.0);
            add("each_kb", grown / count as f64);
            println!(
                "{:12} {:14} {:8.2} kB each",
                row.key,
                subject.label,
                grown / count as f64
            );
        } else if let Some(load) = self.load(row, subject) {
            load(Duration::from_millis(700))?;
            let before = cost::cpu(running.pid());
            let outcome = load(length)?;
            let spent = cost::cpu(running.pid()).saturating_sub(before);
            let cpu = spent.as_secs_f64() * 1e6 / outcome.answered.max(1) as f64;
            let rps = outcome.answered as f64 / outcome.elapsed.as_secs_f64();
            let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| outcome.times.quantile(share));
            let figures = [
                ("cpu", cpu),
                ("rps", rps),
                ("rate", self.options.rate),
                ("errors", outcome.errors as f64),
            ];
            for (figure, value) in
                figures
                    .into_iter()
                    .chain([("p50", p50), ("p99", p99), ("p999", p999)])
            {
                add(figure, value);
            }
            println!(
                "{:12} {:14} {cpu:8.2} µs/request {rps:8.0}/s p50 {p50:.0} p99 {p99:.0} p99.9 {p999:.0} µs, {} errors{}",
                row.key,
                subject.label,
                outcome.errors,
                outcome
                    .reason
                    .map_or(String::new(), |reason| format!(" ({reason})"))
            );
        }
        Ok(())
    }

    /// Load without a figure, for those who attach a profiler.
    fn hold(&self, row: &Row, label: &str) -> Result<(), Failure> {
        let subject = row.subjects.iter().find(|subject| subject.label == label);
        let none = || Failure(format!("row {} has no {label}", row.key));
        let subject = subject.ok_or_else(none)?;
        let setup = self.setup(row, subject).ok_or_else(none)?;
        let running = self.start(&setup)?;
        println!("{label} is process {}", running.pid());
        let length = Duration::from_secs_f64(self.options.seconds);
        if let Some(load) = self.load(row, subject) {
            let outcome = load(length)?;
            println!("{} requests, {} errors", outcome.answered, outcome.errors);
        }
        Ok(())
    }
}
