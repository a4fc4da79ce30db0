use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::timeout;

use super::*;
use crate::health::Settings;

/// Far beyond any wait that a test of ours could need.
const DEADLINE: Duration = Duration::from_secs(20);

/// Never again within a test, unless it is asked for.
const NEVER: Duration = Duration::from_secs(3600);

/// Checks that follow one another only when a test wants it.
fn still() -> Settings {
    Settings {
        interval: NEVER,
        timeout: DEADLINE,
        unproven_interval: NEVER,
        down_interval: NEVER,
        ..Settings::default()
    }
}

fn target(
    key: &'static str,
    address: SocketAddr,
    check: &str,
    settings: Settings,
) -> Target<&'static str> {
    Target {
        key,
        address,
        check: check.parse().unwrap(),
        settings,
        extra: 0,
        http2: None,
        witness: None,
        secured: None,
    }
}

fn supervisor() -> (
    Supervisor<&'static str>,
    mpsc::Receiver<Report<&'static str>>,
) {
    let (sender, receiver) = mpsc::channel(16);
    (Supervisor::new(sender), receiver)
}

async fn next<K>(reports: &mut mpsc::Receiver<Report<K>>) -> Report<K> {
    timeout(DEADLINE, reports.recv())
        .await
        .expect("a report in time")
        .expect("a report")
}

/// On a loopback address of its own: a port that a test has closed is not another test's next one.
async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.9.8.7:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A port where nobody listens, taken while the socket lives.
fn closed() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[tokio::test]
async fn the_first_check_is_made_at_once_and_decides() {
    let (_listening, address) = listener().await;
    let (mut supervisor, mut reports) = supervisor();

    supervisor.set(vec![target("a", address, "tcp", still())]);

    let report = next(&mut reports).await;
    assert_eq!((report.key, report.up), ("a", Some(true)));
    assert_eq!(report.result, Ok("connected".to_owned()));
    assert!(report.started <= report.ended);
    assert_eq!(supervisor.counts(), (1, 0));
}

#[tokio::test]
async fn an_undecided_target_is_asked_until_fall_is_reached() {
    let (mut supervisor, mut reports) = supervisor();
    let settings = Settings {
        unproven_interval: Duration::from_millis(1),
        fall: 3,
        ..still()
    };

    let (_closed, address) = closed();
    supervisor.set(vec![target("a", address, "http:/", settings)]);

    for expected in [None, None, Some(false)] {
        assert_eq!(next(&mut reports).await.up, expected);
    }
    assert_eq!(supervisor.counts(), (0, 3));
}

#[tokio::test]
async fn a_port_that_opens_is_seen_while_unproven_or_down() {
    let (socket, address) = closed();
    let (mut supervisor, mut reports) = supervisor();
    let settings = Settings {
        unproven_interval: Duration::from_millis(1),
        down_interval: Duration::from_millis(1),
        ..still()
    };
    supervisor.set(vec![target("a", address, "tcp", settings)]);
    while next(&mut reports).await.up.is_none() {}

    let _open = socket.listen(8).unwrap();

    while next(&mut reports).await.up != Some(true) {}
}

#[tokio::test]
async fn no_check_is_up_at_once_and_reported_once() {
    let (mut supervisor, mut reports) = supervisor();
    let settings = Settings {
        interval: Duration::ZERO,
        rise: 5,
        ..still()
    };
    let (_closed, address) = closed();
    let mut quiet = target("quiet", address, "none", settings);
    supervisor.set(vec![quiet.clone()]);
    let report = next(&mut reports).await;
    assert_eq!(
        (report.up, report.result),
        (Some(true), Ok("no check".to_owned()))
    );

    // Extra checks of nothing are nothing: the next report is the other target's.
    quiet.extra = 1;
    supervisor.set(vec![quiet, target("other", address, "tcp", still())]);
    assert_eq!(next(&mut reports).await.key, "other");
    assert_eq!(supervisor.counts(), (0, 1));
}

#[tokio::test]
async fn an_extra_check_is_made_at_once_and_keeps_the_standing() {
    let (listening, address) = listener().await;
    let (mut supervisor, mut reports) = supervisor();
    let mut web = target("a", address, "tcp", still());
    supervisor.set(vec![web.clone()]);
    assert_eq!(next(&mut reports).await.up, Some(true));

    drop(listening);
    for (extra, expected) in [(1, Some(true)), (2, Some(false))] {
        web.extra = extra;
        supervisor.set(vec![web.clone()]);
        let report = next(&mut reports).await;
        assert!(report.result.is_err());
        assert_eq!(report.up, expected);
    }
}

