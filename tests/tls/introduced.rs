//! PROXY headers beside TLS, at either end, and TLS that passes through a relay.
//!
//! ```text
//! header, then TLS ─▶ Front ─▶ header, then TLS ─▶ Introduced (answers with the header that it got)
//! ```

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use lb::announce::Proto;
use lb::pool::{hop, queue};
use lb::proxy::stats::Unheaded;
use lb::proxy::{Mode, Routes, Settings};
use lb::proxy_header::{self, Version};
use lb::tls::certificate::Files;
use lb::tls::client;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::authority::Authority;
use crate::backend::{self, Backend};
use crate::client::{Client, config};
use crate::common::eventually;
use crate::front::{self, Front, spec};
use crate::peer::Peer;
use crate::streams::Streams;
use crate::toy::{Then, Toy};
use crate::{DEADLINE, agreed, run, settings, tls, until};

/// A backend that wants a PROXY header of version 1, in clear and first of all; its threads end with the process.
fn introduced(files: Option<&Files>, proto: Proto) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    listener.set_nonblocking(true).expect("set");
    let acceptor = files.map(|files| {
        let mut config = rustls::ServerConfig::clone(&backend::config(files, None));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        tokio_rustls::TlsAcceptor::from(Arc::new(config))
    });
    thread::spawn(move || {
        front::run(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            loop {
                let (mut socket, _) = listener.accept().await.expect("a connection");
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let header = line(&mut socket).await?;
                    match acceptor {
                        None => serve(socket, proto, header).await,
                        Some(acceptor) => {
                            let stream = acceptor.accept(socket).await.ok()?;
                            serve(stream, proto, header).await
                        }
                    }
                });
            }
        })
    });
    address
}

/// Byte by byte: what follows is somebody else's.
async fn line(socket: &mut tokio::net::TcpStream) -> Option<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(socket.read_u8().await.ok()?);
    }
    String::from_utf8(line).ok()
}

async fn serve<S>(mut stream: S, proto: Proto, header: String) -> Option<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let header = header.trim_end().to_owned();
    if !proto.is_multiplexed() {
        loop {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.ok()?);
            }
            let length = header.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{header}");
            stream.write_all(answer.as_bytes()).await.ok()?;
            stream.flush().await.ok()?;
        }
    }
    let mut connection = h2::server::handshake(stream).await.ok()?;
    while let Some(request) = connection.accept().await {
        let (_, mut respond) = request.ok()?;
        let head = http::Response::builder().header("content-length", header.len());
        let head = head.body(()).expect("a head");
        let mut body = respond.send_response(head, false).ok()?;
        let header = Bytes::from(header.clone());
        body.send_data(header, true).ok()?;
    }
    Some(())
}

/// A listener as `settings` say, before one backend.
fn before(settings: Settings, authority: &Authority, address: SocketAddr, proto: Proto) -> Front {
    let mut spec = spec(address, 1, false);
    spec.proto = Some(proto);
    let trusting = client::Settings {
        ca: Some(authority.file()),
        ..client::Settings::default()
    };
    let client = client::Client::load(trusting).unwrap_or_else(|problems| panic!("{problems:?}"));
    let client = Arc::new(client);
    let limits = queue::Settings::default();
    let mut front = Front::routed(settings, vec![spec], limits, None, |pools| Routes {
        pools,
        tls: BTreeMap::from([("web".into(), client)]),
    });
    front.all_up();
    front
}

fn sending(version: Version) -> hop::Settings {
    hop::Settings {
        send_proxy: Some(version),
        ..hop::Settings::default()
    }
}

#[test]
fn on_a_listener_with_both_the_header_comes_before_the_handshake() {
    let authority = Authority::new();
    let toy = Toy::scripted(|request, _, peer| {
        let said = ["x-forwarded-for", "x-forwarded-proto"];
        let said = said.map(|name| request.field(name).unwrap_or("-").to_owned());
        crate::toy::answer(peer, request, &said.join(" "));
        Then::Keep
    });
    let mut settings = settings(agreed::both(&authority));
    settings.listeners[0].proxy_protocol = Some(vec!["127.0.0.0/8".parse().expect("a network")]);
    let front = Front::with(settings, &[&toy]);

    for version in [Version::V1, Version::V2] {
        let [source, destination] = ["192.0.2.7:4711", "198.51.100.1:443"]
            .map(|address| address.parse().expect("an address"));
        let told = || {
            let mut socket = TcpStream::connect(front.address).expect("it listens");
            let header = proxy_header::write(version, source, destination);
            socket.write_all(&header).expect("sent");
            socket
        };

        let mut messages =
            Client::shake(told(), &config(&authority), "a.example").expect("a handshake");
        assert_eq!(messages.get("/").text(), "192.0.2.7 https", "{version}");
        let client = agreed::client(&authority, false);
        let (_, body) = Streams::over(told(), &client, "a.example").get("/", &[]);
        assert_eq!(&body[..], b"192.0.2.7 https", "{version}");
    }

    let bare = Client::try_connect(front.address, &config(&authority), "a.example");
    assert!(bare.is_err(), "a handshake is no header");
    until("it is counted", || {
        front.stats().unheaded[Unheaded::Malformed as usize] == 1
    });
    assert_eq!(toy.count(), 4);
}

