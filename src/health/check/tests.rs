use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

use super::*;
use crate::proxy_header::Version;

/// Long enough that it never ends a check that should pass.
fn patient() -> Settings {
    Settings {
        timeout: Duration::from_secs(20),
        ..Settings::default()
    }
}

fn patient_but(timeout: Duration) -> Settings {
    Settings {
        timeout,
        ..patient()
    }
}

/// Answers one connection with `answer`, and yields what it was asked.
async fn server(answer: &'static [u8]) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut asked).await.unwrap_or(0) == 0 {
                break;
            }
        }
        // The check may have seen enough and closed.
        let _ = stream.write_all(answer).await;
        String::from_utf8(asked).unwrap()
    });
    (address, served)
}

async fn checked(address: SocketAddr, text: &str, settings: &Settings) -> Seen {
    check(address, &text.parse().unwrap(), None, settings, None).await
}

async fn answered(answer: &'static [u8]) -> Result<String, String> {
    let (address, _) = server(answer).await;
    let seen = checked(address, "http:/", &patient()).await;
    assert!(!seen.timed_out);
    seen.result
}

/// A port where nobody listens, taken while the socket lives.
fn closed() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[tokio::test]
async fn any_status_below_500_passes_and_a_wrong_path_is_hinted_at() {
    for (answer, expected) in [
        (
            &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..],
            Ok("200"),
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Ok("204")),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", Ok("200")),
        (
            b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
            Ok("302"),
        ),
        (
            b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
            Ok("404: is the check path right?"),
        ),
        (b"HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n", Ok("429")),
        (
            b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            Ok("200"),
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut short",
            Ok("200"),
        ),
        (
            b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
            Err("answered 503"),
        ),
        (b"", Err("closed without an answer")),
        (b"HTTP/1.1 20", Err("closed without an answer")),
    ] {
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(answered(answer).await, expected);
    }
}

#[tokio::test]
async fn garbage_is_no_answer() {
    let reason = answered(b"SSH-2.0-OpenSSH_9.2\r\n").await.unwrap_err();

    assert!(reason.starts_with("not an HTTP answer: "), "{reason}");
}

#[tokio::test]
async fn a_head_or_body_without_end_is_not_read_to_the_end() {
    static BODY: [u8; 1 << 20] = [b'x'; 1 << 20];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    for (start, passes) in [
        (&b"HTTP/1.1 200 OK\r\n\r\n"[..], true),
        (b"HTTP/1.1 200 OK\r\nX: ", false),
    ] {
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 1024];
            let _ = stream.read(&mut asked).await;
            let _ = stream.write_all(start).await;
            // Ends with the check's closing only.
            while stream.write_all(&BODY).await.is_ok() {}
        };
        let settings = patient();

        let (seen, ()) = tokio::join!(checked(address, "http:/", &settings), serve);

        assert!(!seen.timed_out);
        assert_eq!(seen.result.is_ok(), passes, "{:?}", seen.result);
    }
}

#[tokio::test]
async fn the_request_says_who_asks_and_for_what() {
    let (address, served) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    checked(address, "http:/health?deep=1", &patient()).await;
    let asked = served.await.unwrap();
    assert_eq!(
        asked,
        format!(
            "GET /health?deep=1 HTTP/1.1\r\nhost: {address}\r\nuser-agent: lb-check\r\nconnection: close\r\n\r\n"
        )
    );

    let (address, served) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let settings = Settings {
        host: Some("example.com".to_owned()),
        ..patient()
    };
    checked(address, "http:/", &settings).await;
    let asked = served.await.unwrap();
    assert!(asked.contains("host: example.com\r\n"), "{asked}");
}

#[tokio::test]
async fn another_port_can_be_checked() {
    let (_closed, service) = closed();
    let checking = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = checking.local_addr().unwrap().port();

    let seen = checked(service, &format!("tcp:{port}"), &patient()).await;

    assert_eq!(seen.result, Ok("connected".to_owned()));
}

#[tokio::test]
async fn a_closed_port_is_refused_in_plain_words() {
    for text in ["tcp", "http:/"] {
        let (_closed, address) = closed();
        let seen = checked(address, text, &patient()).await;

        assert_eq!(seen.result, Err("connection refused".to_owned()));
        assert!(!seen.timed_out);
    }
}

#[tokio::test]
async fn silence_is_a_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = Settings {
        timeout: Duration::from_millis(50),
        ..Settings::default()
    };

    let seen = checked(silent.local_addr().unwrap(), "http:/", &settings).await;

    assert_eq!(seen.result, Err("no answer within 50ms".to_owned()));
    assert!(seen.timed_out);
}

