//! Event handlers, as Serf's users know them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use lb::announce::Tags;
use lb::gossip::core::io::{Answer, Question};
use lb::gossip::core::timing::Profile;
use lb::gossip::driver::{self, Handle, Settings, WhenTaken};
use rustix::process::Signal;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::common::{Running, eventually};
use crate::rig::{self, LONG, ip, text};

/// A member on a thread of this process, to send from.
struct Sender {
    runtime: Runtime,
    gossip: Handle,
    /// The member ends with it.
    _stop: oneshot::Sender<()>,
}

fn runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

impl Sender {
    fn start(at: &str, join: &str) -> Self {
        let settings = Settings {
            bind: format!("{at}:7946").parse().expect("an address"),
            advertise: None,
            iface: None,
            node: "sender".to_owned(),
            join: vec![join.to_owned()],
            profile: Profile::Local,
            tags: Tags::new(),
            keyring: None,
            peers: Vec::new(),
            former: None,
            replay: false,
            discover: None,
            insecure: false,
            when_taken: WhenTaken::default(),
        };
        let (started, gossip) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::spawn(move || {
            runtime().block_on(async {
                let gossip = driver::start(settings).await.expect("it starts");
                started.send(gossip).expect("somebody waits for it");
                let _ = stopped.await;
            });
        });
        Self {
            runtime: runtime(),
            gossip: gossip.recv_timeout(LONG).expect("it starts"),
            _stop: stop,
        }
    }

    /// Waits until so many are alive, itself among them.
    fn sees(&self, alive: usize) {
        use lb::gossip::core::member::Status;
        eventually(&format!("{alive} members"), LONG, || {
            let members = Arc::clone(&self.gossip.members().borrow());
            (members.count(Status::Alive) == alive).then_some(())
        });
    }

    fn event(&self, name: &str, payload: &str) {
        let sent = self.gossip.user_event(name, payload.into(), false);
        self.runtime.block_on(sent).expect("it is sent");
    }

    /// Who answered what within `timeout`, or until `enough` did.
    fn query(
        &self,
        name: &str,
        payload: &str,
        timeout: Duration,
        enough: usize,
    ) -> BTreeMap<String, String> {
        let question = Question {
            name: name.to_owned(),
            payload: payload.into(),
            timeout: Some(timeout),
            ..Question::default()
        };
        self.runtime.block_on(async {
            let mut answers = self.gossip.query(question).await.expect("it is asked");
            let mut all = BTreeMap::new();
            while all.len() < enough {
                match answers.recv().await.expect("the end comes before") {
                    Answer::Response { from, payload } => {
                        all.insert(from, String::from_utf8_lossy(&payload).into_owned());
                    }
                    Answer::Ack { .. } => {}
                    Answer::Done => break,
                }
            }
            all
        })
    }
}

/// An agent named `node` at `at` with these handlers.
fn agent(directory: &Path, at: &str, node: &str, join: &str, handlers: &[&str]) -> Running {
    let mut command = rig::agent(at, node, join);
    for handler in handlers {
        command.args(["--event-handler", handler]);
    }
    Running::start(node, directory, &mut command)
}

fn has_line(path: &Path, line: &str) -> Option<()> {
    text(path).lines().any(|found| found == line).then_some(())
}

#[test]
fn the_handler_prints_serf_event_names_and_addresses() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (ip(141, 10), ip(141, 11));
    let log = directory.path().join("log");
    let handler = format!(
        "(echo \"${{SERF_EVENT}} on ${{SERF_SELF_NAME}}, ${{SERF_SELF_ROLE}} ${{SERF_TAG_PORT}}\"; while read name address role tags; do echo \"$name $address $role $tags\"; done) >> {}",
        log.display()
    );
    let _first = agent(directory.path(), &first, "web1", &first, &[&handler]);
    let own = format!("web1 {first} web port=8081,role=web,v=1");
    eventually("it is told of itself", LONG, || has_line(&log, &own));

    let mut other = agent(directory.path(), &second, "web2", &first, &[]);
    let line = format!("web2 {second} web port=8081,role=web,v=1");
    eventually("it is told of the other", LONG, || has_line(&log, &line));
    assert!(
        text(&log).starts_with("member-join on web1, web 8081\n"),
        "{}",
        text(&log)
    );
    assert!(other.terminate().success());
    eventually("and that it left", LONG, || {
        has_line(&log, "member-leave on web1, web 8081")
    });
}

#[test]
fn suspend_is_member_failed_and_resume_is_member_join() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (ip(142, 10), ip(142, 11));
    let log = directory.path().join("log");
    let handler = format!(
        "while read name rest; do echo $SERF_EVENT $name >> {}; done",
        log.display()
    );
    let _first = agent(directory.path(), &first, "web1", &first, &[&handler]);
    let other = agent(directory.path(), &second, "web2", &first, &[]);
    eventually("it has joined", LONG, || has_line(&log, "member-join web2"));

    other.signal(Signal::STOP);
    eventually("it has failed", LONG, || {
        has_line(&log, "member-failed web2")
    });
    other.signal(Signal::CONT);
    let joins = || {
        text(&log)
            .lines()
            .filter(|line| *line == "member-join web2")
            .count()
    };

    eventually("it is back", LONG, || (joins() >= 2).then_some(()));
}

