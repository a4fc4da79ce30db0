//! What a directory does with good files, bad ones and other owners.

use std::fs;

use super::*;
use crate::announce::CheckSpec;
use crate::gossip::core::member::{Member, Status};
use crate::gossip::core::serf::tags::Encoded;
use crate::pool::spec::{Standing, UpstreamId};

const MACHINE: Option<&str> = Some("0123456789abcdef0123456789abcdef");

async fn open(root: &Path, machine: Option<&str>) -> Arc<State> {
    State::open(root, "web1", machine.map(str::to_owned))
        .await
        .expect("nobody else has it")
        .expect("it can be written")
}

fn members(all: &[(&str, &str, Status)]) -> Arc<Members> {
    let member = |index: usize, (name, address, status): &(&str, &str, Status)| Member {
        name: (*name).into(),
        address: address.parse().unwrap(),
        tags: Encoded::default(),
        status: *status,
        suspect: false,
        incarnation: 1,
        joined: index as u64,
        since: clock::now(),
        versions: [1, 5, 2, 2, 5, 4],
    };
    let by_name = all
        .iter()
        .enumerate()
        .map(|(index, one)| Arc::new(member(index, one)))
        .collect();
    Arc::new(Members {
        generation: 1,
        by_name,
    })
}

fn spec(node: &str, check: Option<CheckSpec>) -> Spec {
    Spec {
        id: UpstreamId {
            node: node.into(),
            service: "web".into(),
        },
        address: "[fd00::1]:8080".parse().unwrap(),
        weight: 7,
        tier: 2,
        backup: true,
        check,
        proto: Some(crate::announce::Proto::Http),
        announced: crate::announce::State::Ready,
        standing: Standing::Saved,
        joined: 3,
        unusable: None,
        warnings: Vec::new(),
    }
}

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Saves, and ends as a process does.
async fn save_and_end(state: Arc<State>, members: Arc<Members>) {
    state.save_peers(members, "web1");
    state.flush().await;
    drop(state);
}

/// Three members, two of them alive beside us.
fn three() -> Arc<Members> {
    members(&[
        ("web1", "10.0.0.1:7946", Status::Alive),
        ("web2", "10.0.0.2:7946", Status::Alive),
        ("bad\nend 0", "10.0.0.3:7946", Status::Alive),
        ("gone", "10.0.0.4:7946", Status::Failed),
    ])
}

#[tokio::test]
async fn who_was_alive_is_found_again_last_joined_first() {
    let root = tempfile::tempdir().unwrap();

    save_and_end(open(root.path(), MACHINE).await, three()).await;

    let state = open(root.path(), MACHINE).await;
    assert_eq!(
        state.peers(),
        addresses(&["10.0.0.3:7946", "10.0.0.2:7946"])
    );
}

#[tokio::test]
async fn a_member_that_is_cut_off_forgets_nobody() {
    let root = tempfile::tempdir().unwrap();
    save_and_end(open(root.path(), MACHINE).await, three()).await;

    let alone = members(&[
        ("web1", "10.0.0.1:7946", Status::Alive),
        ("web2", "10.0.0.2:7946", Status::Failed),
    ]);
    save_and_end(open(root.path(), MACHINE).await, alone).await;

    assert_eq!(open(root.path(), MACHINE).await.peers().len(), 2);
}

#[tokio::test]
async fn a_second_crash_still_finds_those_that_were_not_met_yet() {
    let root = tempfile::tempdir().unwrap();
    save_and_end(open(root.path(), MACHINE).await, three()).await;

    let first = members(&[
        ("web2", "10.0.0.2:7946", Status::Alive),
        ("web9", "10.0.0.9:7946", Status::Alive),
    ]);
    save_and_end(open(root.path(), MACHINE).await, first).await;

    assert_eq!(
        open(root.path(), MACHINE).await.peers(),
        addresses(&["10.0.0.9:7946", "10.0.0.2:7946", "10.0.0.3:7946"])
    );
}

