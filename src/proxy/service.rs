//! The life of a request: route, pick, send, retry or answer.
//!
//! ```text
//! front ─▶ forward (fit for a backend?) ─▶ route ─▶ hold ─▶ pick ─▶ attempt ─┬─▶ Reply ─▶ front passes it on
//!                                                   ▲                      │
//!                                                   └────── plan.next ─────┘ refused, reset, too slow, 503, gone down
//! ```
//!
//! Branches live here; what is called does one thing. No protocol of clients: that is the fronts'.

use std::rc::Rc;
use std::sync::Arc;

use tracing::debug;

use super::access::entry::{End, Entry};
use super::alarm::Alarm;
use super::asker::Asker;
use super::exchange::Exchange;
use super::fault::Fault;
use super::forward::RequestHead;
use super::hold;
use super::record::{Books, Record};
use super::reply::Reply;
use super::retry::{Plan, is_idempotent};
use super::stats::Reason;
use super::upload::Upload;
use super::worker::Worker;
use crate::pool::snapshot::Pick;

/// Asks backends until there is an answer to pass on. Dropping the future gives the request up: counts,
/// lease and connection go with it.
pub(super) async fn answer(
    worker: &Rc<Worker>,
    alarm: &Alarm,
    head: &RequestHead,
    asker: &mut dyn Asker,
    record: &mut Record,
) -> Result<Box<Reply>, Fault> {
    let home = worker.route(record.listener()).ok_or(Fault::NoPool)?;
    record.books = Books::Pool(home.clone());
    let pick = hold::first_pick(worker, &home, alarm, asker).await?;
    let limits = &worker.settings.limits;
    let mut exchange = Exchange {
        worker,
        alarm,
        asker,
        home: &home,
        plan: Plan::new(limits.attempts, is_idempotent(&head.method), &pick),
        head,
        upload: Upload::new(head.length, limits.replay_bytes),
        next: None,
        spare: None,
        hop: home.world().snapshot.hop,
        bound: false,
        interim: false,
        site: worker.site(&home, &pick.lease.upstream),
        record,
    };
    let outcome = exchange.run(pick).await;
    if let Err(fault) = &outcome {
        let received = exchange.upload.taken();
        exchange.record.note(|entry, _| entry.received(received));
        let site = &exchange.site;
        debug!(backend = %site.key.id, address = %site.key.address, %fault, "failed");
    }
    outcome.map(|mut reply| {
        reply.settle();
        reply
    })
}

/// A request that no backend will be asked for is counted with its pool.
pub(super) fn unanswered(worker: &Rc<Worker>, record: &mut Record) {
    let home = worker.route(record.listener());
    record.books = home.map_or(Books::None, Books::Pool);
}

impl Exchange<'_> {
    /// Tries until there is an answer to pass on.
    async fn run(&mut self, mut pick: Pick) -> Result<Box<Reply>, Fault> {
        // A backend's own 502, 503 or 504, to pass on if nobody does better.
        let mut refusal: Option<Box<Reply>> = None;
        loop {
            if !Arc::ptr_eq(&pick.lease.upstream.live, &self.site.live) {
                self.site = self.worker.site(self.home, &pick.lease.upstream);
            }
            self.ask(self.site.clone());
            self.record.note(Entry::tries);
            let outcome = self.attempt(pick.lease).await;
            self.learn(&outcome);
            let fault = match outcome {
                Ok(mut reply) if reply.is_unavailable() => {
                    self.upload = std::mem::take(&mut reply.upload);
                    let Ok(next) = self.next(Reason::Status) else {
                        reply.upload = std::mem::take(&mut self.upload);
                        return Ok(reply);
                    };
                    debug!(backend = %self.site.key.id, status = %reply.head.status, "asking another");
                    let status = format_args!("status {}", reply.head.status);
                    self.record.failed_at(&self.site, &status);
                    reply.hold();
                    refusal = Some(reply);
                    pick = next;
                    continue;
                }
                Ok(reply) => return Ok(reply),
                Err(fault) => fault,
            };
            match fault {
                Fault::FirstByte if self.next.is_some() => {
                    self.record.failed_at(&self.site, &"it went down");
                }
                _ if fault.whose() == End::Backend => self.record.failed_at(&self.site, &fault),
                _ => {}
            }
            let next = self.next.take().or_else(|| {
                let reason = fault.reason()?;
                self.next(reason).ok()
            });
            match (next, refusal.take()) {
                (Some(next), held) => {
                    debug!(backend = %self.site.key.id, %fault, "asking another");
                    refusal = held;
                    pick = next;
                }
                (None, Some(mut reply)) => {
                    self.ask(reply.site().clone());
                    let address = self.site.key.address;
                    self.record.note(|entry, _| entry.falls_back(address));
                    reply.upload = std::mem::take(&mut self.upload);
                    return Ok(reply);
                }
                (None, None) => return Err(fault),
            }
        }
    }
}
