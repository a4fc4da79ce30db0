//! When a request is sent again, and when never.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use lb::proxy::Feedback;
use lb::proxy::stats::Reason;

use crate::front::{Front, settings};
use crate::hanging::Hanging;
use crate::peer::Peer;
use crate::toy::{Then, Toy, answer};

/// Accepts, reads the request, resets: a crash while it works.
fn crashing() -> Toy {
    Toy::scripted(|_, _, _| Then::Reset)
}

fn unavailable(name: &'static str) -> Toy {
    Toy::scripted(move |_, _, peer| {
        peer.try_send(format!(
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: {}\r\nX-Name: {name}\r\n\r\n{name}",
            name.len()
        ));
        Then::Keep
    })
}

#[test]
fn a_refused_connect_moves_on_whatever_the_method() {
    let (dead, live) = (Toy::refusing(), Toy::named("live"));
    let mut front = Front::of(&[&dead, &live]);
    let mut client = front.client();

    for _ in 0..4 {
        assert_eq!(client.get("/").text(), "live");
        assert_eq!(client.request("POST", "/", b"body").text(), "live");
    }

    let posts = live.requests();
    assert!(posts.iter().filter(|one| one.body == b"body").count() == 4);
    let reason = front
        .feedback()
        .iter()
        .find_map(|feedback| match feedback {
            Feedback::ConnectFailed { key, reason } if key.address == dead.address => {
                Some(reason.clone())
            }
            _ => None,
        })
        .expect("a report");
    assert_eq!(reason, "connection refused");
    assert!(front.retries(Reason::Connect) >= 2);
}

#[test]
fn a_connect_that_works_again_is_reported_once() {
    let toy = Toy::named("a");
    let refusing = Toy::refusing();
    let mut front = Front::of(&[&refusing, &toy]);
    let mut client = front.client();
    crate::until("the refusal is reported", || {
        client.get("/");
        !front.feedback().is_empty()
    });
    let listener = std::net::TcpListener::bind(refusing.address).expect("the port is still free");
    let serving = std::thread::spawn(move || {
        for _ in 0..2 {
            let mut peer = Peer::new(listener.accept().unwrap().0);
            let request = peer.try_request().expect("a request");
            answer(&mut peer, &request, "back");
        }
    });

    crate::until("it serves twice", || {
        client.get("/");
        serving.is_finished()
    });

    let connected = |front: &mut Front| {
        let heard = front.feedback().iter();
        heard
            .filter(|one| matches!(one, Feedback::Connected { .. }))
            .count()
    };
    assert_eq!(connected(&mut front), 1);
}

#[test]
fn nobody_reachable_is_a_502_that_says_why() {
    let toys = [Toy::refusing(), Toy::refusing()];
    let front = Front::of(&toys.each_ref());

    let response = front.client().get("/");

    assert_eq!(response.status(), 502);
    assert_eq!(
        response.text(),
        "the backend could not be reached: connection refused\n"
    );
}

#[test]
fn a_get_survives_a_reset_before_the_answer() {
    let (bad, good) = (crashing(), Toy::named("good"));
    let front = Front::of(&[&bad, &good]);
    let mut client = front.client();

    for _ in 0..6 {
        assert_eq!(client.get("/").text(), "good");
    }

    assert_eq!(bad.count(), 3);
    assert_eq!(front.retries(Reason::Reset), 3);
}

#[test]
fn a_put_is_sent_again_with_its_whole_body() {
    let (bad, good) = (crashing(), Toy::named("good"));
    let front = Front::of(&[&bad, &good]);
    let body: Vec<u8> = (0..20_000_u32).map(|at| at as u8).collect();
    let mut client = front.client();

    for _ in 0..2 {
        assert_eq!(client.request("PUT", "/", &body).text(), "good");
    }

    assert_eq!(bad.requests()[0].body, body);
    for request in good.requests() {
        assert_eq!(request.body, body);
    }
}

#[test]
fn a_put_beyond_the_replay_limit_is_not_sent_again() {
    let (bad, good) = (crashing(), Toy::named("good"));
    let mut settings = settings();
    settings.limits.replay_bytes = 1000;
    let front = Front::with(settings, &[&bad, &good]);
    let body = vec![7; 5000];

    let statuses: Vec<u16> = (0..2)
        .map(|_| front.client().request("PUT", "/", &body).status())
        .collect();

    assert!(
        statuses == [502, 200] || statuses == [200, 502],
        "{statuses:?}"
    );
    assert_eq!(good.count(), 1);
}

#[test]
fn a_post_that_a_backend_has_read_is_never_sent_twice() {
    let (bad, good) = (crashing(), Toy::named("good"));
    let front = Front::of(&[&bad, &good]);

    let mut statuses = Vec::new();
    for at in 0..4 {
        let body = format!("order {at}");
        statuses.push(
            front
                .client()
                .request("POST", "/", body.as_bytes())
                .status(),
        );
    }

    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 502, 502]);
    let mut seen: Vec<_> = bad
        .requests()
        .into_iter()
        .chain(good.requests())
        .map(|one| one.body)
        .collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 4, "each order was seen exactly once");
    assert_eq!(bad.count() + good.count(), 4);
}

