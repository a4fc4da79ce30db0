use std::sync::Arc;

use super::*;
use crate::clock;
use crate::gossip::core::member::Member;
use crate::gossip::core::serf::tags::Encoded;

fn member(name: &str, address: &str, status: Status) -> Arc<Member> {
    Arc::new(Member {
        name: Name::from(name),
        address: address.parse().expect("an address"),
        tags: Encoded::default(),
        status,
        suspect: false,
        incarnation: 1,
        joined: 1,
        since: clock::now(),
        versions: [1, 5, 2, 2, 5, 4],
    })
}

fn members(all: &[(&str, &str, Status)]) -> Members {
    let all = all
        .iter()
        .map(|(name, address, status)| member(name, address, *status));
    Members {
        generation: 1,
        by_name: all.collect(),
    }
}

fn clocks(member: u64, event: u64, query: u64) -> Clocks {
    Clocks {
        member,
        event,
        query,
    }
}

fn read(text: &str, rejoin: bool) -> (Snapshot, Vec<BadLine>) {
    let mut snapshot = Snapshot::new(rejoin);
    let lines = text.lines();
    let bad = lines
        .filter_map(|line| snapshot.replay(line.as_bytes()).err())
        .collect();
    (snapshot, bad)
}

fn alive(snapshot: &Snapshot) -> Vec<String> {
    let all = snapshot.alive.iter();
    all.map(|(name, address)| format!("{name} {address}"))
        .collect()
}

/// What was appended.
fn appended(snapshot: &mut Snapshot) -> String {
    match snapshot.take() {
        Some(Write::Append(bytes)) => String::from_utf8(bytes).expect("text"),
        None => String::new(),
        Some(Write::Replace(_)) => panic!("so small a file is not compacted"),
    }
}

const STOCK: &str = "\
alive: foo 127.0.0.1:5000
alive: bar 127.0.0.1:5000
not-alive: bar
coordinate: {\"Vec\":[0]}
# a comment
alive: two words [::1]:7946
clock: 100
event-clock: 50
query-clock: 7
";

#[test]
fn a_file_of_a_stock_agent_is_read() {
    let (snapshot, bad) = read(STOCK, false);

    assert_eq!(bad, []);
    assert_eq!(
        alive(&snapshot),
        ["foo 127.0.0.1:5000", "two words [::1]:7946"]
    );
    assert_eq!(snapshot.clocks(), clocks(100, 50, 7));
    assert_eq!(snapshot.peers("foo"), ["[::1]:7946".parse().expect("one")]);
}

#[test]
fn bad_lines_say_nothing_and_are_told() {
    let text = "alive: foo\nalive: foo nowhere\nclock: soon\nevent-clock:\nbogus: 1\n\nclock: 3";
    let (mut snapshot, bad) = read(text, false);

    let told: Vec<String> = bad.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "no address in \"alive: foo\"",
            "no address in \"alive: foo nowhere\"",
            "no time in \"clock: soon\"",
            "unrecognized snapshot line \"event-clock:\"",
            "unrecognized snapshot line \"bogus: 1\"",
            "unrecognized snapshot line \"\"",
        ]
    );
    assert_eq!(snapshot.clocks(), clocks(3, 0, 0));
    assert!(snapshot.replay(b"alive: \xff 10.0.0.1:1").is_err());
}

#[test]
fn a_leave_ends_all_unless_the_operator_wants_to_rejoin() {
    let text = format!("{STOCK}leave\n");

    let (gone, _) = read(&text, false);
    assert_eq!((alive(&gone).len(), gone.clocks()), (0, Clocks::default()));
    let (back, _) = read(&text, true);
    assert_eq!((alive(&back).len(), back.clocks()), (2, clocks(100, 50, 7)));
}

#[test]
fn each_change_is_one_line() {
    let mut snapshot = Snapshot::new(false);
    let own = ("own", "10.0.0.1:7946", Status::Alive);

    snapshot.members(
        &members(&[own, ("b", "10.0.0.2:7946", Status::Alive)]),
        "own",
    );
    snapshot.advance(clocks(2, 0, 0));
    assert_eq!(
        appended(&mut snapshot),
        "alive: b 10.0.0.2:7946\nalive: own 10.0.0.1:7946\nclock: 2\n"
    );
    // Nothing new, and somebody who is about to leave.
    snapshot.members(
        &members(&[own, ("b", "10.0.0.2:7946", Status::Leaving)]),
        "own",
    );
    snapshot.advance(clocks(2, 0, 0));
    assert_eq!(snapshot.take(), None);
    snapshot.members(
        &members(&[own, ("b", "10.0.0.2:7946", Status::Failed)]),
        "own",
    );
    snapshot.advance(clocks(2, 5, 9));
    assert_eq!(
        appended(&mut snapshot),
        "not-alive: b\nevent-clock: 5\nquery-clock: 9\n"
    );
    // Back at another address; Serf would keep the old one if it had not failed between.
    for address in ["10.0.0.3:7946", "10.0.0.4:7946"] {
        snapshot.members(&members(&[own, ("b", address, Status::Alive)]), "own");
        assert_eq!(appended(&mut snapshot), format!("alive: b {address}\n"));
    }
}

