//! A new connection: to the picked backend, or, where that takes long, to the first of several that answers.
//!
//! ```text
//! 0 ms        250 ms      500 ms         5 s
//! ├─ dial A ──┼───────────┼──────────────┤ gives up
//!             └─ dial B ──┼──────────────┤      the losers go on alone, into the idle list
//!                         └─ dial C … ───┤
//! ```
//!
//! Nothing has been sent yet, so this is safe for any method, and all of it is one attempt: half a pool may have gone
//! dark together, and whoever begins with three dark ones must still get to a living one.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::exchange::Exchange;
use super::fault::{Fault, in_words};
use super::hop::Way;
use super::link::{Link, Secure, is_theirs};
use super::multiplex::join::Join;
use super::site::Site;
use super::stats::Reason;
use super::worker::Worker;
use crate::announce::Proto;
use crate::pool::upstream::Lease;
use crate::proxy_header::Version;
use crate::tls::client::Inside;
use crate::{clock, proxy_header};

/// One connect under way.
struct Dial {
    site: Rc<Site>,
    lease: Lease,
    /// The backend's count of downs when it was begun.
    downs: u64,
    connecting: Pin<Box<dyn Future<Output = io::Result<Way>>>>,
    /// Whoever dials there does it for all who wait, goes on alone, and tells how it went.
    shared: bool,
}

impl Dial {
    fn begin(worker: &Rc<Worker>, site: Rc<Site>, lease: Lease, opening: Opening) -> Self {
        let address = site.key.address;
        let secure = match opening.raw {
            true => None,
            false => secure(worker, &site, &lease),
        };
        let shared = lease.upstream.proto.is_multiplexed() && !opening.bound;
        Self {
            connecting: match shared {
                true => {
                    let join = Join::new(worker.clone(), site.clone(), opening.shared, secure);
                    Box::pin(async move { join.await.map(Way::Many) })
                }
                false => Box::pin(async move {
                    let preamble = opening.preamble.as_deref();
                    let mut link = Link::connect(address, preamble, secure).await?;
                    link.bound |= opening.bound;
                    Ok(Way::One(link))
                }),
            },
            site,
            downs: lease.upstream.live.downs(),
            lease,
            shared,
        }
    }
}

/// How a backend is to be spoken to within TLS, if it is.
fn secure(worker: &Worker, site: &Site, lease: &Lease) -> Option<Secure> {
    let inside = match lease.upstream.proto {
        Proto::Https => Inside::Http1,
        Proto::H2 => Inside::Http2,
        Proto::Http | Proto::H2c | Proto::Tcp => return None,
    };
    let key = &site.key;
    let client = worker.tls_of(&key.pool);
    Some(Secure {
        name: client.name_of(&key.id.node, key.address),
        client,
        inside,
    })
}

/// How a connection begins.
struct Opening {
    /// What it says first.
    preamble: Option<Vec<u8>>,
    /// It is for one client only.
    bound: bool,
    /// Bytes pass as they are, whatever its pool speaks.
    raw: bool,
    /// What it says first where it is for all.
    shared: Option<Version>,
}

/// A connection, and for whom it counts.
struct Won {
    way: Way,
    site: Rc<Site>,
    lease: Lease,
    /// The backend's count of downs before it was dialled.
    downs: u64,
}

/// A race's state between polls.
struct Race {
    dials: Vec<Dial>,
    begun: Instant,
    /// When another backend is dialled too; `None` once nobody is left.
    another: Option<Instant>,
    last_error: String,
}

