//! Events, queries, keys and forced leaves in mixed clusters, both ways. The stock side is driven by its own CLI.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lb::gossip::core::io::{Answer, Event, Question};
use lb::gossip::core::keyring::{Key, Keyring};
use lb::gossip::core::member::Status;
use lb::gossip::core::serf::coalesce::{Change, Notice};
use lb::gossip::core::serf::keys::{KeyReport, KeyRequest};
use tokio::sync::broadcast::Receiver;

use crate::common::{eventually, system_tests};
use crate::peers::{Agent, LONG, Ours, address, member_at};

const KEYS: [&str; 3] = [
    "tDtuy7Kl/mktI0I4uxaNMixEdCC/vnjmNNEC8BHRjxw=",
    "MDEyMzQ1Njc4OWFiY2RlZg==",
    "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3",
];

fn key(number: usize) -> Key {
    Key::parse(KEYS[number]).expect("a key")
}

/// What was answered until the deadline: acks, and payloads by name.
fn asked(ours: &Ours, question: Question) -> (Vec<String>, BTreeMap<String, String>) {
    ours.call(async {
        let mut answers = ours.handle.query(question).await.expect("it may ask");
        let (mut acks, mut responses) = (Vec::new(), BTreeMap::new());
        let all = async {
            loop {
                match answers.recv().await.expect("until it is done") {
                    Answer::Ack { from } => acks.push(from),
                    Answer::Response { from, payload } => {
                        let text = String::from_utf8_lossy(&payload).trim().to_owned();
                        assert_eq!(responses.insert(from, text), None);
                    }
                    Answer::Done => return,
                }
            }
        };
        tokio::time::timeout(LONG, all).await.expect("a deadline");
        acks.sort();
        (acks, responses)
    })
}

fn question(name: &str, timeout: Duration) -> Question {
    Question {
        name: name.to_owned(),
        wants_ack: true,
        relay_factor: 1,
        timeout: Some(timeout),
        ..Question::default()
    }
}

/// A stock agent with a handler that writes down user events and answers queries.
fn talker(directory: &Path, name: &str, host: u8, more: &[&str]) -> Agent {
    let heard = directory.join(format!("{name}.heard"));
    let user = format!(
        "-event-handler=user=(echo \"$SERF_USER_EVENT $SERF_USER_LTIME\"; cat) >> {}",
        heard.display()
    );
    let query = "-event-handler=query:uptime=echo \"$SERF_SELF_NAME since $(cat)\"";
    let all: Vec<&str> = [&user[..], query]
        .into_iter()
        .chain(more.iter().copied())
        .collect();
    Agent::start(directory, name, &address(70, host), &all)
}