#[tokio::test]
async fn a_slow_body_does_not_undo_a_good_status() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings = Settings {
        timeout: Duration::from_millis(300),
        ..Settings::default()
    };
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
        stream.write_all(head).await.unwrap();
        stream
    };

    let (seen, _stream) = tokio::join!(checked(address, "http:/", &settings), serve);

    assert_eq!(seen.result, Ok("200".to_owned()));
}

#[tokio::test]
async fn checks_that_are_not_made_here_say_so() {
    for (text, why) in [
        ("https:/", "use http: or tcp:"),
        ("grpc", "made by fronts only"),
    ] {
        let (_closed, address) = closed();
        let seen = checked(address, text, &patient()).await;

        let reason = seen.result.unwrap_err();
        assert!(reason.ends_with(why), "{reason}");
    }
}

#[test]
fn the_host_is_written_as_a_browser_does() {
    for (address, expected) in [
        ("10.0.0.1:80", "10.0.0.1"),
        ("10.0.0.1:8080", "10.0.0.1:8080"),
        ("[::1]:80", "[::1]"),
        ("[fe80::1%3]:8080", "[fe80::1]:8080"),
    ] {
        assert_eq!(authority(address.parse().unwrap(), 80), expected);
    }
}

#[tokio::test]
async fn a_question_that_was_lost_is_asked_again_on_another_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings = patient_but(Duration::from_secs(2));
    let serve = async {
        let (lost, _) = listener.accept().await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        lost
    };

    let (seen, _lost) = tokio::join!(checked(address, "http:/", &settings), serve);

    assert_eq!(seen.result, Ok("200".to_owned()));
}

#[tokio::test]
async fn a_server_that_hangs_is_asked_twice_and_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings = patient_but(Duration::from_millis(300));

    let seen = checked(address, "http:/", &settings).await;

    assert!(seen.timed_out);
    let mut asked = 0;
    while timeout(Duration::from_millis(100), listener.accept())
        .await
        .is_ok()
    {
        asked += 1;
    }
    assert_eq!(asked, 2);
}

#[tokio::test]
async fn a_dial_that_overtakes_an_earlier_one_shows_that_packets_are_lost() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    // Its queue is full, so that the kernel drops the first dial.
    let _queued = TcpStream::connect(address).await.unwrap();
    let settings = patient_but(Duration::from_millis(900));
    let makes_room = async { (listener.accept().await, listener.accept().await) };

    let (seen, _streams) = tokio::join!(checked(address, "tcp", &settings), makes_room);

    assert_eq!(seen.result, Ok("connected".to_owned()));
    assert!(seen.lost);
    let (seen, _stream) = tokio::join!(checked(address, "tcp", &settings), listener.accept());
    assert!(!seen.lost);
}

#[tokio::test]
async fn a_service_that_wants_a_proxy_header_hears_that_nobody_is_behind_the_check() {
    for version in [Version::V1, Version::V2] {
        let settings = Settings {
            send_proxy: Some(version),
            ..patient()
        };
        let (address, asked) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;

        let seen = checked(address, "http:/", &settings).await;

        assert_eq!(seen.result, Ok("200".to_owned()));
        let header = String::from_utf8_lossy(proxy_header::own(version));
        let asked = asked.await.unwrap();
        let request = asked.strip_prefix(&*header);
        assert!(
            request.is_some_and(|request| request.starts_with("GET / HTTP/1.1\r\n")),
            "{asked:?}"
        );
    }
}

#[tokio::test]
async fn a_port_of_its_own_hears_no_proxy_header() {
    let settings = Settings {
        send_proxy: Some(Version::V1),
        ..patient()
    };
    let (address, asked) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let (_closed, service) = closed();

    let seen = checked(service, &format!("http:{}/", address.port()), &settings).await;

    assert_eq!(seen.result, Ok("200".to_owned()));
    assert!(asked.await.unwrap().starts_with("GET / HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_connect_says_the_proxy_header_and_closes() {
    let settings = Settings {
        send_proxy: Some(Version::V1),
        ..patient()
    };
    let (address, asked) = server(b"").await;

    let seen = checked(address, "tcp", &settings).await;

    assert_eq!(seen.result, Ok("connected".to_owned()));
    assert_eq!(asked.await.unwrap(), "PROXY UNKNOWN\r\n");
}
