use std::path::Path;

use super::*;

fn quick() -> Settings {
    Settings {
        interval: Duration::from_millis(20),
        timeout: Duration::from_secs(30),
        ..Settings::default()
    }
    .paced()
}

fn start(check: OwnCheck, settings: Settings) -> watch::Receiver<Opinion> {
    let (sender, opinion) = watch::channel(Opinion::Unproven("not checked yet".to_owned()));
    let address = SocketAddr::from(([127, 0, 0, 1], 9));
    tokio::spawn(watch(check, address, settings, sender));
    opinion
}

async fn until(opinion: &mut watch::Receiver<Opinion>, wanted: Opinion) {
    let waiting = opinion.wait_for(|opinion| *opinion == wanted);
    let waiting = tokio::time::timeout(Duration::from_secs(60), waiting);
    let in_time = waiting.await.is_ok();
    if !in_time {
        panic!("not {wanted:?}, but {:?}", *opinion.borrow());
    }
}

/// A command that says `text` and exits with `code`, once both are in `file`.
fn obedient(file: &Path) -> OwnCheck {
    OwnCheck::Exec(format!(
        "read code text < {}; echo $text; exit $code",
        file.display()
    ))
}

fn tell(file: &Path, answer: &str) {
    let fresh = file.with_extension("new");
    std::fs::write(&fresh, format!("{answer}\n")).expect("it is written");
    std::fs::rename(fresh, file).expect("it is replaced");
}

#[tokio::test]
async fn a_command_passes_with_0_warns_with_1_and_fails_with_all_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("answer");
    tell(&file, "0 fine");
    let mut opinion = start(obedient(&file), quick());

    until(&mut opinion, Opinion::Passes("fine".to_owned())).await;
    tell(&file, "2 disk full");
    until(&mut opinion, Opinion::Fails("disk full".to_owned())).await;
    tell(&file, "1 nearly full");
    until(
        &mut opinion,
        Opinion::Passes("warning: nearly full".to_owned()),
    )
    .await;
    tell(&file, "77");
    until(&mut opinion, Opinion::Fails("exit code 77".to_owned())).await;
}

#[tokio::test]
async fn a_command_that_hangs_is_a_failure() {
    let settings = Settings {
        timeout: Duration::from_millis(100),
        ..quick()
    };
    let check = OwnCheck::Exec("echo all is well; sleep 1000".to_owned());

    let mut opinion = start(check, settings);

    until(
        &mut opinion,
        Opinion::Fails("no end within 100ms".to_owned()),
    )
    .await;
}

#[tokio::test]
async fn another_reason_is_no_change_of_mind() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("answer");
    let count = directory.path().join("count");
    tell(&file, "2 first");
    let command = format!(
        "echo >> {}; read code text < {}; echo $text; exit $code",
        count.display(),
        file.display()
    );
    let runs = || std::fs::read(&count).map_or(0, |lines| lines.len());
    let mut opinion = start(OwnCheck::Exec(command), quick());
    until(&mut opinion, Opinion::Fails("first".to_owned())).await;

    tell(&file, "2 second");
    let seen = runs();
    let deadline = clock::now() + Duration::from_secs(60);
    while runs() < seen + 3 {
        assert!(clock::now() < deadline, "it is not run any more");
        sleep(Duration::from_millis(5)).await;
    }

    assert_eq!(*opinion.borrow(), Opinion::Fails("first".to_owned()));
}

#[tokio::test]
async fn rise_and_fall_count() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("answer");
    let count = directory.path().join("count");
    let command = format!(
        "echo >> {}; read code text < {}; exit $code",
        count.display(),
        file.display()
    );
    tell(&file, "0");
    let settings = Settings { fall: 3, ..quick() };
    let mut opinion = start(OwnCheck::Exec(command), settings);
    until(&mut opinion, Opinion::Passes("passed".to_owned())).await;

    let before = std::fs::read(&count).expect("it ran").len();
    tell(&file, "2");
    until(&mut opinion, Opinion::Fails("exit code 2".to_owned())).await;
    let after = std::fs::read(&count).expect("it ran").len();

    assert!(after >= before + 3, "failed after {} runs", after - before);
}

#[tokio::test]
async fn a_port_is_checked_as_a_front_would() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let mut opinion = start(
        OwnCheck::Network(CheckSpec::Tcp { port: Some(port) }),
        quick(),
    );
    until(&mut opinion, Opinion::Passes("connected".to_owned())).await;

    drop(listener);

    until(
        &mut opinion,
        Opinion::Fails("connection refused".to_owned()),
    )
    .await;
}

#[tokio::test]
async fn it_ends_when_nobody_wants_to_know() {
    let (sender, opinion) = watch::channel(Opinion::Unproven(String::new()));
    let address = SocketAddr::from(([127, 0, 0, 1], 9));
    let check = OwnCheck::Exec("true".to_owned());
    let watching = tokio::spawn(watch(check, address, quick(), sender));

    drop(opinion);

    let ended = tokio::time::timeout(Duration::from_secs(60), watching).await;
    assert!(ended.is_ok());
}
