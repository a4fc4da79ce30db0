use std::net::SocketAddr;
use std::sync::atomic::AtomicU32;
use std::task::Wake;
use std::thread;

use super::*;
use crate::announce::Proto;
use crate::pool::effective::{State, Verdict};
use crate::pool::snapshot::{Backend, Pick, Pool, Snapshot, Unpicked};
use crate::pool::spec::UpstreamId;
use crate::pool::upstream::{Lease, Live, Upstream};

/// Counts its wakes.
#[derive(Default)]
struct Bell(AtomicU32);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn upstream(pool: &Pool, host: u8) -> Arc<Upstream> {
    Arc::new(Upstream {
        id: UpstreamId {
            node: format!("web{host}").into(),
            service: "web".into(),
        },
        address: SocketAddr::from(([10, 0, 0, host], 80)),
        weight: 1,
        tier: 0,
        backup: false,
        proto: Proto::Http,
        live: Arc::new(Live::of(Arc::clone(&pool.queue))),
    })
}

fn snapshot(max: u32, upstreams: &[&Arc<Upstream>]) -> Snapshot {
    let backend = |upstream: &&Arc<Upstream>| Backend {
        upstream: Arc::clone(upstream),
        verdict: Verdict {
            in_rotation: true,
            state: State::Up,
            reason: String::new(),
            weight: 1,
            tier: 0,
            backup: upstream.backup,
        },
        since: crate::clock::now(),
    };
    let mut snapshot = Snapshot::new(1, true, upstreams.iter().map(backend).collect());
    snapshot.limits.max_in_flight = max;
    snapshot
}

fn pool(max: u32, hosts: u8) -> (Pool, Vec<Arc<Upstream>>) {
    let pool = Pool::new("web");
    let upstreams: Vec<_> = (1..=hosts).map(|host| upstream(&pool, host)).collect();
    pool.store(snapshot(max, &upstreams.iter().collect::<Vec<_>>()));
    (pool, upstreams)
}

fn pick(pool: &Pool) -> Result<Pick, Unpicked> {
    pool.pick(&pool.snapshot.load())
}

