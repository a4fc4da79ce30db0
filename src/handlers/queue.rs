//! One handler: what waits for it, what runs, and how it went.
//!
//! ```text
//! push ─▶ waiting (bounded) ─▶ task, while there is something ─▶ script::run ─▶ Report
//! ```

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tracing::{debug, warn};

use super::{Handlers, Occasion, Spec};
use crate::clock;
use crate::script::{self, Keep, Order, Ran};
use crate::task;

/// Of a script's output, the last is kept. Source: serf's `maxBufSize`.
pub const OUTPUT_BYTES_MAX: usize = 8 << 10;

/// Occasions that wait for one handler. Member events come collected, so this many mean that it hangs.
const WAITING_MAX: usize = 512;

/// Longer runs are worth a line. Source: serf's `warnSlow`.
const SLOW: Duration = Duration::from_secs(1);

/// How long a killed script that does not end holds up the next.
const LEFTOVER_MAX: Duration = Duration::from_secs(10);

/// How one handler is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its spec, as it was given.
    pub spec: String,
    /// Scripts that ended.
    pub runs: u64,
    /// Those that did not end with exit code 0.
    pub failures: u64,
    /// Occasions that were not told to it, since too many waited.
    pub dropped: u64,
    /// Occasions that wait.
    pub waiting: usize,
    /// The last run, if any.
    pub last: Option<Last>,
}

/// The last run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Last {
    /// When it ended.
    pub at: SystemTime,
    /// For what: `member-join`, `user deploy`.
    pub occasion: String,
    /// `exit code 0`, `no end within 5m`, …
    pub end: String,
    /// What it printed, at the end.
    pub output: Vec<u8>,
}

/// One handler.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) spec: Spec,
    pub(super) timeout: Duration,
    state: Mutex<State>,
    /// Nothing runs any more.
    quiet: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Arc<Occasion>>,
    /// A task is at work.
    running: bool,
    /// Some were dropped since the last that was taken.
    dropping: bool,
    runs: u64,
    failures: u64,
    dropped: u64,
    last: Option<Last>,
}

impl Queue {
    pub(super) fn new(spec: Spec, timeout: Duration) -> Self {
        Self {
            spec,
            timeout,
            state: Mutex::default(),
            quiet: Notify::new(),
        }
    }

    pub(super) fn push(self: &Arc<Self>, occasion: &Arc<Occasion>, handlers: &Handlers) {
        let mut state = self.state();
        if state.waiting.len() >= WAITING_MAX {
            state.dropped += 1;
            // Once until it moves again, not for each.
            if !std::mem::replace(&mut state.dropping, true) {
                warn!(handler = %self.spec, "{WAITING_MAX} events wait for it; newer ones are dropped until it has ended");
            }
            return;
        }
        state.waiting.push_back(Arc::clone(occasion));
        if !std::mem::replace(&mut state.running, true) {
            task::spawn(Arc::clone(self).work(handlers.clone()));
        }
    }

    pub(super) fn report(&self) -> Report {
        let state = self.state();
        Report {
            spec: self.spec.text.clone(),
            runs: state.runs,
            failures: state.failures,
            dropped: state.dropped,
            waiting: state.waiting.len(),
            last: state.last.clone(),
        }
    }

    pub(super) async fn idle(&self) {
        loop {
            let quiet = self.quiet.notified();
            if !self.state().running {
                return;
            }
            quiet.await;
        }
    }

    /// Until nothing waits.
    async fn work(self: Arc<Self>, handlers: Handlers) {
        while let Some(occasion) = self.next() {
            self.run(&occasion, &handlers).await;
        }
    }

    fn next(&self) -> Option<Arc<Occasion>> {
        let mut state = self.state();
        let next = state.waiting.pop_front();
        state.dropping = false;
        if next.is_none() {
            // A burst's memory is not kept.
            state.waiting = VecDeque::new();
            state.running = false;
            self.quiet.notify_waiters();
        }
        next
    }

    async fn run(&self, occasion: &Occasion, handlers: &Handlers) {
        let env = occasion.environment(&handlers.who());
        let order = Order {
            command: &self.spec.script,
            env: &env,
            stdin: &occasion.stdin,
            timeout: self.timeout,
            keep: Keep::Last(OUTPUT_BYTES_MAX),
        };
        let mut running = Box::pin(script::run(&order));
        let mut ran = match tokio::time::timeout(SLOW, &mut running).await {
            Ok(ran) => ran,
            Err(_) => {
                warn!(handler = %self.spec, "a script has run for {SLOW:?} now; others wait for it");
                running.await
            }
        };
        let leftover = ran.leftover.take();
        self.ran(occasion, ran);
        if let Some(leftover) = leftover {
            let _ = tokio::time::timeout(LEFTOVER_MAX, leftover.gone()).await;
        }
    }

    fn ran(&self, occasion: &Occasion, ran: Ran) {
        let title = occasion.title();
        let Ran { end, output, .. } = ran;
        let text = String::from_utf8_lossy(output.bytes());
        debug!(handler = %self.spec, took = ?ran.took, "event {title}: {end}, output: {text}");
        if output.written() > OUTPUT_BYTES_MAX as u64 {
            warn!(handler = %self.spec, "{} bytes of output, of which the last {OUTPUT_BYTES_MAX} are kept", output.written());
        }
        if !end.is_success() {
            let last = text.lines().rfind(|line| !line.trim().is_empty());
            let last = last.unwrap_or_default();
            warn!(handler = %self.spec, "event {title}: {end}, last said: {last}");
        } else if let Some(answer) = &occasion.answer
            && output.written() > 0
        {
            answer(output.bytes().to_vec());
        }
        let mut state = self.state();
        state.runs += 1;
        state.failures += u64::from(!end.is_success());
        state.last = Some(Last {
            at: clock::wall(),
            occasion: title,
            end: end.to_string(),
            output: output.into_bytes(),
        });
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
