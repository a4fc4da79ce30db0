//! How much a backend gets at once, and how the rest waits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use lb::pool::queue;
use lb::proxy::stats::{Dropped, QueueCounts, Reason};

use crate::front::{Front, settings, spec};
use crate::peer::{Message, Peer};
use crate::toy::{Then, Toy, answer};

/// Long enough to never be what ends a test.
const FAR: Duration = Duration::from_secs(60);

fn limits(max_in_flight: u32) -> queue::Settings {
    queue::Settings {
        max_in_flight,
        queue: 100,
        queue_timeout: FAR,
    }
}

/// Lets requests through one by one, or all.
#[derive(Default)]
struct Gate {
    passes: Mutex<usize>,
    moved: Condvar,
}

impl Gate {
    fn let_through(&self, more: usize) {
        let mut passes = self.passes.lock().unwrap();
        *passes = passes.saturating_add(more);
        self.moved.notify_all();
    }

    fn open(&self) {
        self.let_through(usize::MAX / 2);
    }

    fn pass(&self) {
        let passes = self.passes.lock().unwrap();
        let mut passes = self
            .moved
            .wait_while(passes, |passes| *passes == 0)
            .unwrap();
        *passes -= 1;
    }
}

/// Answers with the path of the request, once its gate lets it.
fn gated() -> (Toy, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let inside = gate.clone();
    let toy = Toy::scripted(move |request, _, peer| {
        inside.pass();
        answer(peer, request, path(request));
        Then::Keep
    });
    (toy, gate)
}

fn path(request: &Message) -> &str {
    request.start().split(' ').nth(1).expect("a path")
}

fn sent(front: &Front, path: &str) -> Peer {
    let mut client = front.client();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
    client
}

fn queued(front: &Front) -> usize {
    front.pool.queue.len()
}

fn queue_of(front: &Front) -> QueueCounts {
    let queues = front.stats().queues;
    let [queue] = &queues[..] else {
        panic!("{queues:?}")
    };
    queue.clone()
}

fn dropped(front: &Front, why: Dropped) -> u64 {
    queue_of(front).dropped[why as usize]
}

fn waited(front: &Front) -> u64 {
    queue_of(front).waits.buckets.iter().sum()
}

#[test]
fn a_full_backend_is_passed_over_until_all_are_full() {
    let ((a, gate_a), (b, gate_b)) = (gated(), gated());
    let front = Front::limited(limits(2), &[&a, &b]);

    let mut clients: Vec<Peer> = (0..5).map(|_| sent(&front, "/")).collect();
    crate::until("one waits", || queued(&front) == 1);

    assert_eq!((front.in_flight(&a), front.in_flight(&b)), (2, 2));
    gate_a.open();
    gate_b.open();
    for client in &mut clients {
        assert_eq!(client.response("GET").status(), 200);
    }
    crate::until("it is counted", || waited(&front) == 1);
    assert_eq!((front.in_flight(&a), front.in_flight(&b)), (0, 0));
}

#[test]
fn the_limit_is_never_exceeded_under_load() {
    let now = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let toy = || {
        let (own, most) = (AtomicUsize::new(0), most.clone());
        let all = now.clone();
        Toy::scripted(move |request, _, peer| {
            let count = own.fetch_add(1, Ordering::SeqCst) + 1;
            all.fetch_add(1, Ordering::SeqCst);
            most.fetch_max(count, Ordering::SeqCst);
            thread::sleep(Duration::from_micros(200));
            // Before the answer: the front may send the next one as soon as it has it.
            own.fetch_sub(1, Ordering::SeqCst);
            answer(peer, request, "x");
            Then::Keep
        })
    };
    let (a, b) = (toy(), toy());
    let front = Front::limited(limits(3), &[&a, &b]);

    thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                let mut client = front.client();
                for _ in 0..100 {
                    assert_eq!(client.get("/").status(), 200);
                }
            });
        }
    });

    assert_eq!(now.load(Ordering::SeqCst), 2400);
    assert_eq!(most.load(Ordering::SeqCst), 3);
    assert!(waited(&front) > 0);
    assert_eq!(queued(&front), 0);
    assert_eq!((front.in_flight(&a), front.in_flight(&b)), (0, 0));
}

