//! The last lines of the log, and the next ones, for whoever follows them.
//!
//! ```text
//! Lines ─ push ─▶ ring of the last lines (bounded in lines and bytes)
//!            └──▶ a bounded queue for each follower; what does not fit is counted, and told in its place
//! ```
//!
//! A follower may ask for more than the program writes: then more is made, and only for it. The ring holds what was written.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tracing::Level;
use tracing::level_filters::LevelFilter;

/// Lines kept. As many as `serf agent` keeps.
const LINES_MAX: usize = 512;

/// Lines that a follower may lag behind.
const LAG_MAX: usize = 512;

/// The log of this process.
pub(super) static TAIL: Shared = Shared::new();

/// What is kept, and who follows.
#[derive(Debug)]
pub(super) struct Shared {
    /// Rank of the most talkative level that anybody follows; read at every event, so outside the lock.
    wanted: AtomicU8,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Lines, each with its end.
    bytes: VecDeque<u8>,
    bytes_max: usize,
    lines: usize,
    followers: Vec<Follower>,
}

#[derive(Debug)]
struct Follower {
    max: Level,
    lines: mpsc::Sender<Arc<str>>,
    lost: Arc<AtomicU64>,
}

impl Shared {
    const fn new() -> Self {
        Self {
            wanted: AtomicU8::new(0),
            inner: Mutex::new(Inner {
                bytes: VecDeque::new(),
                bytes_max: 0,
                lines: 0,
                followers: Vec::new(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on at most so many bytes are kept.
    pub(super) fn keep(&self, bytes_max: usize) {
        self.lock().bytes_max = bytes_max;
    }

    /// What followers ask for; nothing without any.
    pub(super) fn wanted(&self) -> LevelFilter {
        level(self.wanted.load(Ordering::Relaxed)).map_or(LevelFilter::OFF, LevelFilter::from)
    }

    /// Takes a line in; it is kept if it was written.
    pub(super) fn push(&self, line: &str, level: Level, written: bool) {
        let mut inner = self.lock();
        if written {
            inner.keep(line);
        }
        if inner.followers.is_empty() {
            return;
        }
        let line: Arc<str> = line.into();
        for follower in inner
            .followers
            .iter()
            .filter(|follower| level <= follower.max)
        {
            // Nothing may be logged here: it would come back here.
            if follower.lines.try_send(Arc::clone(&line)).is_err() {
                follower.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn follow(&'static self, max: Level) -> Tail {
        let (sender, lines) = mpsc::channel(LAG_MAX);
        let lost = Arc::<AtomicU64>::default();
        let mut inner = self.lock();
        let kept = inner.kept(max);
        inner.followers.push(Follower {
            max,
            lines: sender,
            lost: Arc::clone(&lost),
        });
        self.settle(inner);
        Tail {
            shared: self,
            kept: kept.into(),
            lines,
            lost,
        }
    }

    /// Forgets who follows no more.
    fn sweep(&self) {
        let mut inner = self.lock();
        inner
            .followers
            .retain(|follower| !follower.lines.is_closed());
        self.settle(inner);
    }

    /// Has every place that logs ask again whether it shall, if that has changed.
    fn settle(&self, inner: MutexGuard<'_, Inner>) {
        let all = inner.followers.iter();
        let wanted = all.map(|follower| rank(follower.max)).max().unwrap_or(0);
        drop(inner);
        if self.wanted.swap(wanted, Ordering::Relaxed) != wanted {
            tracing_core::callsite::rebuild_interest_cache();
        }
    }
}

impl Inner {
    fn keep(&mut self, line: &str) {
        let length = line.len() + 1;
        if length > self.bytes_max {
            return;
        }
        while self.lines >= LINES_MAX || self.bytes.len() + length > self.bytes_max {
            while self.bytes.pop_front().is_some_and(|byte| byte != b'\n') {}
            self.lines -= 1;
        }
        let needed = self.bytes.len() + length;
        if needed > self.bytes.capacity() {
            // By its own growth it would have up to twice of what it may hold.
            let grown = needed.max(2 * self.bytes.capacity()).min(self.bytes_max);
            self.bytes.reserve_exact(grown - self.bytes.len());
        }
        self.bytes.extend(line.as_bytes());
        self.bytes.push_back(b'\n');
        self.lines += 1;
    }

    fn kept(&self, max: Level) -> Vec<Arc<str>> {
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        text.lines()
            .filter(|line| level_of(line).is_none_or(|level| level <= max))
            .map(Arc::from)
            .collect()
    }
}

/// The lines of this process's log up to `level`: the last ones first, then each as it comes.
///
/// `level` is one of Serf's words, in any case: trace, debug, info, warn, err. `None` for another.
pub fn follow(level: &str) -> Option<Tail> {
    let all = [
        Level::TRACE,
        Level::DEBUG,
        Level::INFO,
        Level::WARN,
        Level::ERROR,
    ];
    let max = all
        .into_iter()
        .find(|known| name(*known).eq_ignore_ascii_case(level))?;
    Some(TAIL.follow(max))
}

/// Follows the log until dropped.
#[derive(Debug)]
pub struct Tail {
    shared: &'static Shared,
    kept: VecDeque<Arc<str>>,
    lines: mpsc::Receiver<Arc<str>>,
    lost: Arc<AtomicU64>,
}

impl Tail {
    /// The next line. Where a slow reader missed some, a line says how many.
    pub async fn next(&mut self) -> Arc<str> {
        if let Some(line) = self.kept.pop_front() {
            return line;
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            // Those still queued came before the gap, but whoever is told late is told at all.
            return format!("[WARN] {lost} lines are missing here: this reader is too slow").into();
        }
        match self.lines.recv().await {
            Some(line) => line,
            // Its sender is in a static.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.lines.close();
        self.shared.sweep();
    }
}

/// Serf's word for a level.
pub(super) fn name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERR",
        Level::WARN => "WARN",
        Level::INFO => "INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    }
}

/// 1 for errors to 5 for traces.
fn rank(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

fn level(rank: u8) -> Option<Level> {
    match rank {
        1 => Some(Level::ERROR),
        2 => Some(Level::WARN),
        3 => Some(Level::INFO),
        4 => Some(Level::DEBUG),
        5 => Some(Level::TRACE),
        _ => None,
    }
}

/// From the word in brackets behind the time.
fn level_of(line: &str) -> Option<Level> {
    let (_, rest) = line.split_once('[')?;
    let (word, _) = rest.split_once(']')?;
    (1..=5).filter_map(level).find(|level| name(*level) == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_MAX: usize = 16 << 10;

    fn shared() -> &'static Shared {
        let shared = Box::leak(Box::new(Shared::new()));
        shared.keep(BYTES_MAX);
        shared
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime")
    }

    #[test]
    fn the_last_lines_come_first_then_the_next_ones() {
        let shared = shared();
        shared.push("1 [INFO] a", Level::INFO, true);
        shared.push("2 [WARN] b", Level::WARN, true);
        shared.push("3 [DEBUG] c", Level::DEBUG, false);

        let mut tail = shared.follow(Level::WARN);
        shared.push("4 [INFO] d", Level::INFO, true);
        shared.push("5 [ERR] e", Level::ERROR, true);

        runtime().block_on(async {
            assert_eq!(&*tail.next().await, "2 [WARN] b");
            assert_eq!(&*tail.next().await, "5 [ERR] e");
        });
    }

    #[test]
    fn what_is_kept_is_bounded_in_lines_and_bytes() {
        let shared = shared();
        for number in 0..2000 {
            shared.push(&format!("{number} [INFO] x"), Level::INFO, true);
        }
        let kept = shared.follow(Level::INFO).kept.clone();
        assert_eq!(kept.len(), LINES_MAX);
        assert_eq!(kept.back().map(|line| &**line), Some("1999 [INFO] x"));

        for _ in 0..100 {
            shared.push(&format!("[INFO] {}", "y".repeat(1000)), Level::INFO, true);
        }
        shared.push(&"z".repeat(2 * BYTES_MAX), Level::INFO, true);
        let inner = shared.lock();
        assert_eq!(inner.lines, BYTES_MAX / 1008);
        assert_eq!(inner.bytes.capacity(), BYTES_MAX);
    }

    #[test]
    fn more_is_made_only_while_somebody_follows_it() {
        let shared = shared();
        assert_eq!(shared.wanted(), LevelFilter::OFF);

        let debug = shared.follow(Level::DEBUG);
        let warn = shared.follow(Level::WARN);
        assert_eq!(shared.wanted(), LevelFilter::DEBUG);
        drop(debug);

        assert_eq!(shared.wanted(), LevelFilter::WARN);
        drop(warn);
        assert_eq!(shared.wanted(), LevelFilter::OFF);
        assert!(shared.lock().followers.is_empty());
    }

    #[test]
    fn a_slow_reader_is_told_how_much_it_missed() {
        let shared = shared();
        let mut tail = shared.follow(Level::INFO);
        for number in 0..LAG_MAX + 7 {
            shared.push(&format!("{number} [INFO] x"), Level::INFO, false);
        }

        runtime().block_on(async {
            let first = tail.next().await;
            assert!(first.contains(" 7 lines"), "{first}");
            assert_eq!(&*tail.next().await, "0 [INFO] x");
        });
    }

    #[test]
    fn levels_are_serf_s_words_in_any_case() {
        assert!(follow("Info").is_some());
        assert!(follow("ERR").is_some());
        assert!(follow("error").is_none());
        assert!(follow("").is_none());
    }
}
