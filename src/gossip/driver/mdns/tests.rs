//! Members on loopback that find one another by multicast there.

use super::*;
use crate::announce::Tags;
use crate::gossip::core::timing::Profile;
use crate::gossip::driver::{Handle, Settings, WhenTaken, start};

/// A name that nobody else on this machine has.
fn unique(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

async fn started(name: &str, discover: &str, join: &[String]) -> Handle {
    let settings = Settings {
        bind: "127.0.0.1:0".parse().unwrap(),
        advertise: None,
        iface: None,
        node: name.to_owned(),
        join: join.to_vec(),
        profile: Profile::Local,
        tags: Tags::new(),
        keyring: None,
        peers: Vec::new(),
        former: None,
        replay: false,
        discover: Some(discover.to_owned()),
        insecure: false,
        when_taken: WhenTaken::Wait,
    };
    start(settings).await.expect("it starts")
}

/// Waits until `handle` knows exactly `names`.
async fn knows(handle: &Handle, names: &[&str]) {
    let mut members = handle.members();
    let all = members.wait_for(|members| members.by_name.keys().eq(names));
    match tokio::time::timeout(Duration::from_secs(30), all).await {
        Ok(all) => drop(all.expect("gossip runs")),
        Err(_) => panic!(
            "{} knows {:?} instead of {names:?}",
            handle.name(),
            handle.members().borrow().by_name.keys().collect::<Vec<_>>()
        ),
    }
}

#[tokio::test]
async fn members_of_one_name_meet_and_those_of_another_stay_apart() {
    let (web, db) = (unique("web"), unique("db"));
    let one = started("one", &web, &[]).await;
    let two = started("two", &db, &[]).await;
    let three = started("three", &web, &[]).await;
    let four = started("four", &db, &[]).await;

    knows(&one, &["one", "three"]).await;
    knows(&two, &["four", "two"]).await;
    knows(&three, &["one", "three"]).await;
    knows(&four, &["four", "two"]).await;

    // A fifth has to ask once more, so every answer to the others' first questions has come.
    let five = started("five", &web, &[]).await;
    knows(&five, &["five", "one", "three"]).await;
    knows(&one, &["five", "one", "three"]).await;
    knows(&two, &["four", "two"]).await;
}

#[tokio::test]
async fn who_was_told_whom_to_join_answers_but_does_not_ask() {
    let name = unique("told");
    // Nobody is there; it tries for ever.
    let told = started("told", &name, &["127.0.0.1:1".to_owned()]).await;

    let asks = started("asks", &name, &[]).await;

    knows(&asks, &["asks", "told"]).await;
    knows(&told, &["asks", "told"]).await;
}

#[tokio::test]
async fn who_leaves_is_no_longer_found() {
    let name = unique("leaves");
    let gone = started("gone", &name, &[]).await;
    gone.leave().await;

    let one = started("one", &name, &[]).await;
    let two = started("two", &name, &[]).await;

    knows(&one, &["one", "two"]).await;
    knows(&two, &["one", "two"]).await;
}

/// A task with an address and no sockets.
async fn task(public: bool) -> (Task, Handle) {
    let handle = started("us", &unique("task"), &[]).await;
    let address = handle.advertised().address;
    let task = Task {
        settings: Discovery {
            name: "web".to_owned(),
            node: handle.name.clone(),
            address,
            own: [address, address],
            asks: true,
            public,
            segment: Segment {
                name: "lo".to_owned(),
                index: None,
                ip: address.ip(),
            },
            random: clock::random(),
        },
        names: Names::new("web", "us").unwrap(),
        links: Vec::new(),
        commands: handle.commands.downgrade(),
        members: handle.members(),
        joins: JoinSet::new(),
        failing: BTreeSet::new(),
        found: BTreeSet::new(),
        quiet_at: None,
        ask_at: None,
        pause: ALONE_MIN,
        silent_at: None,
        refused: false,
    };
    (task, handle)
}

#[tokio::test]
async fn in_clear_only_private_addresses_are_joined() {
    let addresses = [
        ("10.0.0.1:7946", true),
        ("127.0.0.9:7946", true),
        ("100.64.0.1:7946", true),
        ("[fd00::1]:7946", true),
        ("203.0.113.7:7946", false),
        ("[2001:db8::1]:7946", false),
    ];
    for (address, private) in addresses {
        let address: SocketAddr = address.parse().unwrap();
        for public in [false, true] {
            let (mut task, _handle) = task(public).await;

            task.take(vec![address]);

            assert_eq!(
                task.found.contains(&address),
                private || public,
                "{address}"
            );
            assert_eq!(task.refused, !private && !public);
        }
    }
}

#[tokio::test]
async fn what_is_no_place_at_all_is_not_joined() {
    let (mut task, _handle) = task(true).await;

    task.take(
        ["0.0.0.0:1", "[::]:1", "224.0.0.251:1"]
            .map(|text| text.parse().unwrap())
            .into(),
    );

    assert_eq!(task.found, BTreeSet::new());
}

#[tokio::test]
async fn a_flood_of_answers_is_bounded() {
    let (mut task, _handle) = task(false).await;
    let flood = (0..1000).map(|port| SocketAddr::from(([10, 0, 0, 1], 1000 + port)));

    task.take(flood.collect());

    assert_eq!(task.found.len(), FOUND_MAX);
}

#[tokio::test]
async fn our_own_answer_breaks_no_silence() {
    let (mut task, handle) = task(false).await;
    task.silent_at = Some(clock::now());
    let answer = |address| task.names.answer(address).unwrap();
    let (own, other) = (
        answer(handle.advertised().address),
        answer("10.0.0.9:7946".parse().unwrap()),
    );

    task.handle(&own, "127.0.0.1:5353".parse().unwrap(), 0)
        .await;
    assert!(task.silent_at.is_some() && task.found.is_empty());

    task.handle(&other, "10.0.0.9:5353".parse().unwrap(), 0)
        .await;
    assert!(task.silent_at.is_none() && task.found.len() == 1);
}