#[test]
fn a_post_without_a_body_is_not_sent_twice_either() {
    let toys = [crashing(), crashing()];
    let front = Front::of(&toys.each_ref());

    for _ in 0..4 {
        assert_eq!(front.client().request("POST", "/", b"").status(), 502);
    }

    assert_eq!(toys.iter().map(Toy::count).sum::<usize>(), 4);
}

#[test]
fn a_kept_connection_that_closed_meanwhile_costs_nobody_a_request() {
    // Each answers once per connection and closes without saying so.
    let toys = ["a", "b"].map(|name| {
        Toy::scripted(move |request, _, peer| {
            answer(peer, request, name);
            Then::Close
        })
    });
    let front = Front::of(&toys.each_ref());
    let mut client = front.client();

    for at in 0..40 {
        let status = match at % 2 {
            0 => client.get("/").status(),
            _ => client.request("POST", "/", b"x").status(),
        };
        assert_eq!(status, 200, "request {at}");
        // The close must have arrived for a POST to be sure; a GET needs no such help.
        crate::until("both have closed", || {
            toys.iter().all(|toy| toy.open() == 0)
        });
    }

    assert_eq!(toys[0].count() + toys[1].count(), 40);
}

/// Reads a second request on a kept connection, then closes without an answer: the race of a
/// keep-alive timeout, always lost.
fn closing_on_second() -> Toy {
    Toy::raw(|mut peer, _| {
        let Some(request) = peer.try_request() else {
            return;
        };
        answer(&mut peer, &request, "first");
        peer.try_request();
    })
}

#[test]
fn a_get_on_a_stale_connection_moves_on_at_once() {
    let (stale, good) = (closing_on_second(), Toy::named("good"));
    let front = Front::of(&[&stale, &good]);
    let mut client = front.client();

    let texts: Vec<String> = (0..6).map(|_| client.get("/").text().to_owned()).collect();

    assert!(texts.iter().all(|text| text == "first" || text == "good"));
    assert!(front.retries(Reason::Reset) >= 1);
}

#[test]
fn a_post_on_a_stale_connection_is_a_502_and_not_sent_twice() {
    let (stale, good) = (closing_on_second(), Toy::named("good"));
    let front = Front::of(&[&stale, &good]);
    let mut client = front.client();
    assert_eq!(client.request("POST", "/", b"1").status(), 200);
    assert_eq!(client.request("POST", "/", b"2").status(), 200);

    let statuses = [3, 4].map(|_| client.request("POST", "/", b"x").status());

    assert!(statuses.contains(&502), "{statuses:?}");
    assert_eq!(good.count(), 2);
}

#[test]
fn a_lone_backend_is_asked_again_when_only_the_kept_connection_was_stale() {
    let lone = closing_on_second();
    let front = Front::of(&[&lone]);
    let mut client = front.client();

    for _ in 0..5 {
        assert_eq!(client.get("/").text(), "first");
    }
}

#[test]
fn a_503_of_a_backend_is_tried_elsewhere_for_a_get() {
    let (bad, good) = (unavailable("bad"), Toy::named("good"));
    let front = Front::of(&[&bad, &good]);
    let mut client = front.client();

    for _ in 0..4 {
        assert_eq!(client.get("/").text(), "good");
    }

    assert_eq!(bad.count(), 2);
    assert_eq!(front.retries(Reason::Status), 2);
}

#[test]
fn a_put_with_a_503_is_sent_elsewhere_with_its_body() {
    let (bad, good) = (unavailable("bad"), Toy::named("good"));
    let front = Front::of(&[&bad, &good]);
    let mut client = front.client();

    for _ in 0..2 {
        assert_eq!(client.request("PUT", "/", b"state").text(), "good");
    }

    assert!(good.requests().iter().all(|one| one.body == b"state"));
}

#[test]
fn the_last_backends_own_answer_is_passed_on_when_all_fail() {
    let toys = ["a", "b", "c", "d"].map(unavailable);
    let front = Front::of(&toys.each_ref());

    let response = front.client().get("/");

    assert_eq!(response.status(), 503);
    let name = response.field("x-name").expect("a backend's own answer");
    assert_eq!(response.text(), name);
    let asked: usize = toys.iter().map(Toy::count).sum();
    assert_eq!(asked, 3, "no more than three attempts");
}

#[test]
fn a_backends_503_outlives_a_later_failure_to_connect() {
    let (bad, dead) = (unavailable("bad"), Toy::refusing());
    let front = Front::of(&[&bad, &dead]);

    for _ in 0..2 {
        let response = front.client().get("/");
        assert_eq!((response.status(), response.text()), (503, "bad"));
    }
}