impl Exchange<'_> {
    /// A fresh connection, the lease that goes with it, and the downs to compare with; `self.site` is whose it is.
    ///
    /// The downs are those from before the connect, so that who went down meanwhile is not waited for; unless it is back
    /// in rotation by now.
    pub(super) async fn connect(&mut self, lease: Lease) -> Result<(Way, Lease, u64), Fault> {
        let begun = self.worker.now();
        let mut race = Race {
            dials: vec![Dial::begin(
                self.worker,
                self.site.clone(),
                lease,
                self.opening(),
            )],
            begun,
            another: Some(begun + self.worker.settings.timeouts.second_connect),
            last_error: String::new(),
        };
        let won = poll_fn(|cx| self.poll_race(cx, &mut race)).await;
        let given_up = matches!(won, Err(Fault::Connect(_))) && !race.dials.is_empty();
        for dial in race.dials {
            let left = self.worker.settings.timeouts.connect;
            let spent = self.worker.now().saturating_duration_since(race.begun);
            if dial.shared {
                continue;
            } else if given_up {
                self.worker.connect_failed(&dial.site, "connect timed out");
            } else {
                finish_alone(self.worker.clone(), dial, left.saturating_sub(spent));
            }
        }
        let won = won?;
        self.ask(won.site);
        let (upstream, now) = (&won.lease.upstream, won.lease.upstream.live.downs());
        let is_back = now != won.downs && self.home.world().snapshot.has(upstream.address);
        let downs = if is_back { now } else { won.downs };
        Ok((won.way, won.lease, downs))
    }

    /// A kept connection to `site`, where one may be used.
    pub(super) fn take_idle(&self, site: &Site) -> Option<Link> {
        if self.bound || self.hop.send_proxy.is_some() {
            return None;
        }
        site.take_idle(!self.plan.is_idempotent())
    }

    fn opening(&self) -> Opening {
        let header = |version| {
            let source = self.record.peer().address();
            // Whose front does not know where it came in still names the client.
            let unknown = SocketAddr::new(source.ip(), 0);
            let destination = self.asker.local().unwrap_or(unknown);
            proxy_header::write(version, source, destination)
        };
        Opening {
            preamble: self.hop.send_proxy.map(header),
            bound: self.bound,
            // TLS that ended here begins anew.
            raw: self.record.is_relayed()
                && self.worker.listener(self.record.listener()).tls.is_none(),
            shared: self.hop.send_proxy,
        }
    }

    fn poll_race(&mut self, cx: &mut Context<'_>, race: &mut Race) -> Poll<Result<Won, Fault>> {
        let timeouts = &self.worker.settings.timeouts;
        loop {
            if let Some(won) = self.poll_dials(cx, race) {
                return Poll::Ready(Ok(won));
            }
            if race.dials.is_empty() {
                let why = std::mem::take(&mut race.last_error);
                return Poll::Ready(Err(Fault::Connect(why)));
            }
            let now = self.worker.now();
            let limit = race.begun + timeouts.connect;
            if now >= limit {
                let why = "connect timed out".to_owned();
                return Poll::Ready(Err(Fault::Connect(why)));
            }
            if race.another.is_none_or(|another| now < another) {
                let next = race.another.map_or(limit, |another| limit.min(another));
                // As with an answer: one that came for a quick one is not watched for it (see `socket`).
                let quick = race.begun + timeouts.slow_first_byte;
                let next = match now < quick && !self.asker.is_watched() {
                    true => next.min(quick),
                    // Nothing was sent yet, and nothing is to be.
                    false if self.asker.poll_gone(cx).is_ready() => {
                        return Poll::Ready(Err(Fault::ClientGone));
                    }
                    false => next,
                };
                self.asker.rest();
                self.alarm.wake_by(cx, next);
                return Poll::Pending;
            }
            race.another = None;
            // A dark machine refuses nothing: only a check finds out.
            if let Some(slow) = race.dials.last() {
                self.worker.report_slow(&slow.site, now);
            }
            if let Ok(pick) = self.next(Reason::SlowConnect) {
                let lease = pick.lease;
                let site = self.worker.site(self.home, &lease.upstream);
                if let Some(way) = self.open_way(&site, &lease) {
                    let downs = lease.upstream.live.downs();
                    return Poll::Ready(Ok(Won {
                        way,
                        site,
                        lease,
                        downs,
                    }));
                }
                let opening = self.opening();
                race.dials
                    .push(Dial::begin(self.worker, site, lease, opening));
                race.another = Some(now + timeouts.second_connect);
            }
        }
    }

    /// The first that is connected; those that failed are reported and gone.
    fn poll_dials(&mut self, cx: &mut Context<'_>, race: &mut Race) -> Option<Won> {
        let mut at = 0;
        while let Some(dial) = race.dials.get_mut(at) {
            match dial.connecting.as_mut().poll(cx) {
                Poll::Pending => at += 1,
                Poll::Ready(Ok(way)) => {
                    let dial = race.dials.remove(at);
                    self.worker.connected(&dial.site);
                    return Some(Won {
                        way,
                        site: dial.site,
                        lease: dial.lease,
                        downs: dial.downs,
                    });
                }
                Poll::Ready(Err(error)) => {
                    let dial = race.dials.remove(at);
                    race.last_error = in_words(&error);
                    if is_theirs(&error) {
                        self.worker.connect_failed(&dial.site, &race.last_error);
                    }
                    // Where it was the last, the whole attempt has failed and is noted as that.
                    if !race.dials.is_empty() {
                        self.record.failed_at(&dial.site, &race.last_error);
                    }
                    self.ask(dial.site);
                }
            }
        }
        None
    }
}

/// The slower of two goes on without its request; whatever comes of it is worth knowing.
fn finish_alone(worker: Rc<Worker>, dial: Dial, left: Duration) {
    let Dial {
        site,
        lease,
        connecting,
        ..
    } = dial;
    drop(lease);
    tokio::task::spawn_local(async move {
        match tokio::time::timeout(left, connecting).await {
            Ok(Ok(way)) => {
                worker.connected(&site);
                if let Way::One(link) = way {
                    site.put_idle(link, clock::now());
                }
            }
            Ok(Err(error)) if is_theirs(&error) => {
                worker.connect_failed(&site, &in_words(&error));
            }
            Ok(Err(_)) => {}
            Err(_) => worker.connect_failed(&site, "connect timed out"),
        }
    });
}