#[test]
fn events_and_queries_go_both_ways() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let front = Ours::start("front", &member_at(70, 1), &[]);
    let join = format!("-join={}", front.at());
    let web1 = talker(directory.path(), "web1", 2, &[&join]);
    let web2 = talker(directory.path(), "web2", 3, &[&join]);
    let other = Ours::start("other", &member_at(70, 4), &[&member_at(70, 1)]);
    let all = ["front", "other", "web1", "web2"];
    for name in all {
        web1.sees(name, "alive");
        web2.sees(name, "alive");
        front.sees(name, Status::Alive);
        other.sees(name, Status::Alive);
    }

    // Ours to them.
    front
        .call(front.handle.user_event("deploy", b"v7".to_vec(), false))
        .expect("it is short");
    for name in ["web1", "web2"] {
        eventually("the handler hears our event", LONG, || {
            let heard = directory.path().join(format!("{name}.heard"));
            let heard = std::fs::read_to_string(heard).unwrap_or_default();
            (heard == "deploy 1\nv7\n").then_some(())
        });
    }
    // Theirs to us. Whichever comes first: gossip keeps no order, it tells it.
    let mut events = other.handle.events();
    let mut notices = other.handle.coalesced();
    for payload in ["old", "new"] {
        assert!(web1.run(&["event", "reload", payload]).status.success());
    }
    let mut heard = Vec::new();
    while heard.len() < 2 {
        heard.push(other.hears(&mut events, |event| match event {
            Event::User {
                ltime,
                name,
                payload,
                ..
            } => (name == "reload").then_some((ltime, payload)),
            _ => None,
        }));
    }
    heard.sort();
    assert_eq!(heard, [(2, b"old".to_vec()), (3, b"new".to_vec())]);
    // Of those that come close together only the newest is told.
    eventually_told(&other, &mut notices, b"new");

    // Our question.
    let ask = |question: Question| asked(&front, question);
    let uptime = || Question {
        payload: b"boot".to_vec(),
        ..question("uptime", Duration::from_secs(8))
    };
    let (acks, responses) = ask(uptime());
    assert_eq!(acks, all);
    let wanted = ["web1", "web2"].map(|name| (name.to_owned(), format!("{name} since boot")));
    assert_eq!(responses, BTreeMap::from(wanted.clone()));
    let (acks, responses) = ask(Question {
        tags: BTreeMap::from([("role".to_owned(), "^w.b$".to_owned())]),
        nodes: vec!["web2".to_owned(), "other".to_owned()],
        ..uptime()
    });
    assert_eq!(acks, ["web2"]);
    assert_eq!(responses, BTreeMap::from([wanted[1].clone()]));

    // Their question, with a filter by tag that is ours.
    let asking = std::thread::scope(|scope| {
        let answering = scope.spawn(|| answer_one(&other, &mut events));
        let arguments = [
            "-format=json",
            "-timeout=8s",
            "-relay-factor=2",
            "-tag",
            "role=^lb?$",
            "load",
            "now?",
        ];
        let verb: Vec<&str> = ["query"].into_iter().chain(arguments).collect();
        let asked = web1.run(&verb);
        answering.join().expect("we answered");
        asked
    });
    let said: serde_json::Value = serde_json::from_slice(&asking.stdout).expect("json");
    let mut acks: Vec<&str> = said["Acks"]
        .as_array()
        .expect("acks")
        .iter()
        .filter_map(|name| name.as_str())
        .collect();
    acks.sort_unstable();
    assert_eq!(acks, ["front", "other"], "{said}");
    assert_eq!(said["Responses"].as_object().expect("responses").len(), 1);
    assert_eq!(said["Responses"]["other"], "0.7", "{said}");
    // What Go does not take nobody answers, neither of theirs nor of ours.
    let nobody = web1.run(&[
        "query",
        "-format=json",
        "-timeout=2s",
        "-tag",
        "role=l**",
        "load",
    ]);
    let said: serde_json::Value = serde_json::from_slice(&nobody.stdout).expect("json");
    assert!(said["Acks"].as_array().is_none_or(Vec::is_empty), "{said}");

    // Internal queries, and where everyone is.
    eventually("a stock agent reaches all", LONG, || {
        web1.run(&["reachability"]).status.success().then_some(())
    });
    for (one, other) in [("web1", "front"), ("web1", "web2"), ("other", "front")] {
        eventually("they know how far it is", LONG, || {
            let rtt = web1.run(&["rtt", one, other]);
            rtt.status.success().then_some(())
        });
    }
    eventually("we know where a stock agent is", LONG, || {
        let theirs = front.call(front.handle.coordinate("web1"))?;
        let ours = front.call(front.handle.coordinate("front"))?;
        let rtt = ours.distance_to(&theirs);
        assert!(rtt > 0.0 && rtt < 1.0, "{rtt} s on loopback");
        Some(())
    });
}

/// Answers the next query, and no more.
fn answer_one(ours: &Ours, events: &mut Receiver<Arc<Event>>) {
    let (id, payload, from) = ours.hears(events, |event| match event {
        Event::Query {
            id,
            name,
            payload,
            from,
            ..
        } if name == "load" => Some((id, payload, from)),
        _ => None,
    });
    assert_eq!((&payload[..], &*from), (&b"now?"[..], "web1"));
    ours.call(ours.handle.respond(id, b"0.7".to_vec()))
        .expect("in time");
    let again = ours.call(ours.handle.respond(id, Vec::new()));
    assert!(again.is_err(), "once is enough");
}

