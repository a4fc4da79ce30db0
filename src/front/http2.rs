//! Checks over HTTP/2: a page, or the gRPC health protocol.
//!
//! ```text
//! Question ─▶ connection (turned in the task that waits on it) ─▶ HEADERS, DATA ─▶ judge ─▶ seen, or why not
//! ```
//!
//! Sources: `grpc.health.v1` (health.proto: Check, HealthCheckRequest, HealthCheckResponse); gRPC over HTTP/2.

use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{Builder, SendRequest};
use h2::{Reason, RecvStream};
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Uri, Version};

use crate::announce::{CheckSpec, Proto};
use crate::health;
use crate::health::http2::{Means, Question, What};

/// Most that is read of an answer, in bytes; head and body each.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How long a connection may take to close in order.
const CLOSE_WAIT: Duration = Duration::from_millis(50);

/// Who is asked over HTTP/2: whoever speaks nothing else, and every gRPC server.
pub(super) fn asked_over(check: &CheckSpec, proto: Proto) -> Option<Means> {
    let tls = proto.is_tls();
    match (check, proto) {
        (CheckSpec::Grpc { .. }, _)
        | (CheckSpec::Http { .. }, Proto::H2c)
        | (CheckSpec::Https { .. }, Proto::H2) => Some(Means { ask, tls }),
        _ => None,
    }
}

fn ask(question: Question) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send>> {
    Box::pin(converse(question))
}

async fn converse(question: Question) -> Result<String, String> {
    let Question {
        stream,
        tls,
        host,
        what,
    } = question;
    let scheme = if tls { "https" } else { "http" };
    let (requests, connection) = Builder::new()
        .max_header_list_size(ANSWER_BYTES_MAX as u32)
        .enable_push(false)
        .handshake::<_, Bytes>(stream)
        .await
        .map_err(|error| lost(&error))?;
    let mut connection = pin!(connection);
    let seen = {
        let mut work = pin!(inquire(requests, (scheme, &host), what));
        tokio::select! {
            seen = &mut work => seen,
            ended = &mut connection => match ended {
                // What came before may be all that was to come.
                Ok(()) => work.await,
                Err(error) => Err(lost(&error)),
            },
        }
    };
    // With its requests gone it says goodbye and closes.
    let _ = tokio::time::timeout(CLOSE_WAIT, connection).await;
    seen
}

/// Whatever is no HTTP/2 ends the connection.
fn lost(error: &h2::Error) -> String {
    match error.get_io() {
        Some(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            "no HTTP/2 there: closed without an answer".to_owned()
        }
        Some(error) => format!("no HTTP/2 there: {error}"),
        None => format!("no HTTP/2 there: {error}"),
    }
}

async fn inquire(
    requests: SendRequest<Bytes>,
    host: (&str, &str),
    what: What,
) -> Result<String, String> {
    let mut requests = requests.ready().await.map_err(|error| lost(&error))?;
    match what {
        What::Page(path) => page(&mut requests, host, &path).await,
        What::Service(service) => serving(&mut requests, host, &service).await,
    }
}

fn request(method: &str, host: (&str, &str), path: &str) -> Result<Request<()>, String> {
    let uri = Uri::builder()
        .scheme(host.0)
        .authority(host.1)
        .path_and_query(path)
        .build();
    let uri = uri.map_err(|error| format!("the check cannot be sent: {error}"))?;
    Request::builder()
        .version(Version::HTTP_2)
        .method(method)
        .uri(uri)
        .header(USER_AGENT, "lb-check")
        .body(())
        .map_err(|error| format!("the check cannot be sent: {error}"))
}

async fn page(
    requests: &mut SendRequest<Bytes>,
    host: (&str, &str),
    path: &str,
) -> Result<String, String> {
    let (answer, _) = requests
        .send_request(request("GET", host, path)?, true)
        .map_err(|error| lost(&error))?;
    match answer.await {
        Ok(answer) => health::judge(answer.status().as_u16()),
        // A gRPC server that knows nothing but calls ends it this way, and it has answered.
        Err(error) if error.is_reset() && error.is_remote() => match error.reason() {
            Some(Reason::REFUSED_STREAM) => Err("it refused the stream".to_owned()),
            reason => Ok(format!(
                "reset the stream ({:?}): for a gRPC server, check = \"grpc\" asks more",
                reason.unwrap_or(Reason::NO_ERROR)
            )),
        },
        Err(error) => Err(lost(&error)),
    }
}

