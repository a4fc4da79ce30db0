//! One page over HTTP/1, on a connection of its own: the status decides, the rest is taken for the server's sake.
//!
//! ```text
//! GET … ──▶ head, as it comes, up to its empty line ─▶ status, Rest ──finish──▶ body, until its end or 64 KiB
//! ```
//!
//! A client of its own rather than hyper's: an agent makes these checks, and hyper is a thirtieth of its size. Heads are
//! read by `httparse`, as hyper's are, so what is no answer there is none here.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::secure::Duplex;

/// Most that is read of an answer, in bytes; head and body each.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Fields of a head, at most.
const FIELDS_MAX: usize = 100;

/// Read at once, at least: most heads, without holding much for a check.
const READ_BYTES: usize = 1024;

/// What ends a chunked body.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It ended before the head did.
    #[error("closed without an answer")]
    Closed,
    /// The server speaks something else.
    #[error("not an HTTP answer: {0}")]
    Garbage(&'static str),
}

/// What is left of an answer behind its head.
pub(super) struct Rest {
    stream: Box<dyn Duplex>,
    /// The last bytes that came.
    tail: Vec<u8>,
    /// How many came behind the head.
    taken: u64,
    body: Body,
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Length(u64),
    Chunked,
    Close,
}

/// Asks for `path`; the answer's status, and what follows it. `host` and `path` must be fit for a request's head.
pub(super) async fn get(
    mut stream: Box<dyn Duplex>,
    host: &str,
    path: &str,
) -> Result<(u16, Rest), Unanswered> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: lb-check\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut bytes = Vec::new();
    loop {
        if let Some((status, body, length)) = head(&bytes).map_err(Unanswered::Garbage)? {
            bytes.drain(..length);
            let interim = (100..200).contains(&status) && status != 101;
            if !interim {
                let rest = Rest {
                    stream,
                    taken: bytes.len() as u64,
                    tail: bytes,
                    body,
                };
                return Ok((status, rest));
            }
            continue;
        }
        if bytes.len() >= ANSWER_BYTES_MAX {
            return Err(Unanswered::Garbage("its head is longer than 64 KiB"));
        }
        if read(&mut *stream, &mut bytes).await? == 0 {
            return Err(Unanswered::Closed);
        }
    }
}

impl Rest {
    /// Reads on for the server's sake, who may log a broken pipe otherwise.
    pub(super) async fn finish(mut self) {
        while !self.is_whole() && self.taken < ANSWER_BYTES_MAX as u64 {
            let superfluous = self.tail.len().saturating_sub(LAST_CHUNK.len());
            self.tail.drain(..superfluous);
            match read(&mut *self.stream, &mut self.tail).await {
                Ok(0) | Err(_) => return,
                Ok(came) => self.taken += came as u64,
            }
        }
    }

    fn is_whole(&self) -> bool {
        match self.body {
            Body::Length(length) => self.taken >= length,
            // Some body may look so in its middle; nothing but a broken pipe at the server comes of it.
            Body::Chunked => self.tail.ends_with(LAST_CHUNK),
            Body::Close => false,
        }
    }
}

async fn read(stream: &mut dyn Duplex, bytes: &mut Vec<u8>) -> io::Result<usize> {
    bytes.reserve(READ_BYTES);
    stream.read_buf(bytes).await
}

/// Status, body and length of the head that `bytes` begin with; `None` while it has no end.
fn head(bytes: &[u8]) -> Result<Option<(u16, Body, usize)>, &'static str> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(in_words(error)),
    };
    let status = response.code.unwrap_or_default();
    if status < 100 {
        return Err("invalid status");
    }
    let body = match status {
        101 | 204 | 304 => Body::Length(0),
        _ => body(response.headers)?,
    };
    Ok(Some((status, body, length)))
}