/// Reads notices until a user event with `payload`.
fn eventually_told(ours: &Ours, notices: &mut Receiver<Arc<Notice>>, wanted: &[u8]) {
    ours.call(async {
        let told = async {
            loop {
                let notice = notices.recv().await.expect("notices go on");
                if let Notice::Event(event) = &*notice
                    && matches!(&**event, Event::User { payload, .. } if payload == wanted)
                {
                    return;
                }
            }
        };
        tokio::time::timeout(LONG, told).await.expect("a notice");
    });
}

/// What `serf keys -list` and the like say, on both of its channels.
fn keys_verb(agent: &Agent, arguments: &[&str]) -> String {
    let verb: Vec<&str> = ["keys"]
        .into_iter()
        .chain(arguments.iter().copied())
        .collect();
    // Each may be said twice; on a busy machine an answer may come too late.
    eventually(&format!("all obey {arguments:?}"), LONG, || {
        let output = agent.run(&verb);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some(said)
    })
}

/// The same of ours: the report in which all `nodes` answered, with so many errors.
fn turned(ours: &Ours, request: &KeyRequest, nodes: usize, errors: usize) -> KeyReport {
    eventually(&format!("all answer {request:?}"), LONG, || {
        let report = ours.call(ours.handle.keys(request.clone()));
        let report = report.expect("it may ask");
        let counts = (report.nodes, report.responses, report.errors);
        (counts == (nodes, nodes, errors)).then_some(report)
    })
}

#[test]
fn a_key_is_rotated_in_a_mixed_cluster_from_either_side_and_nobody_is_lost() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let ring = || Some(Keyring::new(key(0)));
    let seed = member_at(71, 1);
    let front = Ours::with_keys("front", &seed, &[], ring());
    let others = [2, 3].map(|host| {
        let name = format!("ours{host}");
        Ours::with_keys(&name, &member_at(71, host), &[&seed], ring())
    });
    let stock = [4, 5, 6].map(|host| {
        let file = directory.path().join(format!("{host}.json"));
        std::fs::write(&file, format!("[\"{}\"]", KEYS[0])).unwrap();
        let keyring = format!("-keyring-file={}", file.display());
        let join = format!("-join={seed}");
        let name = format!("stock{host}");
        Agent::start(
            directory.path(),
            &name,
            &address(71, host),
            &[&keyring, &join],
        )
    });
    let names = ["front", "ours2", "ours3", "stock4", "stock5", "stock6"];
    for name in names {
        front.sees(name, Status::Alive);
        others
            .iter()
            .for_each(|ours| drop(ours.sees(name, Status::Alive)));
        stock.iter().for_each(|agent| agent.sees(name, "alive"));
    }
    let mut events = others[1].handle.events();

    // From our side to the second key.
    turned(&front, &KeyRequest::Install(key(1)), 6, 0);
    turned(&front, &KeyRequest::Use(key(1)), 6, 0);
    turned(&front, &KeyRequest::Remove(key(0)), 6, 0);
    let report = turned(&front, &KeyRequest::List, 6, 0);
    assert_eq!(report.keys, BTreeMap::from([(KEYS[1].to_owned(), 6)]));
    let refused = turned(&front, &KeyRequest::Remove(key(1)), 6, 6);
    assert_eq!(refused.messages["ours2"], refused.messages["stock4"]);

    // From their side to the third.
    keys_verb(&stock[0], &["-install", KEYS[2]]);
    keys_verb(&stock[0], &["-use", KEYS[2]]);
    keys_verb(&stock[0], &["-remove", KEYS[1]]);
    let listed = keys_verb(&stock[0], &["-list"]);
    let everywhere = |line: &str| line.starts_with(KEYS[2]) && line.ends_with("[6/6]");
    assert!(listed.lines().any(everywhere), "{listed}");
    assert!(!listed.contains(KEYS[1]), "{listed}");
    for ours in [&front, &others[0], &others[1]] {
        let ring = ours.handle.keyring().borrow().clone();
        assert_eq!(ring, Some(Keyring::new(key(2))));
    }

    // Nobody was lost, and a word of each reaches all.
    for (number, agent) in stock.iter().enumerate() {
        let name = format!("from{number}");
        assert!(
            agent
                .run(&["event", "-coalesce=false", &name])
                .status
                .success()
        );
        let mut heard = others[0].handle.events();
        front
            .call(front.handle.user_event(&name, b"and ours".to_vec(), false))
            .expect("it is short");
        others[0].hears(&mut heard, |event| match event {
            Event::User { payload, .. } => (payload == b"and ours").then_some(()),
            _ => None,
        });
    }
    let late = Ours::with_keys(
        "late",
        &member_at(71, 7),
        &[&seed],
        Some(Keyring::new(key(2))),
    );
    late.sees("stock6", Status::Alive);
    while let Ok(event) = events.try_recv() {
        let lost = matches!(&*event, Event::Failed(_) | Event::Left(_));
        assert!(!lost, "{event:?}");
    }
    for ours in [&front, &others[0], &others[1]] {
        let stats = ours.call(ours.handle.stats());
        assert_eq!(stats.dropped.get("decrypt"), None, "{:?}", stats.dropped);
    }
}