#[tokio::test]
async fn extra_checks_never_keep_a_hanging_one_from_failing() {
    let (_silent, address) = listener().await;
    let (mut supervisor, mut reports) = supervisor();
    let settings = Settings {
        timeout: Duration::from_millis(200),
        ..still()
    };
    let mut web = target("a", address, "http:/", settings);
    supervisor.set(vec![web.clone()]);

    // Asked more often than a check may last.
    let report = loop {
        web.extra += 1;
        supervisor.set(vec![web.clone()]);
        match timeout(Duration::from_millis(20), reports.recv()).await {
            Ok(report) => break report.unwrap(),
            Err(_) => assert!(web.extra < 1000, "no check ever ended"),
        }
    };
    assert!(report.timed_out);

    // All that were wanted meanwhile are one, begun after it.
    let again = next(&mut reports).await;
    assert!(again.started >= report.ended);
}

#[tokio::test]
async fn new_settings_move_the_next_check_and_keep_the_standing() {
    let (listening, address) = listener().await;
    let (mut supervisor, mut reports) = supervisor();
    supervisor.set(vec![target("a", address, "tcp", still())]);
    assert_eq!(next(&mut reports).await.up, Some(true));

    drop(listening);
    let eager = Settings {
        interval: Duration::from_millis(1),
        ..still()
    };
    supervisor.set(vec![target("a", address, "tcp", eager)]);

    assert_eq!(next(&mut reports).await.up, Some(true));
    assert_eq!(next(&mut reports).await.up, Some(false));
}

#[tokio::test]
async fn another_check_or_address_starts_afresh() {
    let (_listening, address) = listener().await;
    let (mut supervisor, mut reports) = supervisor();
    supervisor.set(vec![target("a", address, "tcp", still())]);
    assert_eq!(next(&mut reports).await.up, Some(true));

    supervisor.set(vec![target("a", address, "https:/", still())]);
    assert_eq!(next(&mut reports).await.up, None);
    let (_closed, address) = closed();
    supervisor.set(vec![target("a", address, "https:/", still())]);
    assert_eq!(next(&mut reports).await.up, None);
}

#[tokio::test]
async fn a_target_that_is_no_longer_wanted_is_left_alone() {
    let (listening, address) = listener().await;
    let (mut supervisor, mut reports) = supervisor();
    supervisor.set(vec![target("a", address, "http:/", still())]);
    let (mut stream, _) = timeout(DEADLINE, listening.accept())
        .await
        .unwrap()
        .unwrap();

    supervisor.set(vec![]);

    // The check under way ends too: its connection closes, and nothing is reported.
    let mut asked = Vec::new();
    let ended = timeout(DEADLINE, stream.read_to_end(&mut asked)).await;
    assert!(ended.is_ok());
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
    drop(supervisor);
    assert!(timeout(DEADLINE, reports.recv()).await.unwrap().is_none());
}

/// Excuses the first failures.
#[derive(Debug)]
struct Lenient {
    left: AtomicU64,
    with: Void,
}

impl crate::health::Witness for Lenient {
    fn excuse(&self, _: &CheckSpec, started: Instant, ended: Instant, _: bool) -> Option<Void> {
        assert!(started <= ended);
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        taken.is_ok().then_some(self.with)
    }
}

fn excused(
    times: u64,
    with: Void,
    settings: Settings,
    address: SocketAddr,
) -> Target<&'static str> {
    let witness = Lenient {
        left: AtomicU64::new(times),
        with,
    };
    Target {
        witness: Some(Arc::new(witness)),
        ..target("a", address, "tcp", settings)
    }
}

#[tokio::test]
async fn a_check_that_was_slept_through_is_made_again_at_once_and_not_counted() {
    let (_closed, address) = closed();
    let (mut supervisor, mut reports) = supervisor();
    let once = Settings { fall: 1, ..still() };

    supervisor.set(vec![excused(3, Void::Slept, once, address)]);

    for _ in 0..3 {
        let report = next(&mut reports).await;
        assert_eq!((report.void, report.up), (Some(Void::Slept), None));
    }
    let report = next(&mut reports).await;
    assert_eq!((report.void, report.up), (None, Some(false)));
    assert_eq!(supervisor.counts(), (0, 1));
}

#[tokio::test]
async fn good_news_voids_a_failure_and_keeps_the_standing_and_the_interval() {
    let (listening, address) = listener().await;
    let (mut supervisor, mut reports) = supervisor();
    let once = Settings { fall: 1, ..still() };
    let mut web = excused(1, Void::Answered, once, address);
    supervisor.set(vec![web.clone()]);
    assert_eq!(next(&mut reports).await.up, Some(true));

    drop(listening);
    web.extra = 1;
    supervisor.set(vec![web.clone()]);
    let report = next(&mut reports).await;
    assert_eq!((report.void, report.up), (Some(Void::Answered), Some(true)));

    web.extra = 2;
    supervisor.set(vec![web]);
    assert_eq!(next(&mut reports).await.up, Some(false));
}

#[tokio::test]
async fn one_who_always_sleeps_notices_a_dead_backend_in_the_end() {
    let (_closed, address) = closed();
    let (mut supervisor, mut reports) = supervisor();
    let once = Settings { fall: 1, ..still() };

    supervisor.set(vec![excused(u64::MAX, Void::Slept, once, address)]);

    let mut void = 0;
    while next(&mut reports).await.void.is_some() {
        void += 1;
    }
    assert_eq!(void, SLEPT_MAX);
}

