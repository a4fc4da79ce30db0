//! After a change of protocol: what was a request is a relay from now on.

use std::future::poll_fn;
use std::rc::Rc;

use super::alarm::Alarm;
use super::client::{HttpOne, Then};
use super::record::Record;
use super::relay::Relay;
use super::reply::Reply;
use super::worker::Worker;

/// Joins the client and the backend that changed the protocol; how the client's connection ends then.
pub(super) async fn run(
    worker: &Rc<Worker>,
    alarm: &Alarm,
    asker: &mut HttpOne<'_>,
    reply: &mut Reply,
    record: &mut Record,
) -> Then {
    let Some((mut link, early, lease)) = reply.take_link() else {
        return Then::Close;
    };
    let (inbox, socket) = asker.sides();
    let idle_max = worker.settings.timeouts.upgrade_idle;
    socket.keep_alive();
    let mut relay = Relay::new(worker, inbox.input.take(), early, idle_max);
    let parted = poll_fn(|cx| relay.poll(cx, alarm, socket, &mut link)).await;
    drop((link, lease));
    record.note(|entry, _| {
        entry.sent(relay.sent());
        entry.received(relay.received());
        let (end, why) = parted.told();
        match why {
            Some(why) => entry.ended(end, Some(&why)),
            None => entry.ended(end, None),
        }
    });
    match parted.wants_linger() {
        true => Then::Linger,
        false => Then::Close,
    }
}
