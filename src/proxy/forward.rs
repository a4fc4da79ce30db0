//! What is changed between the two hops: admissible targets, `Host`, hop-by-hop fields, `X-Forwarded-*`.
//!
//! Sources: RFC 9110 §7.2 (Host), §7.6.1 (Connection), §9.3.8 (TRACE); RFC 9112 §3.2 (targets),
//! §6.1 (transfer codings).

use http::header::{self, HeaderName};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Uri};

use super::answer::Fault;
use super::front_h1::Client;
use super::head::{RequestHead, ResponseHead};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Makes a client's request fit for a backend, or says what is wrong with it.
pub(super) fn request(
    head: &mut RequestHead,
    client: &Client,
    has_body: bool,
) -> Result<(), Fault> {
    if head.method == Method::CONNECT || head.method == Method::TRACE {
        return Err(Fault::Method);
    }
    if !is_plain_or_chunked(&head.headers) {
        return Err(Fault::Coding);
    }
    let host = host_of(head, client)?;
    head.target = origin_form(&head.target, &head.method)?;
    if !drop_hop_by_hop(&mut head.headers, is_ours_to_say) {
        return Err(Fault::Request("Connection names a field that must stay"));
    }
    if !has_body {
        // A length of 0 stays: a POST without any length would be odd.
        head.headers.remove(header::EXPECT);
    }
    let fields = &mut head.headers;
    fields.insert(FORWARDED_FOR, client.forwarded_for.clone());
    fields.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    fields.insert(FORWARDED_HOST, host);
    Ok(())
}

/// Makes a backend's response fit for the client.
pub(super) fn response(head: &mut ResponseHead) {
    // One that names Content-Length in `Connection` only hurts itself: the body is framed anew.
    drop_hop_by_hop(&mut head.headers, |_| false);
    if matches!(head.status.as_u16(), 204 | 304) {
        head.headers.remove(header::CONTENT_LENGTH);
    }
}

/// The one `Host`, checked; for an absolute target it is rebuilt from the target.
fn host_of(head: &mut RequestHead, client: &Client) -> Result<HeaderValue, Fault> {
    let mut given = head.headers.get_all(header::HOST).iter();
    let host = match (given.next(), given.next()) {
        (Some(_), Some(_)) => return Err(Fault::Request("two Host fields")),
        (Some(host), None) if !is_host(host.as_bytes()) => {
            return Err(Fault::Request("an invalid Host field"));
        }
        (Some(host), None) => Some(host.clone()),
        (None, _) => None,
    };
    if host.is_none() && !head.old {
        return Err(Fault::Request("no Host field"));
    }
    let named = match (head.target.scheme(), head.target.authority()) {
        (Some(_), Some(authority)) => {
            if !is_host(authority.as_str().as_bytes()) {
                return Err(Fault::Request("an invalid host in the target"));
            }
            HeaderValue::from_str(authority.as_str()).ok()
        }
        _ => None,
    };
    match (named, host) {
        (Some(host), _) => {
            head.headers.insert(header::HOST, host.clone());
            Ok(host)
        }
        (None, Some(host)) => Ok(host),
        // HTTP/1.0: the address it asked is all we know.
        (None, None) => {
            let host = HeaderValue::from_str(&client.local.to_string())
                .map_err(|_| Fault::Request("no Host field"))?;
            head.headers.insert(header::HOST, host.clone());
            Ok(host)
        }
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`, with the characters of RFC 3986 §3.2.2; never empty.
fn is_host(host: &[u8]) -> bool {
    let (name, rest) = match host.first() {
        Some(b'[') => {
            let Some(end) = host.iter().position(|byte| *byte == b']') else {
                return false;
            };
            let inner = &host[1..end];
            let legal = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
            if !inner.iter().all(legal) {
                return false;
            }
            (inner, &host[end + 1..])
        }
        _ => {
            let end = host.iter().position(|byte| *byte == b':');
            host.split_at(end.unwrap_or(host.len()))
        }
    };
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:".contains(byte);
    let port = match rest {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    !name.is_empty() && name.iter().all(legal) && port
}

/// `/path?query`, or `*` for OPTIONS.
fn origin_form(target: &Uri, method: &Method) -> Result<Uri, Fault> {
    let path = match target.path_and_query() {
        Some(path) if path.as_str() == "*" && method == Method::OPTIONS => path.clone(),
        Some(path) if path.as_str().starts_with('/') => path.clone(),
        // `http://host?query`, or `http://host` as the target of OPTIONS: the server as a whole.
        Some(path) if target.scheme().is_some() && path.as_str().starts_with('?') => {
            PathAndQuery::try_from(format!("/{}", path.as_str()))
                .map_err(|_| Fault::Request("an invalid target"))?
        }
        _ => return Err(Fault::Request("an invalid target")),
    };
    match target.scheme() {
        None if target.authority().is_none() => Ok(target.clone()),
        None => Err(Fault::Request("an invalid target")),
        Some(_) => Ok(Uri::from(path)),
    }
}