#[test]
fn to_a_backend_that_speaks_tls_the_header_goes_before_the_handshake() {
    let authority = Authority::new();
    let files = authority.issue("b", &["127.0.0.1"]);
    let address = introduced(Some(&files), Proto::Https);
    let mut front = before(front::settings(), &authority, address, Proto::Https);
    front.hop(sending(Version::V1));
    let mut clients = [front.client(), front.client()];

    for _ in 0..2 {
        for client in &mut clients {
            let own = client.stream().local_addr().expect("an address");
            let header = proxy_header::write(Version::V1, own, front.address);
            let header = String::from_utf8(header).expect("text");
            assert_eq!(client.get("/").text(), header.trim_end());
        }
    }
}

/// Their connections are for all clients, so the header says that it is for none; those are told by X-Forwarded-For.
#[test]
fn to_a_backend_of_http_2_the_header_names_no_client() {
    let authority = Authority::new();
    let files = authority.issue("b", &["127.0.0.1"]);
    for (proto, files) in [(Proto::H2, Some(&files)), (Proto::H2c, None)] {
        let address = introduced(files, proto);
        let mut front = before(front::settings(), &authority, address, proto);
        front.hop(sending(Version::V1));

        for _ in 0..2 {
            let mut client: Peer = front.client();
            assert_eq!(client.get("/").text(), "PROXY UNKNOWN", "{proto}");
        }
    }
}

#[test]
fn a_relay_in_clear_passes_its_clients_tls_to_backends_that_speak_it() {
    let authority = Authority::new();
    let backend = Backend::named(&authority.issue("b", &["b.example"]), None, "one");
    let mut settings = front::settings();
    settings.listeners[0].mode = Mode::Tcp;
    let front = before(settings, &authority, backend.address, Proto::Https);

    // It is the backend's certificate that the client sees, and the backend that hears the name.
    let mut client = Client::connect(front.address, &config(&authority), "b.example");
    assert_eq!(client.get("/").text(), "one");

    let asked: Vec<_> = backend
        .handshakes()
        .into_iter()
        .map(|(_, name)| name)
        .collect();
    assert_eq!(asked, [Some("b.example".to_owned())]);
}

#[test]
fn a_relay_that_ends_tls_begins_it_anew_where_its_pool_speaks_it() {
    let authority = Authority::new();
    let backend = Backend::named(&authority.issue("b", &["127.0.0.1"]), None, "one");
    let mut settings = settings(tls(vec![authority.issue("a", &["a.example"])]));
    settings.listeners[0].mode = Mode::Tcp;
    let front = before(settings, &authority, backend.address, Proto::Https);

    let mut client = Client::connect(front.address, &config(&authority), "a.example");
    assert_eq!(client.get("/").text(), "one");

    assert_eq!(backend.handshakes().len(), 1);
    assert_eq!(backend.failed(), 0);
}

/// Checks begin as requests do, or such a backend would never be in rotation.
#[test]
fn checks_of_backends_that_speak_tls_begin_with_a_header_too() {
    let authority = Authority::new();
    let files = authority.issue("b", &["127.0.0.1"]);
    for proto in [Proto::Https, Proto::H2] {
        let address = introduced(Some(&files), proto);
        let site = run::Site::new(&authority, address, "");
        site.write(&authority.issue("a", &["a.example"]));
        site.add(&format!(
            "[cluster.web]\nproto = \"{proto}\"\nsend_proxy = \"v1\"\n[cluster.web.check]\ntimeout = \"10s\"\n[cluster.web.tls]\nca = \"{}\"\n",
            authority.file().display(),
        ));
        let logs = tempfile::tempdir().expect("a directory");
        let _front = site.start(logs.path());

        eventually("it is in rotation", DEADLINE, || {
            site.shown(&authority, "a.example")
        });
        let pools = run::get(site.admin, "/api/v1/pools").expect("an answer");
        assert!(pools.contains("\"check https:/ passed: 200\""), "{pools}");
    }
}