#[test]
fn forced_leaves_and_prunes_reach_both_sides() {
    if !system_tests(&["serf"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let seed = member_at(72, 1);
    let front = Ours::start("front", &seed, &[]);
    let join = format!("-join={seed}");
    let agent =
        |name: &str, host| Agent::start(directory.path(), name, &address(72, host), &[&join]);
    let watcher = agent("watcher", 2);
    let doomed = agent("doomed", 3);
    let ours =
        [4, 5, 6].map(|host| Ours::start(&format!("ours{host}"), &member_at(72, host), &[&seed]));
    let names = ["doomed", "ours4", "ours5", "ours6"];
    for name in names {
        watcher.sees(name, "alive");
        front.sees(name, Status::Alive);
    }
    let mut notices = front.handle.coalesced();
    drop(doomed);
    let [mine, _more, _still_more] = ours;
    mine.kill();
    let gone = ["doomed", "ours4"];
    for name in gone {
        watcher.sees(name, "failed");
        front.sees(name, Status::Failed);
    }
    // Told as scripts are.
    front.call(async {
        let mut failed = BTreeSet::new();
        while !gone.iter().all(|name| failed.contains(*name)) {
            let notice = tokio::time::timeout(LONG, notices.recv()).await;
            if let Notice::Members {
                change: Change::Failed,
                members,
            } = &*notice.expect("a notice").expect("notices go on")
            {
                failed.extend(members.iter().map(|member| member.name.to_string()));
            }
        }
    });

    // Ours forces theirs out, and theirs ours; then they forget them, the other way round.
    let force = |name, prune| front.call(front.handle.force_leave(name, prune));
    force("doomed", false).expect("it is known");
    assert!(watcher.run(&["force-leave", "ours4"]).status.success());
    for name in gone {
        watcher.sees(name, "left");
        front.sees(name, Status::Left);
    }
    force("ours4", true).expect("it is known");
    assert!(
        watcher
            .run(&["force-leave", "-prune", "doomed"])
            .status
            .success()
    );
    for name in gone {
        eventually("it is forgotten on both sides", LONG, || {
            (watcher.member(name).is_none() && front.member(name).is_none()).then_some(())
        });
    }
    // One who is forced out and lives says so.
    assert!(watcher.run(&["force-leave", "front"]).status.success());
    force("watcher", false).expect("it is known");
    watcher.sees("front", "alive");
    front.sees("watcher", Status::Alive);
    assert!(force("doomed", false).is_err(), "it is forgotten");
}