#[test]
fn event_hoge_1234567890_arrives_on_stdin_with_its_lamport_time() {
    let directory = tempfile::tempdir().unwrap();
    let (first, own) = (ip(143, 10), ip(143, 1));
    let log = directory.path().join("log");
    let handler = format!(
        "user:hoge=(echo $SERF_EVENT $SERF_USER_EVENT $SERF_USER_LTIME; cat; echo .) >> {}",
        log.display()
    );
    let _first = agent(directory.path(), &first, "web1", &first, &[&handler]);
    let sender = Sender::start(&own, &first);
    sender.sees(2);

    // One after the other: what is sent at once may arrive in any order.
    let arrived = |count: usize| {
        eventually(&format!("{count} of them arrived"), LONG, || {
            let text = text(&log);
            let begun = text.lines().filter(|line| line.starts_with("user hoge "));
            (begun.count() == count && text.ends_with(".\n")).then_some(())
        });
    };
    sender.event("hoge", "1234567890");
    arrived(1);
    sender.event("other", "not for this handler");
    sender.event("hoge", "");
    arrived(2);
    sender.event("hoge", "two\nlines\n");
    arrived(3);

    let lines: Vec<String> = text(&log).lines().map(str::to_owned).collect();
    let ltime = |line: &str| -> u64 {
        let ltime = line.strip_prefix("user hoge ").expect("its own line");
        ltime.parse().expect("a Lamport time")
    };
    assert_eq!(lines.len(), 9, "{lines:?}");
    let times = [&lines[0], &lines[3], &lines[5]].map(|line| ltime(line));
    assert_eq!(
        [times[1] - times[0], times[2] - times[1]],
        [2, 1],
        "{lines:?}"
    );
    let rest = [1, 2, 4, 6, 7, 8].map(|at: usize| lines[at].as_str());
    assert_eq!(rest, ["1234567890", ".", ".", "two", "lines", "."]);
}

#[test]
fn query_uptime_is_answered_by_every_node() {
    let directory = tempfile::tempdir().unwrap();
    let own = ip(144, 1);
    let nodes: Vec<String> = (10..13).map(|host| ip(144, host)).collect();
    let handlers = [
        "query:uptime=echo $SERF_SELF_NAME is up",
        "query:cat=cat",
        "query:fails=echo no; exit 1",
    ];
    let _agents: Vec<Running> = nodes
        .iter()
        .enumerate()
        .map(|(at, ip)| {
            agent(
                directory.path(),
                ip,
                &format!("web{at}"),
                &nodes[0],
                &handlers,
            )
        })
        .collect();
    let sender = Sender::start(&own, &nodes[0]);
    sender.sees(4);

    let everyone = |answer: &dyn Fn(&str) -> String| -> BTreeMap<String, String> {
        let names = ["web0", "web1", "web2"].into_iter();
        names.map(|name| (name.to_owned(), answer(name))).collect()
    };
    let asked = |name: &str| sender.query(name, "as it came", LONG, 3);
    assert_eq!(asked("uptime"), everyone(&|name| format!("{name} is up\n")));
    assert_eq!(asked("cat"), everyone(&|_| "as it came\n".to_owned()));
    let nobody = sender.query("fails", "", Duration::from_secs(3), 1);
    assert_eq!(nobody, BTreeMap::new());
}

#[test]
fn a_front_tells_of_its_backends_and_pools() {
    let directory = tempfile::tempdir().unwrap();
    let (front, own) = (ip(145, 1), ip(145, 10));
    rig::web(&own);
    let log = directory.path().join("log");
    let handler = format!(
        "backend-up,backend-down,pool-empty,pool-recovered=echo $SERF_EVENT $LB_POOL $LB_BACKEND $LB_ADDRESS >> {}",
        log.display()
    );
    let mut command = rig::front(&front);
    command.args(["--event-handler", &handler]);
    let _front = Running::start("front", directory.path(), &mut command);
    let mut agent = agent(directory.path(), &own, "web1", &front, &[]);
    let line = |event: &str| format!("{event} web web1 {own}:8081");
    eventually("it is in", LONG, || has_line(&log, &line("backend-up")));

    assert!(agent.terminate().success());

    eventually("the pool is empty", LONG, || {
        has_line(&log, "pool-empty web")
    });
    assert!(
        has_line(&log, &line("backend-down")).is_some(),
        "{}",
        text(&log)
    );
    let _agent = self::agent(directory.path(), &own, "web1", &front, &[]);
    eventually("the pool is well again", LONG, || {
        has_line(&log, "pool-recovered web")
    });
    let handlers = rig::ask(&front, "/api/v1/handlers").expect("it answers");
    let handlers: serde_json::Value = serde_json::from_str(&handlers).expect("JSON");
    assert_eq!(handlers["handlers"][0]["handler"], handler.as_str());
    assert_eq!(handlers["handlers"][0]["last"]["end"], "exit code 0");
}

#[test]
fn a_shell_for_everyone_is_refused_unless_it_is_meant() {
    let own = ip(146, 10);
    let mut command = rig::agent(&own, "web1", &own);
    let output = command
        .args(["--event-handler", "query:shell=/bin/bash"])
        .output();
    let output = output.expect("it runs");

    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--insecure-handlers"), "{said}");
}

#[test]
fn a_script_for_the_last_event_is_run_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let own = ip(147, 10);
    let log = directory.path().join("log");
    let handler = format!(
        "member-join=echo begun >> {0}; sleep 0.3; echo ended >> {0}",
        log.display()
    );
    let mut agent = agent(directory.path(), &own, "web1", &own, &[&handler]);
    eventually("it has begun", LONG, || has_line(&log, "begun"));

    assert!(agent.terminate().success());

    assert!(has_line(&log, "ended").is_some(), "{}", text(&log));
}
