//! What a request asks for: its target in the form a backend expects, and hosts told from what only looks like one.
//!
//! Sources: RFC 9112 §3.2, RFC 3986 §3.2.

use http::Method;

use super::h1::head::Bytes;
use super::h1::refusal::Refusal;

/// A request target, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'t> {
    /// Of an absolute target.
    pub(super) host: Option<Host<'t>>,
    /// `/path?query`, `*`, or what follows a missing path: nothing, or `?query`.
    pub(super) path: &'t [u8],
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Host<'t>(pub(super) &'t [u8]);

static NAME: Bytes = Bytes::alphanumeric_and(b"-._~%!$&'()*+,;=");

impl<'t> Host<'t> {
    /// Without its port.
    pub(super) fn name(self) -> &'t [u8] {
        let after = match self.0.first() {
            Some(b'[') => self.0.iter().position(|byte| *byte == b']').unwrap_or(0),
            _ => 0,
        };
        let colon = self.0[after..].iter().position(|byte| *byte == b':');
        colon.map_or(self.0, |colon| &self.0[..after + colon])
    }

    /// With the characters of RFC 3986 §3.2.2.
    pub(super) fn read(host: &'t [u8]) -> Option<Self> {
        let (name, rest) = match host.first() {
            Some(b'[') => {
                let end = host.iter().position(|byte| *byte == b']')?;
                let inner = &host[1..end];
                let legal = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
                if !inner.iter().all(legal) {
                    return None;
                }
                (inner, &host[end + 1..])
            }
            _ => host.split_at(NAME.run(host)),
        };
        let port = match rest {
            [] => true,
            [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
            _ => false,
        };
        (!name.is_empty() && port).then_some(Self(host))
    }
}

/// Takes a target apart. `target` has visible characters only and no fragment.
///
/// # Errors
/// What neither names a path, nor is absolute, nor `*` for OPTIONS.
pub(super) fn read<'t>(target: &'t [u8], method: &Method) -> Result<Target<'t>, Refusal> {
    if target.starts_with(b"/") || (target == b"*" && method == Method::OPTIONS) {
        return Ok(Target {
            host: None,
            path: target,
        });
    }
    let scheme = |name: &[u8]| {
        let start = target.get(..name.len())?;
        start
            .eq_ignore_ascii_case(name)
            .then(|| &target[name.len()..])
    };
    let Some(rest) = scheme(b"http://").or_else(|| scheme(b"https://")) else {
        return Err(Refusal::Malformed("an invalid target"));
    };
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
    let (authority, path) = rest.split_at(end.unwrap_or(rest.len()));
    let host = Host::read(authority);
    let host = host.ok_or(Refusal::Malformed("an invalid host in the target"))?;
    // `http://host` as the target of OPTIONS means the server as a whole.
    let whole = path.is_empty() && method == Method::OPTIONS;
    Ok(Target {
        host: Some(host),
        path: if whole { b"*" } else { path },
    })
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
            assert!(Host::read(good.as_bytes()).is_some(), "{good}");
        }
        for bad in [
            "", ":80", "a b", "u@h", "a/b", "[::1", "[x]", "a:b", "a:123456", "[::1]x", "\u{e4}",
        ] {
            assert!(Host::read(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn targets_are_taken_apart() {
        let take = |target: &'static str, method: Method| {
            let read = read(target.as_bytes(), &method).ok()?;
            let path = std::str::from_utf8(read.path).unwrap();
            let host = |host: Host<'static>| std::str::from_utf8(host.0).unwrap();
            Some((read.host.map(host), path))
        };

        assert_eq!(take("/a?b", Method::GET), Some((None, "/a?b")));
        assert_eq!(take("//a", Method::GET), Some((None, "//a")));
        assert_eq!(take("http://h/a?b", Method::GET), Some((Some("h"), "/a?b")));
        assert_eq!(take("HTTP://h:1", Method::GET), Some((Some("h:1"), "")));
        assert_eq!(take("http://h?q", Method::GET), Some((Some("h"), "?q")));
        assert_eq!(take("*", Method::OPTIONS), Some((None, "*")));
        assert_eq!(take("http://h", Method::OPTIONS), Some((Some("h"), "*")));
        for bad in [
            "*",
            "h:80",
            "admin",
            "ftp://h/",
            "http:///x",
            "http://u@h/",
            "?a",
        ] {
            assert_eq!(take(bad, Method::GET), None, "{bad}");
        }
    }
}
