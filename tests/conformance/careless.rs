//! The control for answers over HTTP/2: a gateway that writes down whatever frames say, and obeys no rule.
//!
//! ```text
//! client ──HTTP/1──▶ one request ──HEADERS, DATA──▶ backend
//!        ◀── a status line, its fields, chunks ◀── HEADERS, DATA of any stream; any end is a good one
//! ```

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::frames::{self, DATA, END_STREAM, Frame, HEADERS, PREFACE};
use crate::hpack::Decoder;
use crate::wire::{self, Message, Tail, What};

/// Listens; its threads end with the process.
pub(crate) fn gateway(listen: SocketAddr, backend: SocketAddr) {
    let listener = TcpListener::bind(listen).expect("the port is free");
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || {
                // Whoever has gone is no fault of this one.
                let _ = serve(&client, backend);
            });
        }
    });
}

fn serve(mut client: &TcpStream, backend: SocketAddr) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let request = loop {
        if let Ok(Some((request, _))) = wire::read(&bytes, What::Request, Tail::More) {
            break request;
        }
        if !more(client, &mut bytes)? {
            return Ok(());
        }
    };
    let server = TcpStream::connect(backend)?;
    (&server).write_all(&translated(&request))?;
    let mut answer = Answer::default();
    let mut bytes = Vec::new();
    while more(&server, &mut bytes).unwrap_or(false) {
        while let Some((frame, length)) = frames::first(&bytes) {
            bytes.drain(..length);
            client.write_all(&answer.take(&frame))?;
            if answer.ended {
                return Ok(());
            }
        }
    }
    client.write_all(b"0\r\n\r\n")
}

/// False at the end.
fn more(mut stream: &TcpStream, bytes: &mut Vec<u8>) -> std::io::Result<bool> {
    let mut chunk = [0; 64 * 1024];
    let count = stream.read(&mut chunk)?;
    bytes.extend_from_slice(&chunk[..count]);
    Ok(count > 0)
}

fn translated(request: &Message) -> Vec<u8> {
    let mut fields = frames::pseudo(request.word(0), request.word(1));
    let own = |name: &str| !name.eq_ignore_ascii_case("host");
    let names: Vec<String> = request
        .fields
        .iter()
        .map(|(name, _)| name.to_lowercase())
        .collect();
    let lines = names.iter().zip(&request.fields);
    fields.extend(
        lines
            .filter(|(name, _)| own(name))
            .map(|(name, (_, value))| (name.as_str(), value.as_str())),
    );
    [
        PREFACE,
        &frames::settings(&[]),
        &frames::headers(1, &fields, false),
        &frames::data(1, &request.body, true),
    ]
    .concat()
}

/// What was written of it.
#[derive(Default)]
struct Answer {
    decoder: Decoder,
    begun: bool,
    ended: bool,
}

impl Answer {
    fn take(&mut self, frame: &Frame) -> Vec<u8> {
        let mut out = Vec::new();
        match frame.kind {
            HEADERS => {
                // As far as it goes.
                let fields = self.decoder.read(&frame.payload).unwrap_or_default();
                if !self.begun {
                    out.extend(b"HTTP/1.1 200 OK\r\n");
                    for (name, value) in &fields {
                        let line = format!("{}: {value}\r\n", name.trim_start_matches(':'));
                        out.extend(line.chars().map(|letter| letter as u8));
                    }
                    out.extend(b"transfer-encoding: chunked\r\n\r\n");
                }
                self.begun = true;
            }
            DATA if !frame.payload.is_empty() => {
                if !self.begun {
                    out.extend(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
                    self.begun = true;
                }
                out.extend(format!("{:x}\r\n", frame.payload.len()).bytes());
                out.extend_from_slice(&frame.payload);
                out.extend(b"\r\n");
            }
            _ => {}
        }
        if matches!(frame.kind, HEADERS | DATA) && frame.has(END_STREAM) {
            out.extend(b"0\r\n\r\n");
            self.ended = true;
        }
        out
    }
}