#[test]
fn who_came_first_is_served_first_also_across_workers() {
    let (toy, gate) = gated();
    let front = Front::limited(limits(1), &[&toy]);
    let mut first = sent(&front, "/first");
    crate::until("it is there", || toy.count() == 1);
    let mut clients = Vec::new();
    for number in 0..8 {
        clients.push(sent(&front, &format!("/{number}")));
        crate::until("it waits", || queued(&front) == number + 1);
    }

    gate.open();

    assert_eq!(first.response("GET").text(), "/first");
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.response("GET").text(), format!("/{number}"));
    }
    let order: Vec<String> = toy.requests()[1..]
        .iter()
        .map(|request| path(request).to_owned())
        .collect();
    let expected: Vec<String> = (0..8).map(|number| format!("/{number}")).collect();
    assert_eq!(order, expected);
}

#[test]
fn who_waits_too_long_gets_a_503() {
    let (toy, gate) = gated();
    let short = queue::Settings {
        queue_timeout: Duration::from_millis(50),
        ..limits(1)
    };
    let front = Front::limited(short, &[&toy]);
    let mut first = sent(&front, "/");
    crate::until("it is there", || toy.count() == 1);

    let mut second = front.client();
    let refused = second.get("/");

    assert_eq!(refused.status(), 503);
    assert_eq!(refused.field("retry-after"), Some("1"));
    assert_eq!(
        refused.text(),
        "every backend of pool web was busy for too long\n"
    );
    assert_eq!(dropped(&front, Dropped::Timeout), 1);
    assert_eq!(queued(&front), 0);
    gate.open();
    assert_eq!(first.response("GET").status(), 200);
    // The connection is as good as before.
    assert_eq!(second.get("/").status(), 200);
    assert_eq!(toy.count(), 2);
}

#[test]
fn a_full_queue_refuses_at_once() {
    let (toy, gate) = gated();
    let front = Front::limited(
        queue::Settings {
            queue: 1,
            ..limits(1)
        },
        &[&toy],
    );
    let mut first = sent(&front, "/");
    crate::until("it is there", || toy.count() == 1);
    let mut second = sent(&front, "/");
    crate::until("one waits", || queued(&front) == 1);

    let refused = front.client().get("/");

    assert_eq!(refused.status(), 503);
    assert_eq!(refused.field("retry-after"), Some("1"));
    assert_eq!(
        refused.text(),
        "every backend of pool web is busy, and as many requests as may wait do\n"
    );
    assert_eq!(dropped(&front, Dropped::Overflow), 1);
    gate.open();
    assert_eq!(first.response("GET").status(), 200);
    assert_eq!(second.response("GET").status(), 200);
}

#[test]
fn a_client_that_leaves_the_queue_is_forgotten_at_once() {
    let (toy, gate) = gated();
    let front = Front::limited(limits(1), &[&toy]);
    let mut first = sent(&front, "/first");
    crate::until("it is there", || toy.count() == 1);
    let leaver = sent(&front, "/leaver");
    crate::until("it waits", || queued(&front) == 1);
    let mut second = sent(&front, "/second");
    crate::until("both wait", || queued(&front) == 2);

    drop(leaver);

    crate::until("one waits", || queued(&front) == 1);
    crate::until("it is counted", || dropped(&front, Dropped::Left) == 1);
    gate.open();
    assert_eq!(first.response("GET").text(), "/first");
    assert_eq!(second.response("GET").text(), "/second");
    assert_eq!(toy.count(), 2);
}

#[test]
fn a_backend_that_comes_in_takes_those_who_wait() {
    let ((a, _gate), b) = (gated(), Toy::named("b"));
    let specs = [&a, &b].map(|toy| spec(toy.address, 1, false)).to_vec();
    let mut front = Front::start(settings(), specs, limits(1), None);
    front.up(&a);
    let _first = sent(&front, "/");
    crate::until("it is there", || a.count() == 1);
    let mut waiting: Vec<Peer> = (0..3).map(|_| sent(&front, "/")).collect();
    crate::until("three wait", || queued(&front) == 3);

    front.up(&b);

    for client in &mut waiting {
        assert_eq!(client.response("GET").text(), "b");
    }
}

