//! One request's dealings with backends: what is known of it, and whom to ask next.

use std::rc::Rc;

use super::alarm::Alarm;
use super::asker::Asker;
use super::fault::Fault;
use super::forward::RequestHead;
use super::record::{Books, Record};
use super::reply::Reply;
use super::retry::Plan;
use super::site::Site;
use super::stats::Reason;
use super::upload::Upload;
use super::worker::{Home, Worker};
use crate::pool::hop::Settings as Hop;
use crate::pool::snapshot::{Pick, Unpicked};
use crate::pool::upstream::Lease;

/// One request under way.
pub(super) struct Exchange<'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) alarm: &'a Alarm,
    pub(super) asker: &'a mut dyn Asker,
    pub(super) home: &'a Home,
    pub(super) plan: Plan,
    pub(super) head: &'a RequestHead,
    pub(super) upload: Upload,
    /// Chosen already, while the attempt before it was still waiting.
    pub(super) next: Option<Pick>,
    /// The place of an attempt that ended with a kept connection: for the same backend once more, so that nobody
    /// who waits for one gets between.
    pub(super) spare: Option<Lease>,
    /// How connections are begun there.
    pub(super) hop: Hop,
    /// Its connection carries nothing else, neither before nor after.
    pub(super) bound: bool,
    /// An interim answer has reached the client.
    pub(super) interim: bool,
    /// Who was asked last.
    pub(super) site: Rc<Site>,
    /// Counted where it was asked last, also when the client leaves meanwhile.
    pub(super) record: &'a mut Record,
}

impl Exchange<'_> {
    /// Whose turn it is: the request is counted there from now on.
    pub(super) fn ask(&mut self, site: Rc<Site>) {
        self.record.books = Books::Backend(site.clone());
        self.site = site;
    }

    /// What this try says about the backend it was made at. Failed connects are told where they fail.
    pub(super) fn learn(&self, outcome: &Result<Box<Reply>, Fault>) {
        let site = &self.site;
        match outcome {
            Ok(reply) if reply.is_failure() => {
                let status = reply.head.status;
                self.worker.failed(site, || status.to_string());
            }
            Ok(_) => site.live.succeeded(self.worker.now()),
            // A request that moves on because its backend went down is no further proof of that.
            Err(Fault::FirstByte) if self.next.is_some() => {}
            Err(fault) if fault.is_outlier() => self.worker.failed(site, || fault.to_string()),
            Err(_) => {}
        }
    }

    /// Whom to ask next, if the request may be repeated for this reason: of those that are in now, since
    /// more may have gone down since it came.
    pub(super) fn next(&mut self, reason: Reason) -> Result<Pick, Unpicked> {
        let worker = self.worker;
        let now = worker.now();
        let replayable = self.upload.is_replayable() && !self.interim;
        let stale = self.spare.take();
        let world = self.home.world();
        let pick = self
            .plan
            .next(reason, stale, replayable, &world.snapshot, &mut || {
                worker.take_retry(now)
            })?;
        worker.stats.retried(reason);
        self.record.note(|entry, _| entry.repeats());
        Ok(pick)
    }
}
