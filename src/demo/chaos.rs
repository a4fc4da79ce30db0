//! Kills and restarts under load, and what the client noticed of it.
//!
//! ```text
//! seed ─▶ whom, what and when to kill          (restarting is the fleet's)
//! 100 requests a second ─▶ front ─▶ tally: answers by node, failures
//! ```
//!
//! Somebody is always left to answer, so that each failed request is a fault of the balancer.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::Signal;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::client;
use super::fleet::Node;

/// Decides whom to kill.
#[derive(Debug)]
pub(super) struct Chaos {
    random: ChaCha8Rng,
    next: Instant,
    kills: u32,
}

impl Chaos {
    /// The same seed kills in the same order, as far as the machine's timing allows.
    pub(super) fn new(seed: u64, now: Instant) -> Self {
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            next: now + CALM,
            kills: 0,
        }
    }

    /// Kills somebody when it is time; says whom.
    pub(super) fn strike(
        &mut self,
        now: Instant,
        nodes: &[Node],
        in_rotation: &[String],
    ) -> Option<String> {
        if now < self.next {
            return None;
        }
        let ripe: Vec<_> = nodes
            .iter()
            .filter(|node| node.is_steady(now, CALM) && in_rotation.contains(&node.name))
            .collect();
        // One steady node must be left beside the victim.
        if ripe.len() < 2 {
            return None;
        }
        self.next = now + Duration::from_millis(self.random.random_range(PAUSE_MS));
        self.kills += 1;
        let node = ripe[self.random.random_range(0..ripe.len())];
        let (web, agent) = (&node.web.program, &node.agent.program);
        let (what, whom) = match self.random.random_range(0..3) {
            0 => ("server and agent", vec![web, agent]),
            1 => ("agent", vec![agent]),
            _ => ("server", vec![web]),
        };
        for program in &whom {
            program.signal(Signal::KILL);
        }
        let pids: Vec<_> = whom
            .iter()
            .map(|program| program.pid().to_string())
            .collect();
        Some(format!(
            "{}  chaos kills its {what} (kill -9 {})",
            node.name,
            pids.join(" ")
        ))
    }

    /// So far.
    pub(super) fn kills(&self) -> u32 {
        self.kills
    }
}

/// A client that asks all the time.
#[derive(Debug)]
pub(super) struct Load {
    tally: Arc<Mutex<Tally>>,
    asking: JoinHandle<()>,
}

/// What the client got.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Requests that have ended.
    requests: u64,
    by_node: BTreeMap<String, u64>,
    failed: u64,
    waiting: u64,
    /// Failures not told yet.
    news: Vec<String>,
}

impl Load {
    /// Starts asking `front`.
    pub(super) fn start(front: SocketAddr) -> Self {
        let tally = Arc::default();
        let asking = tokio::spawn(ask(front, Arc::clone(&tally)));
        Self { tally, asking }
    }

    /// Lines for new failures.
    pub(super) fn news(&self) -> Vec<String> {
        std::mem::take(&mut self.tally().news)
    }

    /// Stops asking, and waits for the answers still under way.
    pub(super) async fn finish(&self) {
        self.asking.abort();
        while self.tally().waiting > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Requests that failed.
    pub(super) fn failed(&self) -> u64 {
        self.tally().failed
    }

    /// In one line, beside the number of kills.
    pub(super) fn summary(&self, kills: u32) -> String {
        let tally = self.tally();
        let nodes = tally.by_node.iter();
        let nodes: Vec<_> = nodes
            .map(|(node, count)| format!("{node} {count}"))
            .collect();
        format!(
            "chaos: {} requests, {} failed, {kills} kills  ({})",
            tally.requests,
            tally.failed,
            nodes.join(", ")
        )
    }

    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn ended(&mut self, answer: std::io::Result<(StatusCode, bytes::Bytes)>) {
        self.waiting -= 1;
        self.requests += 1;
        match answer {
            Ok((StatusCode::OK, body)) => {
                let text = String::from_utf8_lossy(&body);
                let node = text
                    .strip_prefix("hello from ")
                    .and_then(|rest| rest.split(' ').next());
                match node {
                    Some(node) => *self.by_node.entry(node.to_owned()).or_default() += 1,
                    None => self.failure(format!("an answer of nobody: {text:?}")),
                }
            }
            Ok((status, body)) => {
                let text = String::from_utf8_lossy(&body);
                self.failure(format!("{status}: {}", text.trim_end()));
            }
            Err(error) => self.failure(error),
        }
    }

    fn failure(&mut self, why: impl Display) {
        self.failed += 1;
        self.news.push(format!("a request FAILED: {why}"));
    }
}

/// Each request is a task: one that waits must not keep the next from being sent.
async fn ask(front: SocketAddr, tally: Arc<Mutex<Tally>>) {
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        tally.lock().unwrap_or_else(PoisonError::into_inner).waiting += 1;
        let tally = Arc::clone(&tally);
        tokio::spawn(async move {
            let answer = client::get(front, "/", ANSWER_MAX).await;
            tally
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .ended(answer);
        });
    }
}

/// A client's patience.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How long a node must have been well before it may be killed.
const CALM: Duration = Duration::from_secs(1);

/// Between two kills.
const PAUSE_MS: std::ops::Range<u64> = 1500..2500;

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(answers: Vec<std::io::Result<(StatusCode, bytes::Bytes)>>) -> Tally {
        let mut tally = Tally {
            waiting: answers.len() as u64,
            ..Tally::default()
        };
        for answer in answers {
            tally.ended(answer);
        }
        tally
    }

    #[test]
    fn only_a_greeting_is_a_success() {
        let tally = ended(vec![
            Ok((StatusCode::OK, "hello from web1 (pid 7)\n".into())),
            Ok((StatusCode::OK, "hello from web1 (pid 8)\n".into())),
            Ok((StatusCode::OK, "it works".into())),
            Ok((StatusCode::SERVICE_UNAVAILABLE, "nobody to ask\n".into())),
            Err(std::io::ErrorKind::ConnectionReset.into()),
        ]);

        assert_eq!(tally.requests, 5);
        assert_eq!(tally.failed, 3);
        assert_eq!(tally.by_node, BTreeMap::from([("web1".to_owned(), 2)]));
        assert_eq!(tally.waiting, 0);
        assert_eq!(
            tally.news[1],
            "a request FAILED: 503 Service Unavailable: nobody to ask"
        );
    }
}
