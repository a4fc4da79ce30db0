//! One try at one backend: a connection, the request on it, and the wait for the answer's head.
//!
//! ```text
//! idle connection ─┐                    ┌─ head of the answer ─▶ Reply (streams the body)
//!                  ├─▶ send ─▶ waiting ─┼─ closed, reset, garbage, too slow ─▶ Fault
//! connect (race) ──┘                    └─ backend went down: moves on if somebody else can be asked
//! ```

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;

use super::answer::Fault;
use super::body::{BodyError, Outgoing, Source};
use super::front_h1::Client;
use super::head::ResponseHead;
use super::service::Exchange;
use super::site::Site;
use super::stats::Reason;
use super::upstream::{Download, Link, SendFailure};
use crate::pool::upstream::Lease;

impl Exchange<'_> {
    /// Tries the backend of `lease`, or the one that connects first.
    pub(super) async fn attempt(&mut self, lease: Lease) -> Result<Reply, Fault> {
        let idle = match self.plan.wants_new_connection() {
            true => None,
            false => self.site.take_idle(!self.plan.is_idempotent()),
        };
        let (link, lease) = match idle {
            Some(link) => (link, lease),
            None => Box::pin(self.connect(lease)).await?,
        };
        self.send(link, lease).await
    }

    async fn send(&mut self, mut link: Box<Link>, lease: Lease) -> Result<Reply, Fault> {
        // Kept only where another attempt is thinkable.
        let head = if self.plan.has_attempts_left() {
            self.head.clone()
        } else {
            std::mem::take(&mut self.head)
        };
        let now = self.client.alarm.now();
        let mut waiting = Waiting {
            downs: lease.upstream.live.downs(),
            sent: now,
            progress: now,
            moved: 0,
            told: false,
        };
        let answer = link.send(head, Outgoing::new(self.upload.clone()));
        let mut answer = pin!(answer);
        let outcome = poll_fn(|cx| {
            let ended = link.drive(cx).is_ready();
            // Only `drive` completes it, so it need not wake us a second time. With the cooperative
            // budget spent it does not even look, and then we come back.
            let mut quiet = Context::from_waker(Waker::noop());
            if let Poll::Ready(result) = answer.as_mut().poll(&mut quiet) {
                return Poll::Ready(result.map_err(|failure| self.fault_of(&link, &failure)));
            }
            if !tokio::task::coop::has_budget_remaining() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if ended {
                // hyper drops an unsent request only with its queue, that is with the link.
                return Poll::Ready(Err(Fault::Unsent { stale: link.reused }));
            }
            self.poll_waiting(cx, &link, &mut waiting)
                .map(Err::<_, Fault>)
        })
        .await;
        let (head, incoming) = outcome?;
        let mut reply = Reply::new(
            head,
            Download::new(incoming, link),
            self.site.clone(),
            lease,
            self.client.clone(),
            self.worker.settings.timeouts.body_progress,
        );
        let looked = poll_fn(|cx| Poll::Ready(reply.look_ahead(cx))).await;
        looked.map_err(Fault::Broken)?;
        Ok(reply)
    }

    fn fault_of(&self, link: &Link, failure: &SendFailure) -> Fault {
        if let Some(error) = self.upload.as_ref().and_then(|upload| upload.failed()) {
            return Fault::ClientBody(error);
        }
        let stale = link.reused && link.read() == 0;
        if failure.garbage {
            Fault::Garbage(failure.why.clone())
        } else if link.written() == 0 {
            Fault::Unsent { stale }
        } else {
            Fault::Reset {
                why: failure.why.clone(),
                stale,
            }
        }
    }

    /// Nothing has come yet: is it time to move on, to ask for a check, or to give up?
    fn poll_waiting(
        &mut self,
        cx: &mut Context<'_>,
        link: &Link,
        waiting: &mut Waiting,
    ) -> Poll<Fault> {
        let timeouts = &self.worker.settings.timeouts;
        let now = self.client.alarm.now();
        let downs = self.site.live.downs();
        if downs != waiting.downs && link.read() == 0 {
            waiting.downs = downs;
            self.next = self.next(Reason::Rescue, false);
            if self.next.is_some() {
                return Poll::Ready(Fault::FirstByte);
            }
        }
        let taken = self.upload.as_ref().map_or(0, |upload| upload.taken());
        let moved = link.written() + link.read() + taken;
        if moved != waiting.moved {
            waiting.moved = moved;
            waiting.progress = now;
            if let Some(upload) = &self.upload
                && !self.plan.is_idempotent()
                && link.written() > 0
            {
                upload.forget();
            }
        }
        let uploading = self
            .upload
            .as_ref()
            .is_some_and(|upload| !upload.is_ended());
        let limit = waiting.progress
            + match uploading || link.read() > 0 {
                true => timeouts.body_progress,
                false => timeouts.first_byte,
            };
        if now >= limit {
            return Poll::Ready(if !uploading {
                Fault::FirstByte
            } else if self.client.is_body_wanted() {
                Fault::ClientSlow
            } else {
                Fault::Stalled
            });
        }
        let slow = waiting.sent + timeouts.slow_first_byte;
        if !waiting.told && now >= slow {
            waiting.told = true;
            self.worker.report_slow(&self.site, now);
        }
        let next = if waiting.told { limit } else { limit.min(slow) };
        self.client.alarm.wake_by(cx, next);
        Poll::Pending
    }
}

