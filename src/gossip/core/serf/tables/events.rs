//! The last user events: each is taken once.

use std::collections::BTreeMap;

use crate::gossip::core::wire::serf::{RecordedEvents, UserEvent};

/// Slots of the ring; events further back than this are too old. Source: serf `EventBuffer`.
const SLOTS: u64 = 512;

/// Largest name and payload together that is taken in. Source: serf `UserEventSizeLimit`.
const EVENT_BYTES_MAX: usize = 9 << 10;

/// Events recorded at one Lamport time; honest members rarely share one.
const PER_SLOT_MAX: usize = 128;

/// Bytes of all recorded events; a full ring of the default 512-byte events is a quarter of it.
const RING_BYTES_MAX: usize = 1 << 20;

/// The last events, by Lamport time.
#[derive(Debug, Default)]
pub(crate) struct EventRing {
    /// By Lamport time modulo [`SLOTS`]; an agent that hears no events has none.
    slots: BTreeMap<u64, RecordedEvents>,
    bytes: usize,
    /// Older events are ignored.
    min_time: u64,
}

impl EventRing {
    pub(crate) fn recorded(&self) -> impl Iterator<Item = &RecordedEvents> {
        self.slots.values()
    }

    pub(crate) fn ignore_before(&mut self, time: u64) {
        self.min_time = self.min_time.max(time);
    }

    /// Records an event at clock time `current`.
    ///
    /// # Errors
    /// The reason why it is not to be delivered; `None` when it is merely known or old.
    pub(crate) fn record(
        &mut self,
        current: u64,
        event: &UserEvent,
    ) -> Result<(), Option<&'static str>> {
        let bytes = event.name.len() + event.payload.len();
        if bytes > EVENT_BYTES_MAX {
            return Err(Some("too_large"));
        }
        let too_old = current > SLOTS && event.ltime < current - SLOTS;
        if event.ltime < self.min_time || too_old {
            return Err(None);
        }
        let place = event.ltime % SLOTS;
        let other = self.slots.get(&place).map(|slot| slot.ltime) != Some(event.ltime);
        if other && let Some(old) = self.slots.remove(&place) {
            self.bytes -= old.events.iter().map(size).sum::<usize>();
        }
        let recorded = self.slots.entry(place).or_insert_with(|| RecordedEvents {
            ltime: event.ltime,
            events: Vec::new(),
        });
        let seen = recorded
            .events
            .iter()
            .any(|(name, payload)| *name == event.name && *payload == event.payload);
        if seen {
            return Err(None);
        }
        if recorded.events.len() >= PER_SLOT_MAX || self.bytes + bytes > RING_BYTES_MAX {
            return Err(Some("events_full"));
        }
        self.bytes += bytes;
        recorded
            .events
            .push((event.name.clone(), event.payload.clone()));
        Ok(())
    }
}

fn size((name, payload): &(String, Vec<u8>)) -> usize {
    name.len() + payload.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(ltime: u64, name: &str) -> UserEvent {
        UserEvent {
            ltime,
            name: name.to_owned(),
            payload: b"payload".to_vec(),
            coalesce: false,
        }
    }

    #[test]
    fn an_event_is_taken_once() {
        let mut ring = EventRing::default();

        assert_eq!(ring.record(6, &event(5, "a")), Ok(()));
        assert_eq!(ring.record(6, &event(5, "a")), Err(None));
        assert_eq!(ring.record(6, &event(5, "b")), Ok(()));
        assert_eq!(ring.recorded().count(), 1);
    }

    #[test]
    fn what_is_older_than_the_ring_or_the_join_is_ignored() {
        let mut ring = EventRing::default();

        assert_eq!(ring.record(1000, &event(487, "a")), Err(None));
        assert_eq!(ring.record(1000, &event(488, "a")), Ok(()));
        ring.ignore_before(900);
        assert_eq!(ring.record(1000, &event(899, "a")), Err(None));
        assert_eq!(ring.record(1000, &event(900, "a")), Ok(()));
    }

    #[test]
    fn a_newer_event_takes_the_slot_and_its_bytes() {
        let mut ring = EventRing::default();
        ring.record(2, &event(1, "old")).expect("taken");
        ring.record(514, &event(513, "new")).expect("taken");

        assert_eq!(ring.recorded().count(), 1);
        assert_eq!(ring.bytes, "new".len() + "payload".len());
    }

    #[test]
    fn floods_are_refused_with_a_reason() {
        let mut ring = EventRing::default();
        for number in 0..PER_SLOT_MAX {
            ring.record(2, &event(1, &number.to_string()))
                .expect("taken");
        }

        assert_eq!(ring.record(2, &event(1, "more")), Err(Some("events_full")));
        let mut huge = event(2, "huge");
        huge.payload = vec![0; EVENT_BYTES_MAX];
        assert_eq!(ring.record(3, &huge), Err(Some("too_large")));
    }
}
