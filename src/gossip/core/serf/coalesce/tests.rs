use super::*;
use crate::announce::Tags;
use crate::gossip::core::member::Status;
use crate::gossip::core::serf::tags::Encoded;

fn member(name: &str, version: &str) -> Arc<Member> {
    Arc::new(Member {
        name: name.into(),
        address: "127.0.0.1:7946".parse().expect("an address"),
        tags: Encoded::of(&Tags::from([("version".to_owned(), version.to_owned())])),
        status: Status::Alive,
        suspect: false,
        incarnation: 1,
        joined: 1,
        since: crate::clock::now(),
        versions: [1, 5, 2, 2, 5, 5],
    })
}

fn user(name: &str, ltime: u64, payload: &str, coalesce: bool) -> Arc<Event> {
    Arc::new(Event::User {
        ltime,
        name: name.to_owned(),
        payload: payload.into(),
        coalesce,
    })
}

/// Pushes all at one time, and says what came of it a second later.
fn told(coalescer: &mut Coalescer, at: Instant, events: Vec<Event>) -> Vec<String> {
    for event in events {
        assert_eq!(coalescer.push(at, &Arc::new(event)), None);
    }
    let due = coalescer.due();
    assert_eq!(due, Some(at + QUIET));
    shown(coalescer.flush(at + QUIET))
}

fn shown(notices: Vec<Notice>) -> Vec<String> {
    notices
        .into_iter()
        .map(|notice| match notice {
            Notice::Members { change, members } => {
                let names: Vec<String> = members
                    .iter()
                    .map(|m| format!("{}:{}", m.name, m.tags.get("version").unwrap_or_default()))
                    .collect();
                format!("{} {}", change.as_str(), names.join(","))
            }
            Notice::Event(event) => match &*event {
                Event::User { name, payload, .. } => {
                    format!("{name} {}", String::from_utf8_lossy(payload))
                }
                other => panic!("{other:?}"),
            },
        })
        .collect()
}

#[test]
fn members_of_one_kind_come_together() {
    let (a, b, c) = (member("a", "1"), member("b", "1"), member("c", "1"));
    let mut coalescer = Coalescer::default();

    let told = told(
        &mut coalescer,
        crate::clock::now(),
        vec![
            Event::Joined(b),
            Event::Failed(c),
            Event::Joined(Arc::clone(&a)),
        ],
    );

    assert_eq!(told, ["member-join a:1,b:1", "member-failed c:1"]);
    assert_eq!(coalescer.due(), None);
}

#[test]
fn only_the_last_of_a_member_counts_and_only_if_it_is_news() {
    let a = member("a", "1");
    let start = crate::clock::now();
    let minute = Duration::from_secs(60);
    let mut coalescer = Coalescer::default();
    let (joined, failed) = (Event::Joined(Arc::clone(&a)), Event::Failed(a));

    assert_eq!(
        told(&mut coalescer, start, vec![joined.clone()]),
        ["member-join a:1"]
    );
    let flap = vec![failed.clone(), joined.clone()];
    assert!(told(&mut coalescer, start + minute, flap).is_empty());
    assert_eq!(
        told(&mut coalescer, start + 2 * minute, vec![joined, failed]),
        ["member-failed a:1"]
    );
}

#[test]
fn an_update_is_told_each_time_and_never_again_on_its_own() {
    let start = crate::clock::now();
    let minute = Duration::from_secs(60);
    let mut coalescer = Coalescer::default();
    told(&mut coalescer, start, vec![Event::Joined(member("a", "1"))]);

    for version in ["2", "3"] {
        let updates = vec![
            Event::Updated(member("a", "0")),
            Event::Updated(member("a", version)),
        ];
        assert_eq!(
            told(&mut coalescer, start + minute, updates),
            [format!("member-update a:{version}")]
        );
    }
    let other = vec![Event::Joined(member("b", "1"))];
    assert_eq!(
        told(&mut coalescer, start + 2 * minute, other),
        ["member-join b:1"],
        "Serf would tell the update of a again"
    );
}