#[test]
fn a_503_for_a_post_is_passed_on_untried() {
    let (bad, good) = (unavailable("bad"), Toy::named("good"));
    let front = Front::of(&[&bad, &good]);

    for body in [b"x".as_slice(), b""] {
        let statuses = [0, 1].map(|_| front.client().request("POST", "/", body).status());

        assert!(
            statuses == [503, 200] || statuses == [200, 503],
            "{statuses:?}"
        );
    }
}

#[test]
fn two_resets_in_a_row_end_it() {
    let toys = [crashing(), crashing(), crashing()];
    let front = Front::of(&toys.each_ref());

    let response = front.client().get("/poison");

    assert_eq!(response.status(), 502);
    let asked: usize = toys.iter().map(Toy::count).sum();
    assert_eq!(asked, 2);
}

#[test]
fn nobody_is_asked_twice_and_never_more_than_three() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let toys = [0, 1, 2, 3, 4].map(|number| {
        let order = order.clone();
        Toy::scripted(move |_, _, peer| {
            order.lock().unwrap().push(number);
            peer.try_send("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
            Then::Keep
        })
    });
    let front = Front::of(&toys.each_ref());

    for _ in 0..5 {
        order.lock().unwrap().clear();
        assert_eq!(front.client().get("/").status(), 502);
        let mut asked = order.lock().unwrap().clone();
        assert_eq!(asked.len(), 3);
        asked.sort_unstable();
        asked.dedup();
        assert_eq!(asked.len(), 3);
    }
}

#[test]
fn the_budget_ends_repeats_when_everything_fails() {
    let toys = ["a", "b"].map(unavailable);
    let mut settings = settings();
    settings.limits.retry_percent = 20;
    settings.limits.retries_per_second = 0;
    let front = Front::with(settings, &toys.each_ref());
    let mut client = front.client();

    for _ in 0..100 {
        assert_eq!(client.get("/").status(), 503);
    }

    let asked: usize = toys.iter().map(Toy::count).sum();
    assert_eq!(asked, 120);
    assert_eq!(front.stats().retries_refused, 80);
}

#[test]
fn garbage_is_a_502_and_is_not_passed_on() {
    for garbage in [
        "hello\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ] {
        let toy = Toy::scripted(move |_, _, peer| {
            peer.try_send(garbage);
            Then::Close
        });
        let front = Front::of(&[&toy]);

        let response = front.client().get("/");

        assert_eq!(response.status(), 502, "{garbage:?}");
        assert_eq!(toy.count(), 1, "{garbage:?}");
    }
}

#[test]
fn surplus_bytes_after_a_response_end_the_connection() {
    let toy = Toy::scripted(|_, number, peer| {
        peer.try_send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray"
        ));
        Then::Keep
    });
    let front = Front::of(&[&toy]);
    let mut client = front.client();

    let texts: Vec<String> = (0..3).map(|_| client.get("/").text().to_owned()).collect();

    assert_eq!(texts, ["0", "1", "2"]);
    assert_eq!(toy.connections(), 3);
}

#[test]
fn a_slow_connect_is_overtaken_by_a_second_one() {
    let hanging = Hanging::new();
    let posted = Arc::new(AtomicUsize::new(0));
    let counted = posted.clone();
    let good = Toy::scripted(move |request, _, peer| {
        counted.fetch_add(request.body.len(), Ordering::SeqCst);
        answer(peer, request, "good");
        Then::Keep
    });
    let specs = vec![
        crate::front::spec(hanging.address, 1, false),
        crate::front::spec(good.address, 1, false),
    ];
    let mut settings = settings();
    settings.timeouts.second_connect = std::time::Duration::from_millis(30);
    let mut front = Front::unproven(settings, specs);
    front.all_up();
    let mut client = front.client();

    for _ in 0..4 {
        assert_eq!(client.request("POST", "/", b"x").text(), "good");
    }

    assert_eq!(posted.load(Ordering::SeqCst), 4);
    assert_eq!(front.retries(Reason::SlowConnect), 2);
}

#[test]
fn a_living_backend_is_found_at_once_when_three_of_four_went_dark_together() {
    let dark = [Hanging::new(), Hanging::new(), Hanging::new()];
    let good = Toy::named("good");
    let mut specs = vec![crate::front::spec(good.address, 1, false)];
    specs.extend(
        dark.iter()
            .map(|dark| crate::front::spec(dark.address, 1, false)),
    );
    let mut settings = settings();
    settings.timeouts.second_connect = std::time::Duration::from_millis(30);
    let give_up = settings.timeouts.connect;
    let mut front = Front::unproven(settings, specs);
    front.all_up();
    let mut client = front.client();

    let begun = lb::clock::now();
    for method in ["GET", "POST", "GET", "POST", "GET"] {
        assert_eq!(client.request(method, "/", b"").text(), "good");
    }

    assert!(begun.elapsed() < give_up, "{:?}", begun.elapsed());
}
