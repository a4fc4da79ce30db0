//! The life of a request: route, pick, send, retry or answer, finish.
//!
//! ```text
//! head ─▶ admissible? ─▶ route ─▶ hold ─▶ pick ─▶ attempt ─┬─▶ answer ─▶ body ─▶ finished by Drop
//!                                          ▲               │
//!                                          └── plan.next ──┘ refused, reset, too slow, 503, gone down
//! ```
//!
//! Branches live here; what is called does one thing. No hyper: `front_h1` and `upstream` are the edges.

use std::rc::Rc;

use tracing::debug;

use super::answer::{Answer, Fault};
use super::attempt::Reply;
use super::body::{Source, Upload};
use super::front_h1::Client;
use super::head::RequestHead;
use super::retry::{Plan, is_idempotent};
use super::site::Site;
use super::stats::Reason;
use super::worker::{Home, Record, Worker, World};
use super::{forward, hold};
use crate::pool::snapshot::Pick;
use crate::pool::upstream::Lease;

/// One request's dealings with backends.
pub(super) struct Exchange<'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) client: &'a Rc<Client>,
    pub(super) home: &'a Home,
    /// The world as this request sees it, to its end.
    pub(super) world: Rc<World>,
    pub(super) plan: Plan,
    pub(super) head: RequestHead,
    pub(super) upload: Option<Rc<Upload>>,
    /// Chosen already, while the attempt before it was still waiting.
    pub(super) next: Option<Pick>,
    /// Who was asked last.
    pub(super) site: Rc<Site>,
    /// Counted where it was asked last, also when the client leaves meanwhile.
    record: Record,
}

/// Answers one request. Dropping the future gives it up: counts, lease and connection go with it.
pub(super) async fn answer(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    mut head: RequestHead,
    body: Option<Box<dyn Source>>,
) -> Answer {
    let mut record = Record::begin(worker, client);
    let Some(home) = worker.route() else {
        return Answer::from_fault(&Fault::NoPool, record);
    };
    record.counts = Some(home.unanswered.clone());
    if let Err(fault) = forward::request(&mut head, client, body.is_some()) {
        return Answer::from_fault(&fault, record);
    }
    let Some((world, pick)) = hold::first_pick(worker, &home).await else {
        let pool = home.pool.name.clone();
        return Answer::from_fault(&Fault::Nobody { pool }, record);
    };
    let limits = &worker.settings.limits;
    let mut exchange = Exchange {
        worker,
        client,
        home: &home,
        plan: Plan::new(limits.attempts, is_idempotent(&head.method), &pick),
        head,
        upload: body.map(|source| Upload::new(source, limits.replay_bytes)),
        next: None,
        site: worker.site(&home, &pick.upstream),
        world,
        record,
    };
    let outcome = exchange.run(pick).await;
    let Exchange {
        record,
        site,
        upload,
        ..
    } = exchange;
    if let Some(upload) = upload {
        upload.forget();
    }
    match outcome {
        Ok(mut reply) => {
            forward::response(&mut reply.head);
            Answer::from_backend(reply, record)
        }
        Err(fault) => {
            debug!(backend = %site.key.id, address = %site.key.address, %fault, "failed");
            Answer::from_fault(&fault, record)
        }
    }
}

impl Exchange<'_> {
    /// Tries until there is an answer to pass on.
    async fn run(&mut self, mut pick: Pick) -> Result<Reply, Fault> {
        // A backend's own 502, 503 or 504, to pass on if nobody does better.
        let mut refusal: Option<Reply> = None;
        loop {
            let lease = Lease::new(pick.upstream.clone());
            self.ask(self.worker.site(self.home, &pick.upstream));
            let outcome = self.attempt(lease).await;
            self.learn(&outcome);
            let fault = match outcome {
                Ok(reply) if !reply.is_unavailable() => return Ok(reply),
                Ok(reply) => match self.next(Reason::Status, false) {
                    Some(next) => {
                        debug!(backend = %self.site.key.id, status = %reply.head.status, "asking another");
                        refusal = Some(reply);
                        pick = next;
                        continue;
                    }
                    None => return Ok(reply),
                },
                Err(fault) => fault,
            };
            let next = self.next.take().or_else(|| {
                let reason = fault.reason()?;
                self.next(reason, fault.is_stale())
            });
            match (next, refusal.take()) {
                (Some(next), held) => {
                    debug!(backend = %self.site.key.id, %fault, "asking another");
                    refusal = held;
                    pick = next;
                }
                (None, Some(reply)) => {
                    self.ask(reply.site().clone());
                    return Ok(reply);
                }
                (None, None) => return Err(fault),
            }
        }
    }

    /// Whose turn it is: the request is counted there from now on.
    pub(super) fn ask(&mut self, site: Rc<Site>) {
        self.record.counts = Some(site.counts.clone());
        self.site = site;
    }

    /// What this try says about the backend it was made at. Failed connects are told where they fail.
    fn learn(&self, outcome: &Result<Reply, Fault>) {
        let site = &self.site;
        match outcome {
            Ok(reply) if reply.is_failure() => {
                let status = reply.head.status;
                self.worker.failed(site, || status.as_u16().to_string());
            }
            Ok(_) => site.live.succeeded(self.client.alarm.now()),
            // A request that moves on because its backend went down is no further proof of that.
            Err(Fault::FirstByte) if self.next.is_some() => {}
            Err(fault) if fault.is_outlier() => self.worker.failed(site, || fault.to_string()),
            Err(_) => {}
        }
    }

    /// Whom to ask next, if the request may be repeated for this reason.
    pub(super) fn next(&mut self, reason: Reason, stale: bool) -> Option<Pick> {
        let replayable = self
            .upload
            .as_ref()
            .is_none_or(|upload| upload.is_replayable());
        let worker = self.worker;
        let now = self.client.alarm.now();
        let pick = self
            .plan
            .next(reason, stale, replayable, &self.world.snapshot, &mut || {
                worker.take_retry(now)
            })?;
        worker.stats.retried(reason);
        Some(pick)
    }
}