#[tokio::test]
async fn a_cloned_image_does_not_know_the_original_s_peers() {
    let root = tempfile::tempdir().unwrap();
    let state = open(root.path(), MACHINE).await;
    state.save_backends(BTreeMap::from([("web".to_owned(), vec![spec("a", None)])]));
    save_and_end(state, three()).await;

    let state = open(root.path(), Some("fedcba9876543210fedcba9876543210")).await;

    assert_eq!(state.peers(), []);
    assert_eq!(state.backends(), BTreeMap::new());
    drop(state);
    assert_eq!(open(root.path(), None).await.peers().len(), 2, "unknown");
    assert_eq!(open(root.path(), MACHINE).await.peers().len(), 2, "same");
}

#[tokio::test]
async fn backends_come_back_as_they_were() {
    let root = tempfile::tempdir().unwrap();
    let check: CheckSpec = "http:81/health".parse().unwrap();
    let pools = BTreeMap::from([
        (
            "web".to_owned(),
            vec![spec("a", Some(check)), spec("b", None)],
        ),
        ("empty".to_owned(), Vec::new()),
    ]);
    let state = open(root.path(), None).await;

    state.save_backends(pools.clone());
    state.flush().await;

    assert_eq!(state.backends(), pools);
}

#[tokio::test]
async fn bad_files_are_set_aside_and_do_no_harm() {
    let good = "lb peers 1\nmachine -\n10.0.0.2:7946 web2\nend 1\n";
    let backend = r#"{"node":"a","address":"10.0.0.1:80","weight":1,"tier":0,"backup":false,"check":null,"proto":null,"joined":1}"#;
    let pools =
        |backend: &str| format!(r#"{{"version":1,"machine":null,"pools":{{"web":[{backend}]}}}}"#);
    let whole = pools(backend);
    for (name, text) in [
        (PEERS, String::new()),
        (PEERS, "\u{0}".repeat(4096)),
        (PEERS, good[..good.len() - 6].to_owned()),
        (PEERS, good.replace("end 1", "end 2")),
        (PEERS, good.replace("10.0.0.2", "10.0.0.256")),
        (PEERS, good.replace("peers 1", "peers 2")),
        (BACKENDS, whole[..whole.len() / 2].to_owned()),
        (BACKENDS, whole.replace("\"version\":1", "\"version\":2")),
        (
            BACKENDS,
            pools(&backend.replace("\"weight\":1", "\"weight\":0")),
        ),
        (BACKENDS, pools(&backend.replace(":80", ":0"))),
        (
            BACKENDS,
            pools(&backend.replace("\"check\":null", "\"check\":\"x\"")),
        ),
        (
            BACKENDS,
            pools(&backend.replace("\"proto\":null", "\"proto\":\"x\"")),
        ),
    ] {
        let root = tempfile::tempdir().unwrap();
        let node = root.path().join("web1");
        fs::create_dir(&node).unwrap();
        fs::write(node.join(name), &text).unwrap();

        let state = open(root.path(), MACHINE).await;

        assert_eq!(state.peers(), [], "{text}");
        assert_eq!(state.backends(), BTreeMap::new(), "{text}");
        let bad = node.join(format!("{name}.bad"));
        assert_eq!(fs::read_to_string(bad).unwrap(), text);
        assert!(!node.join(name).exists());
    }
    // The good ones are, or the above would prove nothing.
    assert!(peers::parse(good).is_ok() && backends::parse(&whole).is_ok());
}

#[tokio::test]
async fn bytes_that_are_no_text_are_a_bad_file_too() {
    let root = tempfile::tempdir().unwrap();
    let node = root.path().join("web1");
    fs::create_dir(&node).unwrap();
    fs::write(node.join(PEERS), [0xff, 0xfe, 0]).unwrap();

    assert_eq!(open(root.path(), MACHINE).await.peers(), []);

    assert!(node.join("peers.snapshot.bad").exists());
}

#[tokio::test]
async fn a_place_that_can_t_be_written_is_done_without() {
    let file = tempfile::NamedTempFile::new().unwrap();

    let state = State::open(file.path(), "web1", None).await;

    assert!(matches!(state, Ok(None)), "{state:?}");
}

#[tokio::test]
async fn a_write_that_fails_leaves_the_old_file() {
    let root = tempfile::tempdir().unwrap();
    save_and_end(open(root.path(), MACHINE).await, three()).await;
    // Where the new file would be made there is a directory.
    fs::create_dir(root.path().join("web1/peers.snapshot.tmp")).unwrap();

    let other = members(&[("web7", "10.0.0.7:7946", Status::Alive)]);
    save_and_end(open(root.path(), MACHINE).await, other).await;

    assert_eq!(
        open(root.path(), MACHINE).await.peers(),
        addresses(&["10.0.0.3:7946", "10.0.0.2:7946"])
    );
}

#[tokio::test]
async fn a_directory_has_one_owner_at_a_time_and_nodes_have_their_own() {
    let root = tempfile::tempdir().unwrap();
    let first = open(root.path(), None).await;

    let taken = file::lock(&root.path().join("web1")).expect_err("it is taken");
    assert_eq!(taken.kind(), io::ErrorKind::WouldBlock);
    let other = State::open(root.path(), "web2", None).await;
    assert!(matches!(other, Ok(Some(_))));
    // A restart waits for its predecessor.
    let (second, ()) = tokio::join!(open(root.path(), None), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(first);
    });
    assert_eq!(second.peers(), []);
}

