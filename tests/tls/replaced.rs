//! Certificates that are replaced while everybody asks.
//!
//! ```text
//! kept: one connection for all requests      fresh: hands shaken anew for each
//!       each over HTTP/1.1, and over HTTP/2
//! ```

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use lb::tls::server::Refreshed;

use crate::agreed::{self, both};
use crate::authority::{Authority, read};
use crate::client::{Client, config};
use crate::front::Front;
use crate::streams::Streams;
use crate::toy::Toy;
use crate::{settings, until};

const TIMES: usize = 100;

/// A request that has to be answered rightly; it panics else.
type Ask = Box<dyn FnMut() + Send>;

/// One over HTTP/1.1: on one connection, or each on a `fresh` one.
fn message(front: SocketAddr, authority: &Authority, fresh: bool) -> Ask {
    let config = config(authority);
    let connect = move || Client::connect(front, &config, "a.example");
    let mut client = connect();
    Box::new(move || {
        if fresh {
            client = connect();
        }
        let answer = client.get("/");
        assert_eq!((answer.status, &answer.body[..]), (200, &b"one"[..]));
    })
}

/// The same over HTTP/2.
fn stream(front: SocketAddr, authority: &Authority, fresh: bool) -> Ask {
    let ours = agreed::client(authority, false);
    let connect = move || Streams::connect(front, &ours, "a.example");
    let mut client = connect();
    Box::new(move || {
        if fresh {
            client = connect();
        }
        let (status, body) = client.get("/", &[]);
        assert_eq!((status, &body[..]), (200, &b"one"[..]));
    })
}

/// Two that keep their connection and two that do not, until the last certificate is in force.
fn a_hundred_times(asking: fn(SocketAddr, &Authority, bool) -> Ask) {
    let authority = Authority::new();
    let served = both(&authority);
    let files = served.certificates[0].clone();
    let toy = Toy::named("one");
    let mut settings = settings(served);
    settings.workers = 2;
    let server = settings.listeners[0].tls.clone().expect("it is there");
    let front = Front::with(settings, &[&toy]);
    let over = Arc::new(AtomicBool::new(false));
    let (mut askers, mut counts) = (Vec::new(), Vec::new());
    for fresh in [false, true, false, true] {
        let count = Arc::new(AtomicUsize::new(0));
        counts.push(count.clone());
        let over = over.clone();
        let mut ask = asking(front.address, &authority, fresh);
        askers.push(thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                ask();
                count.fetch_add(1, Ordering::SeqCst);
            }
        }));
    }
    let done = || -> Vec<usize> {
        let counts = counts.iter();
        counts.map(|count| count.load(Ordering::SeqCst)).collect()
    };

    for turn in 0..TIMES {
        let (certificate, key) = authority.make(&["a.example"], |_| {});
        let before = done();
        fs::write(&files.cert, certificate).unwrap();
        if turn % 2 == 0 {
            // Somebody looks in between.
            assert!(matches!(
                server.refresh(lb::clock::wall()),
                Refreshed::Kept(_)
            ));
        }
        fs::write(&files.key, key).unwrap();
        assert_eq!(server.refresh(lb::clock::wall()), Refreshed::Replaced);
        until("each of them goes on", || {
            done().iter().zip(&before).all(|(now, then)| now > then)
        });
    }
    over.store(true, Ordering::SeqCst);

    for asker in askers {
        asker.join().expect("no request failed");
    }
    let client = Client::connect(front.address, &config(&authority), "a.example");
    assert_eq!(client.certificate(), read(&files).0[0]);
    let failed: u64 = front.stats().handshakes.failed.iter().sum();
    assert_eq!(failed, 0);
    let answered: usize = done().iter().sum();
    println!("{answered} requests over {TIMES} certificates, none failed");
}

#[test]
fn replacing_a_hundred_times_under_load_fails_nobody() {
    a_hundred_times(message);
}

#[test]
fn nor_over_http_2() {
    a_hundred_times(stream);
}
