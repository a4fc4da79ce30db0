//! What a client gets without asking each time: events, log lines, answers to its queries.
//!
//! ```text
//! notices (broadcast) ─┐
//! log::Tail ───────────┼─ one task each ─▶ bounded queue ─▶ session, when the client has read what it was sent
//! answers (mpsc) ──────┘
//! ```
//!
//! While a client reads nothing its tasks stand still, and their sources drop and count. Gossip never waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio::task::AbortHandle;

use super::filter::EventFilter;
use super::reply;
use crate::gossip::core::io::{Answer, Event, QueryId};
use crate::gossip::core::serf::coalesce::Notice;
use crate::gossip::core::wire::msgpack::Writer;
use crate::log;
use crate::task;

/// Records of all streams of one client that wait for it.
const QUEUE_MAX: usize = 16;

/// Streams of one client: events, log and open queries together.
pub(super) const STREAMS_MAX: usize = 64;

/// Queries of others that one client may still answer.
const PENDING_MAX: usize = 512;

/// One thing to tell a client.
#[derive(Debug)]
pub(super) enum Record {
    Notice(Arc<Notice>),
    /// So many notices were missed, as the client reads too slowly.
    Missed(u64),
    Log(Arc<str>),
    Answer(Answer),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Events,
    Monitor,
    Query,
}

