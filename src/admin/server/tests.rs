use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::gossip::core::io::Stats;
use crate::gossip::core::member::Members;
use crate::shutdown;

struct Quiet;

impl Source for Quiet {
    fn node(&self) -> String {
        "front".to_owned()
    }
    fn members(&self) -> Arc<Members> {
        Arc::default()
    }
    async fn gossip(&self) -> Stats {
        Stats::default()
    }
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

/// The server under `limits`; it ends with the trigger.
async fn started(limits: Limits) -> (SocketAddr, shutdown::Trigger) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (trigger, shutdown) = shutdown::channel();
    tokio::spawn(serve_within(limits, listener, Arc::new(Quiet), shutdown));
    (address, trigger)
}

/// All that comes until the server closes; an endless wait is a failure.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut all))
        .await
        .expect("the server closes")
        // A reset is a close too.
        .ok();
    String::from_utf8(all).expect("text")
}

#[tokio::test]
async fn a_client_that_never_ends_its_head_is_let_go() {
    let limits = Limits {
        head: Duration::from_millis(50),
        ..Limits::default()
    };
    let (address, _trigger) = started(limits).await;

    let mut slow = TcpStream::connect(address).await.expect("connected");
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHos")
        .await
        .expect("sent");

    assert!(!until_closed(&mut slow).await.contains("200"));
}

#[tokio::test]
async fn a_client_that_sends_nothing_is_let_go() {
    let limits = Limits {
        head: Duration::from_millis(50),
        ..Limits::default()
    };
    let (address, _trigger) = started(limits).await;

    let mut silent = TcpStream::connect(address).await.expect("connected");

    assert_eq!(until_closed(&mut silent).await, "");
}

#[tokio::test]
async fn who_waits_for_a_place_gets_one_when_an_old_connection_ends() {
    let limits = Limits {
        connections: 1,
        life: Duration::from_millis(50),
        ..Limits::default()
    };
    let (address, _trigger) = started(limits).await;

    let mut first = TcpStream::connect(address).await.expect("connected");
    let mut second = TcpStream::connect(address).await.expect("queued");
    second
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await
        .expect("sent");

    assert!(until_closed(&mut second).await.ends_with("ok\n"));
    assert_eq!(until_closed(&mut first).await, "");
}

#[tokio::test]
async fn a_stop_ends_idle_connections() {
    let (address, trigger) = started(Limits::default()).await;
    let mut idle = TcpStream::connect(address).await.expect("connected");
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .expect("sent");
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");

    trigger.trigger();

    assert!(until_closed(&mut idle).await.ends_with("ok\n"));
}