#[test]
fn a_backup_is_not_used_because_its_primaries_are_busy() {
    let ((primary, gate), backup) = (gated(), Toy::named("backup"));
    let specs = vec![
        spec(primary.address, 1, false),
        spec(backup.address, 1, true),
    ];
    let mut front = Front::start(settings(), specs, limits(1), None);
    front.all_up();
    let _first = sent(&front, "/");
    crate::until("it is there", || primary.count() == 1);
    let mut second = sent(&front, "/");
    crate::until("it waits", || queued(&front) == 1);

    // Down is another matter.
    front.down(&primary);

    assert_eq!(second.response("GET").text(), "backup");
    gate.open();
}

#[test]
fn those_who_wait_hear_that_nobody_is_left() {
    let (toy, gate) = gated();
    let mut front = Front::limited(limits(1), &[&toy]);
    let _first = sent(&front, "/");
    crate::until("it is there", || toy.count() == 1);
    let mut second = sent(&front, "/");
    crate::until("it waits", || queued(&front) == 1);

    front.down(&toy);

    let refused = second.response("GET");
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.text(), "no backend of pool web is in rotation\n");
    gate.open();
}

#[test]
fn a_reload_changes_the_limit() {
    let (toy, gate) = gated();
    let mut front = Front::limited(limits(1), &[&toy]);
    let mut clients: Vec<Peer> = (0..6).map(|_| sent(&front, "/")).collect();
    crate::until("five wait", || queued(&front) == 5);

    front.limit(limits(3));
    crate::until("three are there", || toy.count() == 3);
    assert_eq!(queued(&front), 3);

    front.limit(limits(2));
    gate.let_through(1);
    crate::until("one has ended", || front.in_flight(&toy) == 2);
    assert_eq!((toy.count(), queued(&front)), (3, 3));

    front.limit(queue::Settings::default());
    crate::until("all are there", || toy.count() == 6);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response("GET").status(), 200);
    }
}

#[test]
fn a_retry_goes_where_there_is_room_and_does_not_wait() {
    let ((busy, gate), bad) = (
        gated(),
        Toy::scripted(|_, _, peer| {
            peer.try_send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
            Then::Keep
        }),
    );
    let front = Front::limited(limits(1), &[&busy, &bad]);
    let mut first = sent(&front, "/");
    crate::until("one is there", || busy.count() == 1);

    // The other backend is busy, so its own answer it is.
    assert_eq!(front.client().get("/").status(), 503);

    assert_eq!(front.retries(Reason::Status), u64::from(bad.count() == 2));
    gate.open();
    assert_eq!(first.response("GET").status(), 200);
    crate::until("nobody is there", || front.in_flight(&busy) == 0);
    assert_eq!(front.client().get("/").status(), 200);
}

#[test]
fn a_kept_connection_that_closed_keeps_its_place_for_a_fresh_one() {
    let gate = Arc::new(Gate::default());
    let inside = gate.clone();
    // Closes each connection at its second request.
    let toy = Toy::raw(move |mut peer, _| {
        let Some(request) = peer.try_request() else {
            return;
        };
        answer(&mut peer, &request, path(&request));
        if peer.try_request().is_some() {
            inside.pass();
        }
    });
    // One worker, so that the second request finds the connection of the first.
    let specs = vec![spec(toy.address, 1, false)];
    let mut front = Front::start(settings(), specs, limits(1), None);
    front.all_up();
    assert_eq!(front.client().get("/kept").status(), 200);
    let mut second = sent(&front, "/second");
    crate::until("it is there", || front.in_flight(&toy) == 1);
    let mut third = sent(&front, "/third");
    crate::until("it waits", || queued(&front) == 1);

    gate.open();

    // Whoever has the place is not overtaken by the one that waits.
    assert_eq!(second.response("GET").text(), "/second");
    assert_eq!(third.response("GET").text(), "/third");
}
