//! The texts of checks, states and protocols, both ways.

use std::fmt;
use std::str::FromStr;

use http::uri::PathAndQuery;

use super::{BadCheck, BadProto, BadState, CheckSpec, FAIL_REASON_BYTES_MAX, Proto, State};

impl FromStr for CheckSpec {
    type Err = BadCheck;

    fn from_str(text: &str) -> Result<Self, BadCheck> {
        let bad = || BadCheck(text.to_owned());
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) => (kind, Some(rest)),
            None => (text, None),
        };
        match (kind, rest) {
            ("none", None) => Ok(Self::None),
            ("tcp", None) => Ok(Self::Tcp { port: None }),
            ("tcp", Some(port)) => {
                let port = Some(parse_port(port).ok_or_else(bad)?);
                Ok(Self::Tcp { port })
            }
            ("http", Some(rest)) => {
                let (port, path) = parse_target(rest).ok_or_else(bad)?;
                Ok(Self::Http { port, path })
            }
            ("https", Some(rest)) => {
                let (port, path) = parse_target(rest).ok_or_else(bad)?;
                Ok(Self::Https { port, path })
            }
            ("grpc", rest) if rest != Some("") => Ok(Self::Grpc {
                service: rest.unwrap_or_default().to_owned(),
            }),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for CheckSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |port: &Option<u16>| port.map(|port| port.to_string()).unwrap_or_default();
        match self {
            Self::None => f.write_str("none"),
            Self::Tcp { port: None } => f.write_str("tcp"),
            Self::Tcp { port: Some(port) } => write!(f, "tcp:{port}"),
            Self::Http { port, path } => write!(f, "http:{}{path}", shown(port)),
            Self::Https { port, path } => write!(f, "https:{}{path}", shown(port)),
            Self::Grpc { service } if service.is_empty() => f.write_str("grpc"),
            Self::Grpc { service } => write!(f, "grpc:{service}"),
        }
    }
}

impl FromStr for State {
    type Err = BadState;

    fn from_str(text: &str) -> Result<Self, BadState> {
        match text {
            "ready" => Ok(Self::Ready),
            "drain" => Ok(Self::Drain),
            "maint" => Ok(Self::Maint),
            _ => match text.strip_prefix("fail:") {
                Some(reason) => Ok(Self::Fail(fail_reason(reason))),
                None => Err(BadState(text.to_owned())),
            },
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::Drain => f.write_str("drain"),
            Self::Maint => f.write_str("maint"),
            Self::Fail(reason) => write!(f, "fail:{}", fail_reason(reason)),
        }
    }
}

impl FromStr for Proto {
    type Err = BadProto;

    fn from_str(text: &str) -> Result<Self, BadProto> {
        match text {
            "http" => Ok(Self::Http),
            "h2c" => Ok(Self::H2c),
            "h2" => Ok(Self::H2),
            "https" => Ok(Self::Https),
            "tcp" => Ok(Self::Tcp),
            _ => Err(BadProto(text.to_owned())),
        }
    }
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Http => "http",
            Self::H2c => "h2c",
            Self::H2 => "h2",
            Self::Https => "https",
            Self::Tcp => "tcp",
        })
    }
}

/// A port that a service can have: digits only, 1–65535.
pub(super) fn parse_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// `[PORT]/path`.
fn parse_target(text: &str) -> Option<(Option<u16>, String)> {
    let (port, path) = text.split_at(text.find('/')?);
    let port = match port {
        "" => None,
        port => Some(parse_port(port)?),
    };
    // `http://host/path` is what people type by habit; its path would be `//host/path`.
    let bad = path.starts_with("//") || path.contains('#') || !path.is_ascii();
    (!bad && PathAndQuery::from_str(path).is_ok()).then(|| (port, path.to_owned()))
}

/// Cuts at a character boundary, and blanks what would garble a terminal or a log line.
fn fail_reason(text: &str) -> String {
    let mut end = text.len().min(FAIL_REASON_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].replace(char::is_control, " ")
}