/// RFC 9112 §6.3: a coding wins over a length, and lengths agree.
fn body(fields: &[httparse::Header<'_>]) -> Result<Body, &'static str> {
    let mut coded = None;
    let mut length = None;
    for field in fields {
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            let last = field.value.trim_ascii_end();
            let last = &last[last.len().saturating_sub("chunked".len())..];
            coded = Some(last.eq_ignore_ascii_case(b"chunked"));
        } else if field.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(field.value).unwrap_or_default();
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let given = text.parse().ok().filter(|_| digits);
            if given.is_none() || length.is_some_and(|length| Some(length) != given) {
                return Err("invalid content-length");
            }
            length = given;
        }
    }
    Ok(match (coded, length) {
        (Some(true), _) => Body::Chunked,
        (Some(false), _) | (None, None) => Body::Close,
        (None, Some(length)) => Body::Length(length),
    })
}

fn in_words(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "invalid header name",
        httparse::Error::HeaderValue => "invalid header value",
        httparse::Error::NewLine => "invalid new line",
        httparse::Error::Status => "invalid status",
        httparse::Error::Token => "invalid token",
        httparse::Error::TooManyHeaders => "more than 100 fields",
        httparse::Error::Version => "invalid HTTP version",
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    fn body_of(text: &str) -> Result<Option<Body>, &'static str> {
        let head = head(text.as_bytes())?;
        Ok(head.map(|(_, body, _)| body))
    }

    #[test]
    fn a_head_says_where_its_body_ends() {
        for (fields, expected) in [
            ("", Ok(Body::Close)),
            ("content-length: 7\r\n", Ok(Body::Length(7))),
            (
                "Content-Length: 7\r\ncontent-length: 7\r\n",
                Ok(Body::Length(7)),
            ),
            ("Transfer-Encoding: gzip, Chunked \r\n", Ok(Body::Chunked)),
            (
                "content-length: 7\r\ntransfer-encoding: chunked\r\n",
                Ok(Body::Chunked),
            ),
            ("transfer-encoding: gzip\r\n", Ok(Body::Close)),
            ("content-length: +7\r\n", Err("invalid content-length")),
            ("content-length: \r\n", Err("invalid content-length")),
            (
                "content-length: 7\r\ncontent-length: 8\r\n",
                Err("invalid content-length"),
            ),
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");

            assert_eq!(body_of(&text), expected.map(Some), "{fields:?}");
        }
        for status in [204, 304] {
            let text = format!("HTTP/1.1 {status} x\r\ncontent-length: 7\r\n\r\n");
            assert_eq!(body_of(&text), Ok(Some(Body::Length(0))));
        }
    }

    #[test]
    fn half_a_head_is_awaited_and_what_is_none_is_not() {
        assert_eq!(body_of(""), Ok(None));
        assert_eq!(body_of("HTTP/1.1 200 OK\r\nx: y\r\n"), Ok(None));
        assert_eq!(body_of("HTTP/1.1 042 No\r\n\r\n"), Err("invalid status"));
        let many = "x: y\r\n".repeat(FIELDS_MAX + 1);
        assert_eq!(
            body_of(&format!("HTTP/1.1 200 OK\r\n{many}\r\n")),
            Err("more than 100 fields")
        );
    }

    #[tokio::test]
    async fn a_body_is_taken_to_its_end_and_no_further() {
        for (answer, then) in [
            ("content-length: 4\r\n\r\nbody", "not read"),
            (
                "transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
                "not read",
            ),
        ] {
            let (ours, mut server) = duplex(1 << 16);
            let text = format!("HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\n{answer}");
            // A byte at a time, so that every place of the head is once its end.
            let serve = async {
                for byte in text.bytes() {
                    server.write_all(&[byte]).await.unwrap();
                    tokio::task::yield_now().await;
                }
                server
            };

            let (asked, mut server) = tokio::join!(get(Box::new(ours), "a", "/"), serve);
            let (status, rest) = asked.unwrap();
            // The server keeps the connection open, so this ends by the body alone.
            rest.finish().await;

            assert_eq!(status, 200);
            assert!(server.write_all(then.as_bytes()).await.is_err(), "closed");
        }
    }
}
