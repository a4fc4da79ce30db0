//! The driver on real loopback sockets.

mod asking;
mod encrypted;

use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::gossip::core::member::Status;

fn settings(name: &str, bind: &str, join: &[&str]) -> Settings {
    Settings {
        bind: bind.parse().unwrap(),
        advertise: None,
        iface: None,
        node: name.to_owned(),
        join: join.iter().map(|text| (*text).to_owned()).collect(),
        profile: Profile::Local,
        tags: Tags::from([("role".to_owned(), name.to_owned())]),
        keyring: None,
        peers: Vec::new(),
        former: None,
        replay: false,
        discover: None,
        insecure: false,
        when_taken: WhenTaken::Wait,
    }
}

async fn started(name: &str, bind: &str, join: &[&str]) -> Handle {
    start(settings(name, bind, join)).await.expect("it starts")
}

/// Waits until `name` has `status` as seen by `handle`.
async fn sees(handle: &Handle, name: &str, status: Status) {
    let mut members = handle.members();
    let seen = members.wait_for(|members| {
        members
            .by_name
            .get(name)
            .is_some_and(|member| member.status == status)
    });
    match tokio::time::timeout(Duration::from_secs(30), seen).await {
        Ok(seen) => drop(seen.expect("gossip runs")),
        Err(_) => panic!(
            "{} never saw {name} {status}: {:?}",
            handle.name(),
            handle.members().borrow()
        ),
    }
}

#[tokio::test]
async fn two_meet_tell_their_tags_and_part() {
    let one = started("one", "127.0.0.1:0", &[]).await;
    let seed = one.advertised().address.to_string();
    let two = started("two", "127.0.0.1:0", &[&seed]).await;

    sees(&one, "two", Status::Alive).await;
    sees(&two, "one", Status::Alive).await;
    let members = one.members().borrow().clone();
    assert_eq!(members.by_name["two"].tags.get("role"), Some("two"));
    assert_eq!(members.by_name["two"].address, two.advertised().address);

    two.leave().await;
    sees(&one, "two", Status::Left).await;
}

#[tokio::test]
async fn new_tags_reach_the_others() {
    let one = started("one", "127.0.0.1:0", &[]).await;
    let seed = one.advertised().address.to_string();
    let two = started("two", "127.0.0.1:0", &[&seed]).await;
    sees(&one, "two", Status::Alive).await;

    let tags = Tags::from([("role".to_owned(), "other".to_owned())]);
    assert_eq!(two.set_tags(tags.clone()).await, Ok(()));
    let mut members = one.members();
    let changed = members.wait_for(|members| members.by_name["two"].tags.decode() == tags);
    tokio::time::timeout(Duration::from_secs(10), changed)
        .await
        .expect("they arrive")
        .expect("gossip runs");

    let long = Tags::from([("role".to_owned(), "w".repeat(600))]);
    assert!(matches!(
        two.set_tags(long).await,
        Err(Refused::TagsTooLong { .. })
    ));
}

#[tokio::test]
async fn a_seed_that_starts_late_is_found() {
    // A port that was free a moment ago; nothing listens there yet.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let seed = free.local_addr().unwrap().to_string();
    drop(free);
    let two = started("two", "127.0.0.1:0", &[&seed]).await;
    let joined = two.join(vec![seed.clone()]).await;
    assert_eq!(joined.reached, 0);
    assert_eq!(
        joined.failures,
        [(seed.clone(), "connection refused".to_owned())]
    );

    let one = started("one", &seed, &[]).await;

    sees(&two, "one", Status::Alive).await;
    sees(&one, "two", Status::Alive).await;
}

#[tokio::test]
async fn a_node_whose_handles_are_gone_is_seen_as_failed() {
    let one = started("one", "127.0.0.1:0", &[]).await;
    let seed = one.advertised().address.to_string();
    let two = started("two", "127.0.0.1:0", &[&seed]).await;
    sees(&one, "two", Status::Alive).await;

    drop(two);

    sees(&one, "two", Status::Failed).await;
}