#[test]
fn after_a_leave_only_the_members_clock_goes_on() {
    let own = ("own", "10.0.0.1:7946", Status::Alive);
    let mut snapshot = Snapshot::new(false);
    snapshot.members(&members(&[own]), "own");
    appended(&mut snapshot);

    snapshot.leave();
    snapshot.leave();
    snapshot.members(
        &members(&[own, ("b", "10.0.0.2:7946", Status::Alive)]),
        "own",
    );
    snapshot.advance(clocks(4, 5, 6));

    assert_eq!(appended(&mut snapshot), "leave\nclock: 4\n");
}

#[test]
fn a_stop_by_signal_leaves_those_recorded_who_are_alive() {
    let mut snapshot = Snapshot::new(false);
    let other = ("b", "10.0.0.2:7946", Status::Alive);
    let own = |status| ("own", "10.0.0.1:7946", status);
    snapshot.members(&members(&[own(Status::Alive), other]), "own");
    appended(&mut snapshot);

    let gone = ("b", "10.0.0.2:7946", Status::Failed);
    snapshot.members(&members(&[own(Status::Leaving), other]), "own");
    snapshot.members(&members(&[own(Status::Left), gone]), "own");

    assert_eq!(snapshot.take(), None);
}

#[test]
fn a_name_cannot_write_a_line_of_its_own() {
    let mut snapshot = Snapshot::new(false);
    let evil = ("evil\nleave", "10.0.0.2:7946", Status::Alive);

    snapshot.members(&members(&[evil]), "own");

    assert_eq!(snapshot.take(), None);
}

#[test]
fn a_file_is_written_anew_at_the_size_where_serf_does_it() {
    let mut snapshot = Snapshot::new(false);
    let own = ("own", "10.0.0.1:7946", Status::Alive);
    snapshot.members(&members(&[own]), "own");
    let mut file = appended(&mut snapshot);
    let mut now = 0;
    let replaced = loop {
        now += 1;
        snapshot.advance(clocks(now, 0, 0));
        match snapshot.take().expect("a line") {
            Write::Append(bytes) => file += str::from_utf8(&bytes).expect("text"),
            Write::Replace(bytes) => break bytes,
        }
    };

    // The line that made it too long is not among those appended.
    let line = format!("clock: {now}\n").len() as u64;
    assert!(file.len() as u64 <= COMPACT_BYTES_MIN);
    assert!(file.len() as u64 + line > COMPACT_BYTES_MIN);
    let expected =
        format!("alive: own 10.0.0.1:7946\nclock: {now}\nevent-clock: 0\nquery-clock: 0\n");
    assert_eq!(String::from_utf8(replaced).expect("text"), expected);
    snapshot.advance(clocks(now + 1, 0, 0));
    assert_eq!(appended(&mut snapshot), format!("clock: {}\n", now + 1));
}

#[test]
fn many_members_have_a_larger_file() {
    let mut snapshot = Snapshot::new(false);
    for number in 0..1000 {
        let line = format!(
            "alive: member-{number} 10.0.{}.{}:7946",
            number / 250,
            number % 250
        );
        snapshot.replay(line.as_bytes()).expect("a line");
    }
    snapshot.bytes = 1000 * MEMBER_BYTES * GROWTH_MAX - 100;

    snapshot.advance(clocks(1, 0, 0));
    assert!(matches!(snapshot.take(), Some(Write::Append(_))));
    snapshot.bytes += 200;
    snapshot.advance(clocks(2, 0, 0));
    assert!(matches!(snapshot.take(), Some(Write::Replace(_))));
}

#[test]
fn what_was_read_counts_for_the_size() {
    let (snapshot, _) = read(STOCK, false);

    assert_eq!(snapshot.bytes, STOCK.len() as u64);
}

#[test]
fn a_leave_outlasts_a_compaction_where_it_may_count_later() {
    let (mut snapshot, _) = read(STOCK, true);
    snapshot.leave();

    let Write::Replace(bytes) = snapshot.compacted() else {
        panic!("it is written anew")
    };
    let text = String::from_utf8(bytes).expect("text");
    assert!(text.ends_with("query-clock: 7\nleave\n"), "{text}");
    assert_eq!(alive(&read(&text, false).0), [""; 0]);
    assert_eq!(alive(&read(&text, true).0).len(), 2);
}
