//! Event handlers, to Serf's contract: the operator's scripts, run when something happens.
//!
//! ```text
//! Occasion ─▶ Handlers ─ one queue per spec ─▶ script, one at a time, in order ─▶ Report
//!             spec: which, and what to run          └─ a query's output ─▶ its answer
//!             shell: what would run a stranger's words
//! ```
//!
//! A handler that has nothing to do has no task and no memory but its spec. Where occasions come from, and where answers
//! go, is the caller's: no gossip here. Source: serf `cmd/serf/command/agent`, `event_handler.go`, `invoke.go`.

mod occasion;
mod queue;
pub mod shell;
mod spec;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use self::occasion::{Answer, Occasion, Who};
use self::queue::Queue;
pub use self::queue::{OUTPUT_BYTES_MAX, Report};
pub use self::spec::{BadSpec, Filter, Kind, Spec};

/// What handlers obey; keys `event_handler` and `handler_timeout` of `[gossip]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which, in order.
    pub specs: Vec<Spec>,
    /// A script that runs longer is killed, with all that it has started.
    pub timeout: Duration,
}

impl Default for Settings {
    /// None. Serf has no limit; five minutes are more than a deployment takes, and end what hangs.
    fn default() -> Self {
        Self {
            specs: Vec::new(),
            timeout: Duration::from_secs(300),
        }
    }
}

/// Tells who we are, whenever a script is started.
type Whoami = Box<dyn Fn() -> Who + Send + Sync>;

/// All handlers of a program; cheap to clone. Without a spec nothing is allocated for any occasion.
#[derive(Clone)]
pub struct Handlers(Arc<Inner>);

struct Inner {
    who: Whoami,
    queues: Mutex<Vec<Arc<Queue>>>,
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.queues().iter().map(|queue| &queue.spec.text))
            .finish()
    }
}

impl Handlers {
    /// Nothing runs before the first occasion.
    pub fn new(settings: Settings, who: impl Fn() -> Who + Send + Sync + 'static) -> Self {
        let handlers = Self(Arc::new(Inner {
            who: Box::new(who),
            queues: Mutex::default(),
        }));
        handlers.replace(settings);
        handlers
    }

    /// A reload. Handlers that stay as they are keep what waits for them, and their reports; what runs for one
    /// that is gone runs to its end.
    pub fn replace(&self, settings: Settings) {
        let Settings { specs, timeout } = settings;
        let mut queues = self.0.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *queues);
        *queues = specs
            .into_iter()
            .map(|spec| {
                let same = |queue: &Arc<Queue>| queue.spec == spec && queue.timeout == timeout;
                match before.iter().position(same) {
                    Some(at) => before.swap_remove(at),
                    None => Arc::new(Queue::new(spec, timeout)),
                }
            })
            .collect();
    }

    /// Whether anybody wants an occasion of this kind; `name` is that of a user event or query.
    pub fn want(&self, kind: Kind, name: &str) -> bool {
        let queues = self.0.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.iter().any(|queue| queue.spec.wants(kind, name))
    }

    /// Has it run by everyone who wants it; returns at once.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn deliver(&self, occasion: Occasion) {
        let occasion = Arc::new(occasion);
        for queue in self.queues() {
            if queue.spec.wants(occasion.kind, &occasion.name) {
                queue.push(&occasion, self);
            }
        }
    }

    /// How each is doing, in the order of the specs.
    pub fn reports(&self) -> Vec<Report> {
        self.queues().iter().map(|queue| queue.report()).collect()
    }

    /// Filter and script of each, as `serf info` shows them: `user:deploy`, `member-join:`.
    pub fn scripts(&self) -> Vec<(String, String)> {
        let queues = self.queues();
        let each = queues.iter().flat_map(|queue| {
            let filters = queue.spec.filters.iter();
            filters.map(|filter| (filter.to_string(), queue.spec.script.clone()))
        });
        each.collect()
    }

    /// Returns once nothing runs and nothing waits.
    pub async fn idle(&self) {
        for queue in self.queues() {
            queue.idle().await;
        }
    }

    fn who(&self) -> Who {
        (self.0.who)()
    }

    fn queues(&self) -> Vec<Arc<Queue>> {
        let queues = self.0.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.clone()
    }
}

#[cfg(test)]
mod tests;