#[tokio::test]
async fn after_the_leave_every_call_answers_and_the_port_is_free() {
    let one = started("one", "127.0.0.1:0", &[]).await;
    let mut events = one.events();
    let bound = one.advertised().address;
    let watched = one.members();

    one.leave().await;

    one.leave().await;
    assert_eq!(one.stats().await, Stats::default());
    assert_eq!(one.set_tags(Tags::new()).await, Err(Refused::Leaving));
    assert_eq!(one.force_leave("two", false).await, Err(Refused::Leaving));
    let joined = one.join(vec!["127.0.0.1:1".to_owned()]).await;
    assert_eq!(
        joined.failures,
        [("127.0.0.1:1".to_owned(), "gossip has ended".to_owned())]
    );
    assert!(watched.has_changed().is_err(), "the list is closed");
    while events.recv().await.is_ok() {}
    assert!(one.events().recv().await.is_err());
    bind_once(bound).expect("the port is free at once");
}

#[tokio::test]
async fn a_port_in_use_is_waited_for() {
    let holder = started("one", "127.0.0.1:0", &[]).await;
    let address = holder.advertised().address;

    let (second, ()) = tokio::join!(start(settings("two", &address.to_string(), &[])), async {
        tokio::time::sleep(BUSY_PAUSE).await;
        holder.leave().await;
    });

    assert_eq!(second.expect("it starts").advertised().address, address);
}

#[tokio::test]
async fn an_address_of_somebody_else_is_refused_at_once() {
    let error = start(settings("one", "192.0.2.1:0", &[]))
        .await
        .unwrap_err();

    let text = error.to_string();
    assert!(
        text.starts_with("gossip cannot listen on 192.0.2.1:0 (tcp): no interface"),
        "{text}"
    );
}

#[tokio::test]
async fn tags_that_are_too_long_do_not_start() {
    let mut settings = settings("one", "127.0.0.1:0", &[]);
    settings.tags.insert("role".to_owned(), "w".repeat(600));

    assert!(matches!(
        start(settings).await,
        Err(StartError::Refused(Refused::TagsTooLong { .. }))
    ));
}

#[tokio::test]
async fn a_member_at_an_address_that_refuses_packets_stops_nobody() {
    let one = started("one", "127.0.0.1:0", &[]).await;
    let unreachable: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let joined = one
        .join(vec![
            unreachable.to_string(),
            "255.255.255.255:9".to_owned(),
        ])
        .await;

    assert_eq!(joined.reached, 0);
    assert_eq!(joined.failures.len(), 2);
    assert!(one.members().has_changed().is_ok(), "it lives");
}

