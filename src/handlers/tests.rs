use std::path::Path;

use super::*;
use crate::clock;

fn handlers(specs: &[&str]) -> Handlers {
    Handlers::new(settings(specs), || Who {
        name: "web1".to_owned(),
        ..Who::default()
    })
}

fn settings(specs: &[&str]) -> Settings {
    Settings {
        specs: specs
            .iter()
            .map(|spec| spec.parse().expect("a spec"))
            .collect(),
        ..Settings::default()
    }
}

async fn until(what: &str, mut there: impl FnMut() -> bool) {
    let deadline = clock::now() + Duration::from_secs(60);
    while !there() {
        assert!(clock::now() < deadline, "never {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn scripts_of_one_handler_run_one_at_a_time_and_in_order() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("log");
    let script = format!(
        "user=read n; echo begin $n >> {0}; sleep 0.0$n; echo end $n >> {0}",
        log.display()
    );
    let handlers = handlers(&[&script]);

    for number in ["5", "3", "1"] {
        handlers.deliver(Occasion::user("x", 1, number.as_bytes()));
    }
    handlers.idle().await;

    assert_eq!(
        lines(&log),
        ["begin 5", "end 5", "begin 3", "end 3", "begin 1", "end 1"]
    );
}

#[tokio::test]
async fn a_handler_that_hangs_holds_up_no_other_and_is_killed() {
    let settings = Settings {
        timeout: Duration::from_secs(3),
        ..settings(&["user=sleep 1000", "user=cat"])
    };
    let handlers = Handlers::new(settings, Who::default);

    handlers.deliver(Occasion::user("x", 1, b"hello"));
    handlers.idle().await;

    let reports = handlers.reports();
    let ends: Vec<_> = reports
        .iter()
        .map(|report| report.last.as_ref().expect("it ran").end.as_str())
        .collect();
    assert_eq!(ends, ["no end within 3s", "exit code 0"]);
    assert_eq!((reports[0].runs, reports[0].failures), (1, 1));
    let last = reports[1].last.as_ref().expect("it ran");
    assert_eq!(
        (last.output.as_slice(), last.occasion.as_str()),
        (&b"hello\n"[..], "user x")
    );
}

#[tokio::test]
async fn what_waits_is_bounded_and_what_is_dropped_is_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let go = directory.path().join("go");
    let script = format!("user=while ! test -e {}; do sleep 0.01; done", go.display());
    let handlers = handlers(&[&script]);

    handlers.deliver(Occasion::user("x", 1, b""));
    until("taken", || handlers.reports()[0].waiting == 0).await;
    for _ in 0..600 {
        handlers.deliver(Occasion::user("x", 1, b""));
    }

    let report = &handlers.reports()[0];
    assert_eq!((report.waiting, report.dropped), (512, 88));
    assert!(report.last.is_none());
}

#[tokio::test]
async fn the_output_of_a_script_that_passes_is_the_answer() {
    let handlers = handlers(&[
        "query:up=echo up; echo really >&2",
        "query:fails=echo no; exit 1",
        "query:silent=true",
        "query:long=head -c 20000 /dev/zero | tr '\\0' x; echo y",
    ]);
    let answers = Arc::new(Mutex::new(Vec::new()));
    for name in ["up", "fails", "silent", "long"] {
        let answers = Arc::clone(&answers);
        let answer: Answer = Arc::new(move |payload| {
            let text = String::from_utf8(payload).expect("text");
            answers.lock().expect("nobody panics").push((name, text));
        });
        handlers.deliver(Occasion::query(name, 1, b"", answer));
    }
    handlers.idle().await;

    let mut answers = answers.lock().expect("nobody panics").clone();
    answers.sort();
    assert_eq!(answers.len(), 2);
    let (name, text) = &answers[0];
    assert_eq!((*name, text.len()), ("long", OUTPUT_BYTES_MAX));
    assert!(text.ends_with("xy\n"));
    assert_eq!(answers[1], ("up", "up\nreally\n".to_owned()));
}

#[tokio::test]
async fn a_reload_keeps_what_stays_and_ends_what_is_gone() {
    let directory = tempfile::tempdir().expect("a directory");
    let go = directory.path().join("go");
    let wait = format!("user=while ! test -e {}; do sleep 0.01; done", go.display());
    let handlers = handlers(&[&wait, "user=true"]);
    handlers.deliver(Occasion::user("x", 1, b""));
    handlers.deliver(Occasion::user("x", 2, b""));
    until("the second ran twice", || handlers.reports()[1].runs == 2).await;

    handlers.replace(settings(&["member-join=true", &wait]));

    let reports = handlers.reports();
    assert_eq!(reports[0].spec, "member-join=true");
    assert_eq!((reports[0].runs, reports[1].waiting), (0, 1));
    assert!(!handlers.want(Kind::Query, "x"));
    assert!(handlers.want(Kind::MemberJoin, ""));
    std::fs::write(&go, "").expect("it is written");
    until("the rest ran", || handlers.reports()[1].runs == 2).await;
}

#[tokio::test]
async fn a_handler_finds_the_environment_that_serf_gives_it() {
    let handlers = handlers(&[
        "user:hoge=echo $SERF_EVENT $SERF_SELF_NAME $SERF_USER_EVENT $SERF_USER_LTIME; cat",
    ]);

    handlers.deliver(Occasion::user("hoge", 3, b"1234567890"));
    handlers.deliver(Occasion::user("other", 4, b""));
    handlers.idle().await;

    let reports = handlers.reports();
    let last = reports[0].last.as_ref().expect("it ran");
    assert_eq!(last.output, b"user web1 hoge 3\n1234567890\n");
    assert_eq!(reports[0].runs, 1);
}