#[test]
fn who_comes_and_changes_at_once_is_told_to_have_come() {
    let start = crate::clock::now();
    let minute = Duration::from_secs(60);
    let mut coalescer = Coalescer::default();
    let come = vec![
        Event::Joined(member("a", "1")),
        Event::Updated(member("a", "2")),
    ];

    assert_eq!(
        told(&mut coalescer, start, come.clone()),
        ["member-join a:2"]
    );
    let mut flap = vec![Event::Failed(member("a", "2"))];
    flap.extend(come);
    assert_eq!(
        told(&mut coalescer, start + minute, flap),
        ["member-update a:2"],
        "it was there before, and its tags may be others"
    );
}

#[test]
fn who_was_reaped_is_new_when_it_comes_again() {
    let start = crate::clock::now();
    let minute = Duration::from_secs(60);
    let mut coalescer = Coalescer::default();
    let a = || member("a", "1");

    told(&mut coalescer, start, vec![Event::Joined(a())]);
    let gone = vec![Event::Left(a()), Event::Reaped(a())];
    assert_eq!(
        told(&mut coalescer, start + minute, gone),
        ["member-reap a:1"]
    );
    assert!(coalescer.told.is_empty());
    assert_eq!(
        told(&mut coalescer, start + 2 * minute, vec![Event::Joined(a())]),
        ["member-join a:1"]
    );
}

#[test]
fn a_stream_of_changes_is_told_after_three_seconds() {
    let start = crate::clock::now();
    let tick = Duration::from_millis(500);
    let mut coalescer = Coalescer::default();
    for number in 0..6 {
        let joined = Event::Joined(member(&number.to_string(), "1"));
        coalescer.push(start + number * tick, &Arc::new(joined));
    }

    assert_eq!(coalescer.due(), Some(start + PERIOD));
    assert!(coalescer.flush(start + 5 * tick).is_empty());
    assert_eq!(coalescer.flush(start + PERIOD).len(), 1);
}

#[test]
fn of_user_events_that_may_be_coalesced_only_the_newest_is_told() {
    let start = crate::clock::now();
    let mut coalescer = Coalescer::default();
    for (name, ltime, payload) in [
        ("deploy", 4, "old"),
        ("reload", 9, "x"),
        ("deploy", 6, "new"),
        ("deploy", 6, "twin"),
        ("deploy", 5, "late"),
    ] {
        let event = user(name, ltime, payload, true);
        assert_eq!(coalescer.push(start, &event), None);
    }

    assert_eq!(
        shown(coalescer.flush(start + QUIET)),
        ["deploy new", "deploy twin", "reload x"]
    );
    assert!(coalescer.flush(start + PERIOD).is_empty());
}

#[test]
fn what_is_not_to_be_coalesced_is_told_at_once() {
    let now = crate::clock::now();
    let mut coalescer = Coalescer::default();
    let event = user("deploy", 4, "", false);
    let query = Arc::new(Event::Query {
        id: crate::gossip::core::io::QueryId { ltime: 1, id: 2 },
        ltime: 1,
        name: "uptime".to_owned(),
        payload: Vec::new(),
        from: "a".to_owned(),
        deadline: now,
    });

    for event in [event, query] {
        let notice = coalescer.push(now, &event);
        assert_eq!(notice, Some(Notice::Event(Arc::clone(&event))));
    }
    assert_eq!(coalescer.due(), None);
}

#[test]
fn a_flood_of_names_waits_for_nothing() {
    let now = crate::clock::now();
    let mut coalescer = Coalescer::default();
    for number in 0..USER_NAMES_MAX {
        coalescer.push(now, &user(&number.to_string(), 1, "", true));
    }

    assert!(coalescer.push(now, &user("more", 1, "", true)).is_some());
    assert_eq!(coalescer.push(now, &user("7", 2, "", true)), None);
}