/// The task that feeds one stream; it ends with this.
#[derive(Debug)]
struct Stream {
    kind: Kind,
    task: AbortHandle,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All streams of one client.
#[derive(Debug)]
pub(super) struct Streams {
    by_seq: BTreeMap<u64, Stream>,
    sender: mpsc::Sender<(u64, Record)>,
    records: mpsc::Receiver<(u64, Record)>,
    pending: Pending,
}

impl Streams {
    pub(super) fn new() -> Self {
        let (sender, records) = mpsc::channel(QUEUE_MAX);
        Self {
            by_seq: BTreeMap::new(),
            sender,
            records,
            pending: Pending::default(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.by_seq.len() >= STREAMS_MAX
    }

    pub(super) fn has_events(&self, seq: u64) -> bool {
        self.by_seq
            .get(&seq)
            .is_some_and(|stream| stream.kind == Kind::Events)
    }

    pub(super) fn has_monitor(&self) -> bool {
        self.by_seq
            .values()
            .any(|stream| stream.kind == Kind::Monitor)
    }

    pub(super) fn start_events(
        &mut self,
        seq: u64,
        filter: EventFilter,
        notices: broadcast::Receiver<Arc<Notice>>,
    ) {
        let task = events(seq, filter, notices, self.sender.clone());
        self.start(seq, Kind::Events, task);
    }

    pub(super) fn start_monitor(&mut self, seq: u64, tail: log::Tail) {
        let task = monitor(seq, tail, self.sender.clone());
        self.start(seq, Kind::Monitor, task);
    }

    pub(super) fn start_query(&mut self, seq: u64, answers: mpsc::Receiver<Answer>) {
        let task = query(seq, answers, self.sender.clone());
        self.start(seq, Kind::Query, task);
    }

    fn start(&mut self, seq: u64, kind: Kind, task: impl Future<Output = ()> + Send + 'static) {
        let task = task::spawn(task).abort_handle();
        self.by_seq.insert(seq, Stream { kind, task });
    }

    /// Ends events or the monitor of that number. A query ends by itself.
    pub(super) fn stop(&mut self, seq: u64) {
        if self
            .by_seq
            .get(&seq)
            .is_some_and(|stream| stream.kind != Kind::Query)
        {
            self.by_seq.remove(&seq);
        }
    }

    /// The next record, as bytes; never ends. May be dropped at any time without losing one.
    pub(super) async fn next(&mut self, now: fn() -> Instant) -> Vec<u8> {
        loop {
            let Some((seq, record)) = self.records.recv().await else {
                // A sender is kept here.
                return std::future::pending().await;
            };
            // What was under way when its stream was stopped is not told.
            if self.by_seq.contains_key(&seq) {
                return self.bytes(seq, &record, now());
            }
        }
    }

    fn bytes(&mut self, seq: u64, record: &Record, now: Instant) -> Vec<u8> {
        match record {
            Record::Notice(notice) => {
                let mut w = reply::header(seq, "");
                self.notice(&mut w, notice, now);
                w.finish()
            }
            Record::Missed(missed) => {
                // There is no record for it. A client reads a record behind each header, and shows this error or not.
                let mut w = reply::header(seq, &format!("{missed} events missed, read faster"));
                reply::member_event(&mut w, "lb-missed", &[]);
                w.finish()
            }
            Record::Log(line) => {
                let mut w = reply::header(seq, "");
                reply::log(&mut w, line);
                w.finish()
            }
            Record::Answer(answer) => {
                let mut w = reply::header(seq, "");
                reply::answer(&mut w, answer);
                if *answer == Answer::Done {
                    self.by_seq.remove(&seq);
                }
                w.finish()
            }
        }
    }

    fn notice(&mut self, w: &mut Writer, notice: &Notice, now: Instant) {
        let event = match notice {
            Notice::Members { change, members } => {
                return reply::member_event(w, change.as_str(), members);
            }
            Notice::Event(event) => event,
        };
        match &**event {
            Event::User {
                ltime,
                name,
                payload,
                coalesce,
            } => reply::user_event(w, *ltime, name, payload, *coalesce),
            Event::Query {
                id,
                ltime,
                name,
                payload,
                deadline,
                ..
            } => {
                let id = self.pending.add(*id, *deadline, now);
                reply::query_event(w, id, *ltime, name, payload);
            }
            // No others are noticed; a body must follow the header all the same.
            _ => w.nil(),
        }
    }

    /// The query that the client knows as `id`, while it is open.
    pub(super) fn pending(&self, id: u64, now: Instant) -> Option<QueryId> {
        let (query, deadline) = self.pending.by_id.get(&id)?;
        (*deadline > now).then_some(*query)
    }
}

/// Queries of others that the client was told of, under numbers of its own.
#[derive(Debug, Default)]
struct Pending {
    last: u64,
    by_id: BTreeMap<u64, (QueryId, Instant)>,
}

impl Pending {
    fn add(&mut self, query: QueryId, deadline: Instant, now: Instant) -> u64 {
        self.last += 1;
        if self.by_id.len() >= PENDING_MAX {
            self.by_id.retain(|_, (_, deadline)| *deadline > now);
        }
        if self.by_id.len() >= PENDING_MAX {
            self.by_id.pop_first();
        }
        self.by_id.insert(self.last, (query, deadline));
        self.last
    }
}

async fn events(
    seq: u64,
    filter: EventFilter,
    mut notices: broadcast::Receiver<Arc<Notice>>,
    queue: mpsc::Sender<(u64, Record)>,
) {
    loop {
        let record = match notices.recv().await {
            Ok(notice) if filter.passes(&notice) => Record::Notice(notice),
            Ok(_) => continue,
            Err(RecvError::Lagged(missed)) => Record::Missed(missed),
            // Gossip has ended, and nothing happens any more; the stream stays open.
            Err(RecvError::Closed) => return,
        };
        if queue.send((seq, record)).await.is_err() {
            return;
        }
    }
}

async fn monitor(seq: u64, mut tail: log::Tail, queue: mpsc::Sender<(u64, Record)>) {
    loop {
        let line = tail.next().await;
        if queue.send((seq, Record::Log(line))).await.is_err() {
            return;
        }
    }
}

async fn query(seq: u64, mut answers: mpsc::Receiver<Answer>, queue: mpsc::Sender<(u64, Record)>) {
    let mut done = false;
    while !done {
        // It ends without `Done` only when gossip does; a client must not wait for ever.
        let answer = answers.recv().await.unwrap_or(Answer::Done);
        done = answer == Answer::Done;
        if queue.send((seq, Record::Answer(answer))).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn queries_that_may_be_answered_are_bounded_and_end_at_their_deadline() {
        let now = crate::clock::now();
        let query = |id| QueryId { ltime: 1, id };
        let mut pending = Pending::default();

        let first = pending.add(query(0), now + Duration::from_secs(9), now);
        for id in 1..=PENDING_MAX as u32 {
            pending.add(query(id), now + Duration::from_secs(5), now);
        }
        assert_eq!(pending.by_id.len(), PENDING_MAX);
        assert!(!pending.by_id.contains_key(&first));

        let later = now + Duration::from_secs(6);
        let last = pending.add(query(7), later + Duration::from_secs(1), later);
        assert_eq!(pending.by_id.len(), 1);
        assert_eq!(last, PENDING_MAX as u64 + 2);
    }
}
