use super::*;

fn order(command: &str) -> Order<'_> {
    Order {
        command,
        env: &[],
        stdin: b"",
        timeout: Duration::from_secs(60),
        keep: Keep::Last(8 << 10),
    }
}

fn text(ran: &Ran) -> String {
    String::from_utf8_lossy(ran.output.bytes()).into_owned()
}

#[tokio::test]
async fn output_of_both_streams_comes_in_the_order_of_writing() {
    let ran = run(&order("echo one; echo two >&2; echo three; exit 3")).await;

    assert_eq!(text(&ran), "one\ntwo\nthree\n");
    assert_eq!(ran.end, End::Exited(3));
    assert!(ran.leftover.is_none());
}

#[tokio::test]
async fn stdin_and_environment_arrive() {
    let env = [("GREETING".to_owned(), "hello".to_owned())];
    let order = Order {
        env: &env,
        stdin: b"a\nb\n",
        ..order("echo $GREETING; cat")
    };

    assert_eq!(text(&run(&order).await), "hello\na\nb\n");
}

#[tokio::test]
async fn without_input_stdin_is_at_its_end() {
    assert_eq!(text(&run(&order("cat; echo done")).await), "done\n");
}

#[tokio::test]
async fn more_input_and_output_than_pipes_hold_go_through() {
    let bytes = vec![b'x'; 1 << 20];
    let order = Order {
        stdin: &bytes,
        ..order("cat")
    };

    let ran = run(&order).await;

    assert_eq!(ran.output.written(), 1 << 20);
    assert_eq!(ran.output.bytes().len(), 8 << 10);
    assert!(ran.end.is_success());
}

#[tokio::test]
async fn who_does_not_read_its_input_is_not_harmed() {
    let bytes = vec![b'x'; 1 << 20];
    let order = Order {
        stdin: &bytes,
        ..order("exit 0")
    };

    assert_eq!(run(&order).await.end, End::Exited(0));
}

#[tokio::test]
async fn who_takes_too_long_is_killed_with_all_that_it_started() {
    let directory = tempfile::tempdir().expect("a directory");
    let pids = directory.path().join("pids");
    let command = format!(
        "sleep 1000 & echo $! > {0}; echo begun; wait",
        pids.display()
    );
    let order = Order {
        timeout: Duration::from_millis(500),
        ..order(&command)
    };

    let ran = run(&order).await;

    assert_eq!(ran.end, End::TimedOut(Duration::from_millis(500)));
    assert_eq!(ran.end.to_string(), "no end within 500ms");
    // On a machine that is very busy it may not have got that far.
    if let Ok(pid) = std::fs::read_to_string(&pids) {
        let pid = pid.trim().to_owned();
        gone(&pid).await;
    }
}

/// Waits until nothing but perhaps a zombie is left of `pid`.
async fn gone(pid: &str) {
    let status = std::path::PathBuf::from(format!("/proc/{pid}/stat"));
    let lives = || {
        let stat = std::fs::read_to_string(&status).unwrap_or_default();
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| !rest.starts_with('Z'))
    };
    let deadline = clock::now() + Duration::from_secs(30);
    while lives() {
        assert!(clock::now() < deadline, "{pid} lives on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn who_is_no_longer_wanted_is_killed() {
    let directory = tempfile::tempdir().expect("a directory");
    let pid_file = directory.path().join("pid");
    let command = format!(
        "echo $$ > {0}.new; mv {0}.new {0}; sleep 1000",
        pid_file.display()
    );
    let command = order(&command);
    let mut running = Box::pin(run(&command));
    let pid = loop {
        tokio::select! {
            _ = &mut running => panic!("it ended by itself"),
            () = tokio::time::sleep(Duration::from_millis(10)) => {}
        }
        if let Ok(pid) = std::fs::read_to_string(&pid_file) {
            break pid.trim().to_owned();
        }
    };

    drop(running);

    gone(&pid).await;
}

#[tokio::test]
async fn a_process_left_behind_is_not_waited_for() {
    let ran = run(&order("sleep 600 & echo $!")).await;

    assert_eq!(ran.end, End::Exited(0));
    assert!(ran.took < Duration::from_secs(300), "{:?}", ran.took);
    let left = text(&ran);
    let pid = left.trim().parse().ok().and_then(Pid::from_raw);
    let killed = rustix::process::kill_process(pid.expect("its id"), Signal::KILL);
    assert!(killed.is_ok(), "it was killed already");
}

#[tokio::test]
async fn an_end_by_signal_is_told() {
    let ran = run(&order("kill -TERM $$")).await;

    assert_eq!(ran.end, End::Signalled(15));
    assert_eq!(ran.end.to_string(), "killed by signal 15");
}
