//! A client that speaks HTTP/2 within TLS.

use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use lb::tls::client::{Client, Inside};

use crate::DEADLINE;

/// One connection; it ends with this.
pub(crate) struct Streams {
    name: &'static str,
    sender: h2::client::SendRequest<Bytes>,
    /// Last: what drives the connection.
    runtime: tokio::runtime::Runtime,
}

impl Streams {
    /// After its handshake, by which HTTP/2 was agreed on.
    pub(crate) fn connect(address: SocketAddr, client: &Client, name: &'static str) -> Self {
        let socket = TcpStream::connect(address).expect("the front listens");
        Self::over(socket, client, name)
    }

    /// The same on a connection on which something may have been said in clear.
    pub(crate) fn over(socket: TcpStream, client: &Client, name: &'static str) -> Self {
        socket.set_nonblocking(true).expect("set");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let connected = async {
            let socket = tokio::net::TcpStream::from_std(socket).expect("a socket");
            let shaken = client.shake(socket, name, Inside::Http2).await;
            let stream = shaken.expect("agreed on HTTP/2");
            let opened = h2::client::handshake(stream).await;
            let (sender, connection) = opened.expect("HTTP/2");
            tokio::spawn(async {
                let _ = connection.await;
            });
            sender
        };
        let sender = runtime.block_on(async {
            let limited = tokio::time::timeout(DEADLINE, connected).await;
            limited.expect("a connection in time")
        });
        Self {
            name,
            sender,
            runtime,
        }
    }

    /// Status and body of a GET with these fields.
    pub(crate) fn get(&mut self, path: &str, fields: &[(&str, &str)]) -> (u16, Bytes) {
        let mut request = http::Request::get(format!("https://{}{path}", self.name));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let sender = self.sender.clone();
        let asked = async {
            let mut sender = sender.ready().await.expect("the connection is there");
            let (answer, _) = sender.send_request(request, true).expect("sent");
            let (head, mut body) = answer.await.expect("an answer").into_parts();
            let mut whole = Vec::new();
            while let Some(piece) = body.data().await {
                let piece = piece.expect("all of it");
                let flow = body.flow_control();
                flow.release_capacity(piece.len()).expect("it was taken");
                whole.extend_from_slice(&piece);
            }
            (head.status.as_u16(), whole.into())
        };
        self.runtime.block_on(async {
            let limited = tokio::time::timeout(DEADLINE, asked).await;
            limited.expect("an answer in time")
        })
    }
}
