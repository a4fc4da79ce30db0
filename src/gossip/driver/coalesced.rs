//! Events as `serf agent` tells them to scripts and streams: few instead of many.
//!
//! ```text
//! Event ─▶ Coalescer (only while somebody listens) ─▶ broadcast<Arc<Notice>>
//! ```
//!
//! It is here and not with each listener because a join of hundreds must not overrun the channel before a listener
//! runs at all. Where nobody listens there is neither channel nor coalescer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::broadcast;

use crate::gossip::core::io::Event;
use crate::gossip::core::serf::coalesce::{Coalescer, Notice};

/// Notices that a slow listener may lag behind.
const NOTICES_MAX: usize = 256;

/// Who listens.
#[derive(Debug, Default)]
enum Audience {
    #[default]
    Nobody,
    Some(broadcast::Sender<Arc<Notice>>),
    /// Gossip has ended.
    Over,
}

/// Where listeners come in; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Door(Arc<Mutex<Audience>>);

impl Door {
    pub(super) fn listen(&self) -> broadcast::Receiver<Arc<Notice>> {
        let mut audience = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*audience {
            Audience::Some(sender) => sender.subscribe(),
            Audience::Over => broadcast::channel(1).1,
            Audience::Nobody => {
                let (sender, receiver) = broadcast::channel(NOTICES_MAX);
                *audience = Audience::Some(sender);
                receiver
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_open(&self) -> bool {
        self.sender().is_some()
    }

    /// The channel, if anybody listens at its end; without listeners it goes.
    fn sender(&self) -> Option<broadcast::Sender<Arc<Notice>>> {
        let mut audience = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Audience::Some(sender) = &*audience else {
            return None;
        };
        if sender.receiver_count() > 0 {
            return Some(sender.clone());
        }
        *audience = Audience::Nobody;
        None
    }
}

/// The owner's side.
#[derive(Debug)]
pub(super) struct Stage {
    door: Door,
    coalescer: Option<Box<Coalescer>>,
}

impl Stage {
    pub(super) fn new(door: Door) -> Self {
        Self {
            door,
            coalescer: None,
        }
    }

    pub(super) fn tell(&mut self, now: Instant, event: &Arc<Event>) {
        let Some(sender) = self.door.sender() else {
            self.coalescer = None;
            return;
        };
        let coalescer = self.coalescer.get_or_insert_default();
        if let Some(notice) = coalescer.push(now, event) {
            // The last listener may just have gone.
            let _ = sender.send(Arc::new(notice));
        }
    }

    /// When [`Self::flush`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        self.coalescer.as_ref()?.due()
    }

    pub(super) fn flush(&mut self, now: Instant) {
        let Some(coalescer) = &mut self.coalescer else {
            return;
        };
        if coalescer.due().is_none_or(|due| due > now) {
            return;
        }
        let notices = coalescer.flush(now);
        match self.door.sender() {
            Some(sender) => {
                for notice in notices {
                    let _ = sender.send(Arc::new(notice));
                }
            }
            None => self.coalescer = None,
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        *self.door.0.lock().unwrap_or_else(PoisonError::into_inner) = Audience::Over;
    }
}
