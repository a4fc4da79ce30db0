//! Connections that are relayed as they are: one task each, to one backend for its life.
//!
//! ```text
//! route ─▶ hold ─▶ pick ─▶ connect ─┬─▶ relay ─▶ end (lease, counts and log released by Drop)
//!                    ▲              │ refused, too slow: nothing was sent
//!                    └──────────────┘
//! ```
//!
//! Picked, held and connected exactly as a request of which nothing was sent. Once a byte may have moved nothing is
//! repeated: whoever is cut connects again.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::access::entry::{End, Entry};
use super::alarm::Alarm;
use super::asker::Asker;
use super::buffer::Buffer;
use super::exchange::Exchange;
use super::fault::{BodyError, Fault};
use super::forward::{RequestHead, ResponseHead};
use super::guards::{Awake, Counted};
use super::h1::request::Length;
use super::hop::Way;
use super::link::Link;
use super::peer::Peer;
use super::record::{Books, Record};
use super::relay::{Parted, Relay};
use super::retry::Plan;
use super::site::Site;
use super::socket::Socket;
use super::stats::Reason;
use super::upload::Upload;
use super::worker::{Home, Worker};
use super::{hold, linger};
use crate::pool::hop::OnDown;
use crate::pool::upstream::Lease;

/// One client's connection.
pub(super) struct Session {
    worker: Counted,
    socket: Socket,
    peer: Peer,
    alarm: Alarm,
}

/// A connection to a backend for a client's.
struct Joined {
    link: Link,
    lease: Lease,
    site: Rc<Site>,
    home: Rc<Home>,
    /// How often the backend had been found down when it was picked.
    falls: u64,
}

impl Session {
    /// Nothing moved yet.
    pub(super) fn new(worker: Counted, socket: Socket, peer: Peer) -> Self {
        Self {
            worker,
            socket,
            peer,
            alarm: Alarm::default(),
        }
    }

    /// Serves it to its end.
    pub(super) async fn serve(mut self) {
        let worker = Rc::clone(&self.worker);
        let mut awake = None;
        let mut serving = pin!(self.relay(&worker));
        poll_fn(|cx| {
            // Time passes between its polls.
            worker.begin_poll();
            awake.get_or_insert_with(|| Awake::new(&worker, cx));
            serving.as_mut().poll(cx)
        })
        .await;
    }

    async fn relay(&mut self, worker: &Rc<Worker>) {
        let mut record = Record::relayed(worker, self.peer);
        let joined = match Box::pin(self.join(worker, &mut record)).await {
            Ok(joined) => joined,
            Err(fault) => {
                record.ended(fault.whose(), Some(&fault));
                // An end in order would be an answer of nothing.
                return self.socket.cut();
            }
        };
        let Joined {
            mut link, lease, ..
        } = joined;
        let (site, home) = (joined.site, joined.home);
        let nothing = || Buffer::new(&worker.buffers);
        let idle_max = worker.settings.timeouts.tcp_idle;
        self.socket.keep_alive();
        let mut relay = Relay::new(worker, nothing(), nothing(), idle_max);
        let (mut received, mut sent) = (0, 0);
        let parted = poll_fn(|cx| {
            let fell = lease.upstream.live.falls() != joined.falls;
            if fell && home.world().snapshot.hop.on_down == OnDown::Close {
                link.cut();
                self.socket.cut();
                return Poll::Ready(None);
            }
            let polled = relay.poll(cx, &self.alarm, &self.socket, &mut link);
            let (more, back) = (relay.received() - received, relay.sent() - sent);
            (received, sent) = (received + more, sent + back);
            site.counts.add_bytes(more, back);
            polled.map(Some)
        })
        .await;
        drop((link, lease));
        record.note(|entry, _| {
            entry.sent(sent);
            entry.received(received);
        });
        let (end, why) = parted.map_or((End::Backend, Some("it went down")), Parted::told);
        match why {
            Some(why) => record.ended(end, Some(&why)),
            None => record.ended(end, None),
        }
        drop(record);
        if parted.is_some_and(Parted::wants_linger) {
            Box::pin(linger::close(&mut self.socket)).await;
        }
    }

    /// Finds a backend that takes the connection, as for a request of which nothing was sent: each of them may be tried.
    async fn join(&self, worker: &Rc<Worker>, record: &mut Record) -> Result<Joined, Fault> {
        let home = worker.route(record.listener()).ok_or(Fault::NoPool)?;
        record.books = Books::Pool(home.clone());
        let mut caller = Caller(&self.socket);
        let mut pick = hold::first_pick(worker, &home, &self.alarm, &mut caller).await?;
        let begun = worker.now();
        let head = RequestHead::default();
        let mut exchange = Exchange {
            worker,
            alarm: &self.alarm,
            asker: &mut caller,
            home: &home,
            plan: Plan::new(u32::MAX, true, &pick),
            head: &head,
            upload: Upload::new(Length::None, 0),
            next: None,
            spare: None,
            hop: home.world().snapshot.hop,
            bound: true,
            interim: false,
            site: worker.site(&home, &pick.lease.upstream),
            record,
        };
        loop {
            let live = Arc::clone(&pick.lease.upstream.live);
            let falls = live.falls();
            exchange.ask(worker.site(&home, &pick.lease.upstream));
            exchange.record.note(Entry::tries);
            let fault = match exchange.connect(pick.lease).await {
                // Not of an exchange that is bound to one client.
                Ok((Way::Many(_), ..)) => Fault::Upgrade,
                Ok((Way::One(link), lease, _)) => {
                    exchange
                        .record
                        .note(|entry, now| entry.connected(false, now));
                    let same = Arc::ptr_eq(&live, &lease.upstream.live);
                    return Ok(Joined {
                        falls: if same {
                            falls
                        } else {
                            lease.upstream.live.falls()
                        },
                        link,
                        lease,
                        site: exchange.site.clone(),
                        home: home.clone(),
                    });
                }
                Err(fault) => fault,
            };
            if matches!(fault, Fault::ClientGone) {
                return Err(fault);
            }
            exchange.record.failed_at(&exchange.site, &fault);
            // Whoever refuses does so at once; those that are silent were tried together, within this time.
            let late = worker.now() >= begun + worker.settings.timeouts.connect;
            match exchange.next(Reason::Connect) {
                Ok(next) if !late => pick = next,
                _ => return Err(fault),
            }
        }
    }
}

/// A client that is not understood: it says nothing before it is joined with a backend.
struct Caller<'s>(&'s Socket);

impl Asker for Caller<'_> {
    fn poll_body(&mut self, _: &mut Context<'_>) -> Poll<Result<&[u8], BodyError>> {
        Poll::Ready(Ok(&[]))
    }

    fn consume(&mut self, _: usize) {}

    fn rest(&mut self) {}

    fn is_watched(&self) -> bool {
        self.0.is_watched()
    }

    /// One that has said its end may well wait for an answer to what it said before.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.watch();
        match self.0.poll_readable(cx) {
            Poll::Ready(()) if self.0.is_broken() => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }

    fn local(&self) -> Option<std::net::SocketAddr> {
        self.0.local().ok()
    }

    fn interim(&mut self, _: &ResponseHead) {}

    fn poll_flush(&mut self, _: &mut Context<'_>) {}
}