fn join(pool: &Pool) -> Ticket<Lease> {
    let look = || pool.snapshot.load().find_room(&pool.cursor);
    match pool.queue.join(100, look) {
        Joined::Waits(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

fn poll(ticket: &Ticket<Lease>, bell: &Arc<Bell>) -> Option<Lease> {
    let waker = Arc::clone(bell).into();
    match ticket.poll(&mut Context::from_waker(&waker)) {
        Poll::Ready(lease) => Some(lease),
        Poll::Pending => None,
    }
}

#[test]
fn a_full_backend_is_passed_over_and_then_all_are_full() {
    let (pool, upstreams) = pool(2, 2);
    let held: Vec<_> = (0..2).map(|_| Lease::take(&upstreams[0])).collect();

    let others: Vec<_> = (0..2).map(|_| pick(&pool).unwrap()).collect();

    let own = |pick: &Pick| pick.lease.upstream.address == upstreams[1].address;
    assert!(others.iter().all(own));
    assert_eq!(pick(&pool).unwrap_err(), Unpicked::Full);
    drop(held);
    assert!(pick(&pool).is_ok());
}

#[test]
fn places_go_to_those_who_wait_in_the_order_they_came() {
    let (pool, upstreams) = pool(1, 2);
    let bell = Arc::new(Bell::default());
    let held = [&upstreams[0], &upstreams[1]].map(|one| Lease::take(one).unwrap());
    let tickets = [join(&pool), join(&pool), join(&pool)];
    assert!(tickets.iter().all(|ticket| poll(ticket, &bell).is_none()));
    assert_eq!(pool.queue.len(), 3);

    let [first, second] = held;
    drop(second);

    assert_eq!(bell.0.load(Ordering::SeqCst), 1);
    assert_eq!(pool.queue.len(), 2);
    assert!(poll(&tickets[2], &bell).is_none() && poll(&tickets[1], &bell).is_none());
    let lease = poll(&tickets[0], &bell).expect("its turn");
    assert_eq!(lease.upstream.address, upstreams[1].address);
    drop(first);
    assert!(poll(&tickets[2], &bell).is_none() && poll(&tickets[1], &bell).is_some());
    assert_eq!(upstreams[1].live.in_flight(), 1);
}

#[test]
fn nobody_gets_past_those_who_wait() {
    let (pool, upstreams) = pool(1, 1);
    let held = Lease::take(&upstreams[0]);
    let ticket = join(&pool);

    drop(held);

    // The place is held for the one who waited.
    assert_eq!(pick(&pool).unwrap_err(), Unpicked::Full);
    drop(ticket);
    assert!(pick(&pool).is_ok());
}

#[test]
fn who_leaves_gives_its_place_to_the_next() {
    let (pool, upstreams) = pool(1, 1);
    let bell = Arc::new(Bell::default());
    let held = Lease::take(&upstreams[0]);
    let (first, second, third) = (join(&pool), join(&pool), join(&pool));
    drop(second);
    assert_eq!(pool.queue.len(), 2);
    drop(held);

    drop(first);

    assert!(poll(&third, &bell).is_some());
    assert!(pool.queue.is_empty());
    drop(third);
    assert_eq!(upstreams[0].live.in_flight(), 0);
}

#[test]
fn the_line_has_an_end() {
    let (pool, upstreams) = pool(1, 1);
    let held = Lease::take(&upstreams[0]);
    let _first = join(&pool);

    let look = || pool.snapshot.load().find_room(&pool.cursor);
    assert!(matches!(pool.queue.join(1, look), Joined::Full));
    assert!(matches!(pool.queue.join(0, look), Joined::Full));

    assert_eq!(pool.queue.len(), 1);
    drop(held);
}

#[test]
fn a_backend_that_comes_in_serves_those_who_wait() {
    let (pool, upstreams) = pool(2, 1);
    let bell = Arc::new(Bell::default());
    let _held: Vec<_> = (0..2).map(|_| Lease::take(&upstreams[0])).collect();
    let tickets = [join(&pool), join(&pool), join(&pool)];
    assert!(tickets.iter().all(|ticket| poll(ticket, &bell).is_none()));
    let fresh = upstream(&pool, 9);

    pool.store(snapshot(2, &[&upstreams[0], &fresh]));

    assert_eq!(fresh.live.in_flight(), 2);
    assert_eq!(pool.queue.len(), 1);
    assert!(poll(&tickets[0], &bell).is_some() && poll(&tickets[1], &bell).is_some());
    assert!(
        poll(&tickets[2], &bell).is_some(),
        "the two that were polled ended"
    );
}

#[test]
fn a_limit_may_rise_and_fall_and_go() {
    let (pool, upstreams) = pool(1, 1);
    let bell = Arc::new(Bell::default());
    let first = Lease::take(&upstreams[0]);
    let tickets = [join(&pool), join(&pool), join(&pool), join(&pool)];

    pool.store(snapshot(2, &[&upstreams[0]]));
    assert_eq!((upstreams[0].live.in_flight(), pool.queue.len()), (2, 3));
    pool.store(snapshot(1, &[&upstreams[0]]));
    drop(first);
    assert_eq!((upstreams[0].live.in_flight(), pool.queue.len()), (1, 3));

    pool.store(snapshot(0, &[&upstreams[0]]));

    assert!(pool.queue.is_empty());
    let leases: Vec<_> = tickets.iter().map(|one| poll(one, &bell)).collect();
    assert!(leases.iter().all(Option::is_some));
    drop(leases);
    assert_eq!(upstreams[0].live.in_flight(), 0);
}

#[test]
fn a_backend_that_went_out_serves_nobody_who_waits() {
    let (pool, upstreams) = pool(1, 2);
    let bell = Arc::new(Bell::default());
    let held = [&upstreams[0], &upstreams[1]].map(|one| Lease::take(one).unwrap());
    let ticket = join(&pool);
    assert!(poll(&ticket, &bell).is_none());
    pool.store(snapshot(1, &[&upstreams[1]]));

    let [gone, staying] = held;
    drop(gone);
    assert!(poll(&ticket, &bell).is_none());
    drop(staying);

    let lease = poll(&ticket, &bell).expect("its turn");
    assert_eq!(lease.upstream.address, upstreams[1].address);
}

#[test]
fn a_place_at_a_backend_that_went_out_meanwhile_is_given_back_for_another() {
    let (pool, upstreams) = pool(1, 2);
    let bell = Arc::new(Bell::default());
    let held = [&upstreams[0], &upstreams[1]].map(|one| Lease::take(one).unwrap());
    let (first, second) = (join(&pool), join(&pool));
    let [left, right] = held;
    drop(left);
    let lease = poll(&first, &bell).expect("its turn");
    pool.store(snapshot(1, &[&upstreams[1]]));

    let refused = pool.snapshot.load().pick_of(lease).unwrap_err();
    let look = || pool.snapshot.load().find_room(&pool.cursor);
    assert!(first.rejoin(look).is_none());
    drop(refused);
    assert!(poll(&first, &bell).is_none());
    drop(right);

    // Still ahead of the one behind it.
    assert!(poll(&second, &bell).is_none());
    assert!(poll(&first, &bell).is_some());
}

#[test]
fn all_are_woken_when_nobody_is_left() {
    let (pool, upstreams) = pool(1, 1);
    let bell = Arc::new(Bell::default());
    let _held = Lease::take(&upstreams[0]);
    let tickets = [join(&pool), join(&pool)];
    assert!(tickets.iter().all(|ticket| poll(ticket, &bell).is_none()));

    pool.store(snapshot(1, &[]));

    assert_eq!(bell.0.load(Ordering::SeqCst), 2);
    assert!(tickets.iter().all(|ticket| poll(ticket, &bell).is_none()));
}

/// Threads take and wait and give back without a pause; a lost wake leaves one waiting for ever.
#[test]
fn no_wake_is_lost_and_no_limit_exceeded_between_threads() {
    let (pool, upstreams) = pool(1, 2);
    let most = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5000 {
                    let pick = take_or_wait(&pool);
                    let now = pick.lease.upstream.live.in_flight();
                    most.fetch_max(now, Ordering::SeqCst);
                    thread::yield_now();
                }
            });
        }
    });

    assert_eq!(most.load(Ordering::SeqCst), 1);
    assert!(pool.queue.is_empty());
    assert!(upstreams.iter().all(|one| one.live.in_flight() == 0));
}

fn take_or_wait(pool: &Pool) -> Pick {
    if let Ok(pick) = pick(pool) {
        return pick;
    }
    let look = || pool.snapshot.load().find_room(&pool.cursor);
    let ticket = match pool.queue.join(100, look) {
        Joined::Room(pick) => return pick,
        Joined::Waits(ticket) => ticket,
        Joined::Full => panic!("it has an end"),
    };
    let waker = thread::current();
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(waker)).into();
    let begun = crate::clock::now();
    loop {
        if let Poll::Ready(lease) = ticket.poll(&mut Context::from_waker(&waker)) {
            return pool.snapshot.load().pick_of(lease).unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "a wake was lost");
        thread::park_timeout(Duration::from_secs(31));
    }
}