/// Whether the body is as it reads once the chunks are joined. Any other coding would be lost on
/// the way, since the body is framed anew (RFC 9112 §6.1: answer 501).
fn is_plain_or_chunked(fields: &HeaderMap) -> bool {
    let lines = fields.get_all(header::TRANSFER_ENCODING).iter();
    let codings = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let mut codings = codings
        .map(<[u8]>::trim_ascii)
        .filter(|coding| !coding.is_empty());
    let first = codings.next();
    first.is_none_or(|coding| coding.eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
}

/// Drops what concerns one hop only, and what `also` names. False: `Connection` names a field that
/// says where or how long the message is; it is kept.
fn drop_hop_by_hop(fields: &mut HeaderMap, also: fn(&HeaderName) -> bool) -> bool {
    // Usually there is nothing to drop but `Connection`, and often not even that.
    let mut dropped: Vec<HeaderName> = Vec::new();
    let mut sound = true;
    for (name, value) in fields.iter() {
        if name == header::CONNECTION {
            for option in value.as_bytes().split(|byte| *byte == b',') {
                let Ok(option) = HeaderName::from_bytes(option.trim_ascii()) else {
                    continue;
                };
                if matches!(
                    option,
                    header::HOST | header::CONTENT_LENGTH | header::TRANSFER_ENCODING
                ) {
                    sound = false;
                    continue;
                }
                dropped.push(option);
            }
        }
        if is_hop_by_hop(name) || also(name) {
            dropped.push(name.clone());
        }
    }
    for name in dropped {
        fields.remove(name);
    }
    sound
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION
            | header::TE
            | header::TRAILER
            | header::TRANSFER_ENCODING
            | header::UPGRADE
    ) || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// Clients are not trusted to say who they are.
fn is_ours_to_say(name: &HeaderName) -> bool {
    let text = name.as_str();
    name == header::FORWARDED || text.starts_with("x-forwarded-") || text == "x-real-ip"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_what_only_looks_like_one() {
        for good in [
            "a",
            "a.b:80",
            "127.0.0.1",
            "[::1]",
            "[::1]:8080",
            "a:",
            "x_y",
        ] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "", ":80", "a b", "u@h", "a/b", "[::1", "[x]", "a:b", "a:123456", "[::1]x",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn targets_become_origin_form() {
        let form = |target: &str, method: Method| {
            let target: Uri = target.parse().unwrap();
            origin_form(&target, &method)
                .map(|uri| uri.to_string())
                .ok()
        };

        assert_eq!(form("/a?b", Method::GET).as_deref(), Some("/a?b"));
        assert_eq!(form("http://h/a?b", Method::GET).as_deref(), Some("/a?b"));
        assert_eq!(form("http://h", Method::GET).as_deref(), Some("/"));
        assert_eq!(form("http://h?q", Method::GET).as_deref(), Some("/?q"));
        assert_eq!(form("*", Method::OPTIONS).as_deref(), Some("*"));
        assert_eq!(form("*", Method::GET), None);
        assert_eq!(form("h:80", Method::GET), None);
        assert_eq!(form("admin", Method::GET), None);
    }

    #[test]
    fn all_connection_lines_count() {
        let mut fields = HeaderMap::new();
        for (name, value) in [
            ("connection", "a, keep-alive"),
            ("connection", "B"),
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("x-forwarded-port", "1"),
            ("forwarded", "for=x"),
        ] {
            fields.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }

        assert!(drop_hop_by_hop(&mut fields, is_ours_to_say));

        assert_eq!(
            fields.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["c"]
        );
    }

    #[test]
    fn a_connection_that_names_the_framing_is_refused() {
        for named in ["Host", "content-length", "close, Transfer-Encoding"] {
            let mut fields = HeaderMap::new();
            fields.insert(header::CONNECTION, HeaderValue::from_str(named).unwrap());

            assert!(!drop_hop_by_hop(&mut fields, is_ours_to_say), "{named}");
        }
    }
}