/// What the wait for an answer remembers.
struct Waiting {
    /// The backend's count of downs when the request was sent.
    downs: u64,
    sent: Instant,
    /// When a byte last moved.
    progress: Instant,
    moved: u64,
    /// The slow first byte was reported.
    told: bool,
}

/// A backend's answer: its head, and its body as it comes.
pub(super) struct Reply {
    pub(super) head: ResponseHead,
    /// `None` once all of it was read.
    download: Option<Download>,
    /// Read before anything was passed on, in order.
    ahead: [Option<Bytes>; 2],
    /// Its length was known from the start.
    sized: bool,
    site: Rc<Site>,
    /// Released with the last byte.
    lease: Option<Lease>,
    client: Rc<Client>,
    progress_max: Duration,
    /// Since when nothing came.
    waiting_since: Option<Instant>,
}

impl Reply {
    fn new(
        head: ResponseHead,
        download: Download,
        site: Rc<Site>,
        lease: Lease,
        client: Rc<Client>,
        progress_max: Duration,
    ) -> Self {
        let mut reply = Self {
            head,
            sized: download.remaining().is_some(),
            download: Some(download),
            ahead: [None, None],
            site,
            lease: Some(lease),
            client,
            progress_max,
            waiting_since: None,
        };
        reply.finish_if_ended();
        reply
    }

    /// The backend says that it, or what is behind it, can't serve now.
    pub(super) fn is_unavailable(&self) -> bool {
        matches!(
            self.head.status,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
        )
    }

    /// The backend failed at the request. 501 and 505 speak about the request, not about the backend.
    pub(super) fn is_failure(&self) -> bool {
        let status = self.head.status;
        status.is_server_error()
            && !matches!(
                status,
                StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED
            )
    }

    /// Who answered.
    pub(super) fn site(&self) -> &Rc<Site> {
        &self.site
    }

    fn finish_if_ended(&mut self) {
        if self.download.as_ref().is_some_and(Download::is_ended) {
            self.finish();
        }
    }

    fn finish(&mut self) {
        self.lease = None;
        let link = self.download.take().and_then(Download::into_free_link);
        if let Some(link) = link {
            self.site.put_idle(link, self.client.alarm.now());
        }
    }

    /// Reads what has come already, without a wait: an answer that broke off at once is then not
    /// passed on at all. The second chunk is for an end that comes together with the first.
    fn look_ahead(&mut self, cx: &mut Context<'_>) -> Result<(), BodyError> {
        for at in 0..self.ahead.len() {
            match self.poll_download(cx) {
                Poll::Ready(Some(Ok(chunk))) => self.ahead[at] = Some(chunk),
                Poll::Ready(Some(Err(error))) => return Err(error),
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        Ok(())
    }

    fn cut(&mut self) {
        self.lease = None;
        self.download = None;
    }

    fn poll_download(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let Some(download) = &mut self.download else {
            return Poll::Ready(None);
        };
        match download.poll_chunk(cx) {
            Poll::Ready(Some(Ok(chunk))) => {
                self.waiting_since = None;
                self.finish_if_ended();
                Poll::Ready(Some(Ok(chunk)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.cut();
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
            Poll::Pending => {
                let now = self.client.alarm.now();
                let limit = *self.waiting_since.get_or_insert(now) + self.progress_max;
                if now >= limit {
                    self.cut();
                    return Poll::Ready(Some(Err(BodyError::UpstreamSlow)));
                }
                self.client.alarm.wake_by(cx, limit);
                Poll::Pending
            }
        }
    }
}

impl Source for Reply {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Some(chunk) = self.ahead[0].take() {
            self.ahead.swap(0, 1);
            return Poll::Ready(Some(Ok(chunk)));
        }
        self.poll_download(cx)
    }

    fn remaining(&self) -> Option<u64> {
        let ahead: u64 = self.ahead.iter().flatten().map(|it| it.len() as u64).sum();
        match &self.download {
            Some(download) => Some(download.remaining()? + ahead),
            // How it is framed must not hang on how fast it came.
            None if ahead > 0 && !self.sized => None,
            None => Some(ahead),
        }
    }
}