#[tokio::test]
async fn files_are_their_owner_s_alone() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();

    save_and_end(open(root.path(), MACHINE).await, three()).await;

    for (path, mode) in [("web1", 0o700), ("web1/peers.snapshot", 0o600)] {
        let found = fs::metadata(root.path().join(path)).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, mode, "{path}");
    }
}

#[test]
fn a_node_s_directory_is_never_another_place() {
    for (node, expected) in [
        ("web1", "web1"),
        ("a.b-c_d", "a.b-c_d"),
        ("..", "%2E."),
        ("../../etc", "%2E.%2F..%2Fetc"),
        ("a/b", "a%2Fb"),
        ("a%2Fb", "a%252Fb"),
    ] {
        assert_eq!(file_name(node), expected);
    }
}

#[tokio::test]
async fn keys_are_found_again_and_only_we_can_read_them() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let one = "MDEyMzQ1Njc4OWFiY2RlZg==";
    let ring = Keyring::parse(&format!(
        "tDtuy7Kl/mktI0I4uxaNMixEdCC/vnjmNNEC8BHRjxw=\n{one}"
    ))
    .unwrap();
    let state = open(root.path(), MACHINE).await;
    assert_eq!(state.keyring(), None);
    state.save_keyring(Keyring::parse(one).unwrap());
    state.save_keyring(ring.clone());
    state.flush().await;
    let file = state.keyring_file();

    assert_eq!(state.keyring(), Some(ring));
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::write(&file, format!("[\"{one}\"")).unwrap();
    assert_eq!(state.keyring(), None, "cut off");
    assert!(!file.exists(), "set aside");
}

#[tokio::test]
async fn a_directory_is_taken_over_with_its_lock_and_one_writes() {
    let root = tempfile::tempdir().unwrap();
    let old = open(root.path(), None).await;
    let pools = |node: &str| BTreeMap::from([("web".to_owned(), vec![spec(node, None)])]);
    let inherit = |node: &str| State::inherit(root.path(), node, None, old.lock().unwrap());
    assert!(inherit("web2").is_none(), "another directory");
    let new = inherit("web1").expect("the same one");

    new.save_backends(pools("early"));
    new.flush().await;
    assert_eq!(new.backends(), BTreeMap::new(), "it is not its own yet");
    old.disown();
    new.own();
    new.save_backends(pools("new"));
    new.flush().await;
    old.save_backends(pools("old"));
    old.flush().await;
    drop(old);

    assert_eq!(new.backends(), pools("new"));
    let taken = file::lock(&root.path().join("web1")).expect_err("the lock went along");
    assert_eq!(taken.kind(), io::ErrorKind::WouldBlock);
}