/// Answers checks until it is told to be silent, and then accepts and says nothing.
async fn falls_silent(listening: TcpListener, silent: Arc<AtomicBool>) {
    let mut held = Vec::new();
    loop {
        let (mut stream, _) = listening.accept().await.unwrap();
        if silent.load(Ordering::SeqCst) {
            held.push(stream);
            continue;
        }
        let _ = stream.read(&mut [0; 1024]).await;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let _ = stream.write_all(answer).await;
    }
}

/// The first pass.
async fn up(reports: &mut mpsc::Receiver<Report<&'static str>>) {
    while next(reports).await.up != Some(true) {}
}

/// The next check that got no answer, but for those that are asked again since this thread woke late.
async fn unanswered(
    reports: &mut mpsc::Receiver<Report<&'static str>>,
) -> (Option<Void>, Option<bool>) {
    loop {
        let report = next(reports).await;
        if report.timed_out && report.void != Some(Void::Slept) {
            return (report.void, report.up);
        }
    }
}

#[tokio::test]
async fn timeouts_that_nobody_else_confirms_are_asked_once_more() {
    let hasty = Settings {
        interval: Duration::from_millis(1),
        timeout: Duration::from_millis(300),
        ..still()
    };
    let (alone, down) = ((Some(Void::Alone), Some(true)), (None, Some(false)));
    for (fall, expected) in [
        (1, vec![alone, down]),
        (2, vec![(None, Some(true)), alone, down]),
    ] {
        let settings = Settings {
            fall,
            ..hasty.clone()
        };
        let (listening, address) = listener().await;
        let (mut supervisor, mut reports) = supervisor();
        let silent = Arc::new(AtomicBool::new(false));
        let server = tokio::spawn(falls_silent(listening, silent.clone()));
        supervisor.set(vec![target("a", address, "http:/", settings)]);
        up(&mut reports).await;

        silent.store(true, Ordering::SeqCst);

        for expected in expected {
            assert_eq!(unanswered(&mut reports).await, expected, "fall {fall}");
        }
        server.abort();
    }
}

#[tokio::test]
async fn timeouts_that_a_request_or_gossip_confirms_are_believed_at_once() {
    let settings = Settings {
        timeout: Duration::from_millis(300),
        ..still()
    };
    let (listening, address) = listener().await;
    let (mut supervisor, mut reports) = supervisor();
    let silent = Arc::new(AtomicBool::new(false));
    let server = tokio::spawn(falls_silent(listening, silent.clone()));
    let mut web = target("a", address, "http:/", settings);
    supervisor.set(vec![web.clone()]);
    up(&mut reports).await;

    silent.store(true, Ordering::SeqCst);

    for (extra, up) in [(1, true), (2, false)] {
        web.extra = extra;
        supervisor.set(vec![web.clone()]);
        assert_eq!(unanswered(&mut reports).await, (None, Some(up)));
    }
    server.abort();
}

#[tokio::test]
async fn a_refusal_is_believed_without_asking_again() {
    let (listening, address) = listener().await;
    let (mut supervisor, mut reports) = supervisor();
    let settings = Settings {
        fall: 1,
        interval: Duration::from_millis(1),
        ..still()
    };
    supervisor.set(vec![target("a", address, "tcp", settings)]);
    assert_eq!(next(&mut reports).await.up, Some(true));

    drop(listening);

    let report = loop {
        let report = next(&mut reports).await;
        if report.result.is_err() {
            break report;
        }
    };
    assert_eq!((report.void, report.up), (None, Some(false)));
}

#[test]
fn timeouts_on_a_line_that_loses_packets_are_asked_more_often() {
    let now = clock::now();
    let seen = |result: Result<(), ()>, lost| Seen {
        timed_out: result.is_err(),
        result: result.map(|()| String::new()).map_err(|()| String::new()),
        lost,
    };
    let target = target(
        "a",
        ([127, 0, 0, 1], 1).into(),
        "http:/",
        Settings::default(),
    );
    let fall = Settings {
        fall: 1,
        ..Settings::default()
    };
    let target = Target {
        settings: fall,
        ..target
    };
    let mut standing = RiseFall::default();
    standing.record(now, true, &target.settings);
    for (lost, later, wanted, expected) in [
        (false, 0, 0, 1),
        (false, 0, 1, 0),
        (true, 0, 0, 3),
        (true, 59, 1, 3),
        (true, 60, 0, 1),
        (true, 60, 1, 0),
    ] {
        let mut doubt = Doubt::default();
        assert_eq!(
            doubt.of(&standing, &target, wanted, &seen(Ok(()), lost), now),
            None
        );
        let now = now + Duration::from_secs(later);

        let mut asked = 0;
        while doubt
            .of(&standing, &target, wanted, &seen(Err(()), false), now)
            .is_some()
        {
            asked += 1;
        }

        assert_eq!(asked, expected, "{lost} {later} {wanted}");
    }
}