#[tokio::test]
async fn garbage_on_both_sockets_is_counted_and_survived() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let one = started("one", "127.0.0.1:0", &[]).await;
    let address = one.advertised().address;

    let udp = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    udp.send_to(&[200, 1, 2, 3], address).await.unwrap();
    udp.send_to(&[], address).await.unwrap();
    let mut tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    tcp.write_all(&[200, 1, 2, 3]).await.unwrap();
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).await.unwrap();
    assert!(answer.is_empty(), "{answer:?}");

    let deadline = clock::now() + Duration::from_secs(10);
    while one
        .stats()
        .await
        .dropped
        .get("unknown_type")
        .is_none_or(|&count| count < 1)
    {
        assert!(clock::now() < deadline, "{:?}", one.stats().await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_dual_stack_socket_meets_both_kinds() {
    let mut both = settings("both", "[::]:0", &[]);
    both.advertise = Some("127.0.0.1:0".parse().unwrap());
    let both = start(both).await.expect("it starts");
    let seed = both.advertised().address;
    assert_ne!(seed.port(), 0, "the port is the bound one");
    let four = started("four", "127.0.0.1:0", &[&seed.to_string()]).await;
    let six = started("six", "[::1]:0", &[&format!("[::1]:{}", seed.port())]).await;

    sees(&both, "four", Status::Alive).await;
    sees(&both, "six", Status::Alive).await;
    sees(&four, "both", Status::Alive).await;
    sees(&six, "both", Status::Alive).await;
    // Acks came back to the address that was pinged: nobody had to doubt.
    four.leave().await;
    sees(&both, "four", Status::Left).await;
}

#[tokio::test]
async fn whoever_is_left_alone_joins_again() {
    let one = started("one", "127.0.0.1:0", &[]).await;
    let seed = one.advertised().address.to_string();
    let two = started("two", "127.0.0.1:0", &[&seed]).await;
    sees(&two, "one", Status::Alive).await;

    one.leave().await;
    sees(&two, "one", Status::Left).await;
    // Another one at the address that `two` was told to join; it knows nobody.
    let new = started("new", &seed, &[]).await;

    sees(&two, "new", Status::Alive).await;
    sees(&new, "two", Status::Alive).await;
}

#[tokio::test]
async fn a_member_does_not_join_itself() {
    // Its own address must be known beforehand: a loopback address that nobody else uses.
    let [high, low] = (std::process::id() as u16).to_be_bytes();
    let address = format!("127.77.{high}.{}:7946", low.max(1));
    let own = settings("one", &address, &[&address]);
    let one = start(own).await.expect("it starts");
    let mut events = one.events();

    let other = started(
        "two",
        "127.0.0.1:0",
        &[&one.advertised().address.to_string()],
    )
    .await;
    sees(&one, "two", Status::Alive).await;

    other.leave().await;
    sees(&one, "two", Status::Left).await;
    drop(one);
    while let Ok(event) = events.recv().await {
        assert!(!matches!(*event, Event::JoinFinished { .. }), "{event:?}");
    }
}

#[tokio::test]
async fn a_running_member_that_is_outvoted_goes_on_under_another_name() {
    let timing = Timing {
        starting: Duration::from_secs(1),
        ..Timing::of(Profile::Local)
    };
    let renaming = |name: &str, join: &[&str]| {
        let settings = Settings {
            when_taken: WhenTaken::Rename,
            ..settings(name, "127.0.0.1:0", join)
        };
        start_timed(settings, timing.clone(), None)
    };
    let small = started("small", "127.0.0.1:0", &[]).await;
    let seed = small.advertised().address.to_string();
    let loser = renaming("x", &[&seed]).await.expect("it starts");
    let large = started("large", "127.0.0.1:0", &[]).await;
    let seed = large.advertised().address.to_string();
    let second = started("second", "127.0.0.1:0", &[&seed]).await;
    let keeper = renaming("x", &[&seed]).await.expect("it starts");
    for (one, other) in [(&small, &loser), (&large, &keeper), (&large, &second)] {
        sees(one, &other.name(), Status::Alive).await;
    }
    // Longer than what counts as the start: this is what the test is about.
    tokio::time::sleep(timing.starting).await;

    let (mut names, mut others) = (loser.names(), keeper.names());
    assert_eq!(small.join(vec![seed]).await.reached, 1);
    // Two hold the one, and one holds the other; should an answer come too late, it may be the other way round.
    let renamed = async {
        tokio::select! {
            name = names.wait_for(|name| **name != *"x") => (loser, keeper, Arc::clone(&name.expect("gossip runs"))),
            name = others.wait_for(|name| **name != *"x") => (keeper, loser, Arc::clone(&name.expect("gossip runs"))),
        }
    };
    let (loser, keeper, renamed) = tokio::time::timeout(Duration::from_secs(120), renamed)
        .await
        .expect("one is renamed");

    assert!(renamed.starts_with("x-"), "{renamed}");
    assert!(!loser.name_taken().await.at_start);
    assert_eq!(loser.stats().await.renames, 1);
    assert_eq!(&*keeper.name(), "x");
    for one in [&small, &loser, &large, &second, &keeper] {
        for (name, of) in [("x", &keeper), (&*renamed, &loser)] {
            let address = of.advertised().address;
            let mut members = one.members();
            let there = members.wait_for(|members| {
                let member = members.by_name.get(name);
                member.is_some_and(|seen| seen.status == Status::Alive && seen.address == address)
            });
            tokio::time::timeout(Duration::from_secs(60), there)
                .await
                .unwrap_or_else(|_| panic!("{} has {name} at {address}", one.name()))
                .expect("gossip runs");
        }
    }
}