async fn serving(
    requests: &mut SendRequest<Bytes>,
    host: (&str, &str),
    service: &str,
) -> Result<String, String> {
    let mut call = request("POST", host, "/grpc.health.v1.Health/Check")?;
    let fields = call.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    fields.insert(TE, HeaderValue::from_static("trailers"));
    let (answer, mut body) = requests
        .send_request(call, false)
        .map_err(|error| lost(&error))?;
    body.send_data(message(service), true)
        .map_err(|error| lost(&error))?;
    let answer = answer.await.map_err(|error| reset(&error))?;
    let (parts, body) = answer.into_parts();
    if parts.status != 200 {
        return Err(format!(
            "answered {}, so it is no gRPC server",
            parts.status.as_u16()
        ));
    }
    let (bytes, trailers) = read(body).await?;
    let status = trailers.as_ref().unwrap_or(&parts.headers);
    match code(status) {
        Some(0) => judge(&bytes),
        Some(code) => Err(refusal(code, service, status)),
        None => Err("answered without a grpc-status".to_owned()),
    }
}

fn reset(error: &h2::Error) -> String {
    match error.reason() {
        Some(reason) if error.is_reset() => format!("reset the stream: {reason:?}"),
        _ => lost(error),
    }
}

/// A HealthCheckRequest, framed: `[compressed: u8 = 0][length: u32 be][field 1: bytes]`.
fn message(service: &str) -> Bytes {
    let mut request = BytesMut::new();
    if !service.is_empty() {
        request.put_u8(0x0a);
        let mut length = service.len();
        while length > 0x7f {
            request.put_u8(length as u8 | 0x80);
            length >>= 7;
        }
        request.put_u8(length as u8);
        request.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(5 + request.len());
    framed.put_u8(0);
    framed.put_u32(request.len() as u32);
    framed.put(request);
    framed.freeze()
}

async fn read(mut body: RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), String> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(|error| reset(&error))?;
        let _ = body.flow_control().release_capacity(piece.len());
        bytes.extend_from_slice(&piece);
        if bytes.len() > ANSWER_BYTES_MAX {
            return Err("answered far more than a health check asks for".to_owned());
        }
    }
    let trailers = body.trailers().await.map_err(|error| reset(&error))?;
    Ok((bytes, trailers))
}

fn code(fields: &HeaderMap) -> Option<u32> {
    fields.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// A framed HealthCheckResponse: field 1 is the status; nothing at all is status 0.
fn judge(bytes: &[u8]) -> Result<String, String> {
    let status = match bytes {
        [0, _, _, _, _, 0x08, status, ..] => *status,
        [0, 0, 0, 0, 0] => 0,
        _ => return Err("answered something that is no health".to_owned()),
    };
    match status {
        1 => Ok("SERVING".to_owned()),
        2 => Err("NOT_SERVING".to_owned()),
        3 => Err("SERVICE_UNKNOWN".to_owned()),
        _ => Err("UNKNOWN: it does not know its own health".to_owned()),
    }
}

fn refusal(code: u32, service: &str, fields: &HeaderMap) -> String {
    match code {
        5 => format!("NOT_FOUND: the server knows no service {service:?}"),
        12 => "UNIMPLEMENTED: the server has no grpc.health.v1.Health; use check = \"tcp\" or \"http:/\""
            .to_owned(),
        code => {
            let said = fields.get("grpc-message").and_then(|said| said.to_str().ok());
            let said: String = said.unwrap_or_default().chars().take(100).collect();
            format!("grpc-status {code} {said:?}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_service() {
        assert_eq!(&message("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&message("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = message(&"x".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
    }

    #[test]
    fn only_serving_passes() {
        let answer = |status| judge(&[0, 0, 0, 0, 2, 8, status]);

        assert_eq!(answer(1).unwrap(), "SERVING");
        assert_eq!(answer(2).unwrap_err(), "NOT_SERVING");
        assert_eq!(answer(3).unwrap_err(), "SERVICE_UNKNOWN");
        assert!(judge(&[0; 5]).unwrap_err().starts_with("UNKNOWN"));
        assert!(judge(b"<html>").is_err());
        assert!(judge(b"").is_err());
    }

    #[test]
    fn who_has_no_health_service_is_told_what_else_there_is() {
        let none = HeaderMap::new();

        assert!(refusal(12, "", &none).contains("tcp"));
        assert!(refusal(5, "pay", &none).contains("\"pay\""));
        let mut said = HeaderMap::new();
        said.insert("grpc-message", "try later".parse().unwrap());
        assert_eq!(refusal(14, "", &said), "grpc-status 14 \"try later\"");
    }
}
