//! Which field a line is: those that mean something to a proxy, and all others.

/// A field by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as the fields are")]
pub enum Known {
    Connection,
    ContentLength,
    Date,
    Expect,
    Forwarded,
    Host,
    Http2Settings,
    KeepAlive,
    MaxForwards,
    ProxyConnection,
    Te,
    TraceParent,
    Trailer,
    TransferEncoding,
    Upgrade,
    XForwardedFor,
    XForwardedHost,
    XForwardedProto,
    /// Any other that begins with `X-Forwarded-`.
    XForwarded,
    XRealIp,
    /// One with `_` for `-`, which some backends take for `X-Forwarded-*` or `X-Real-IP`.
    Lookalike,
    /// None of these.
    Other,
}

const FORWARDED_PREFIX: &[u8] = b"x-forwarded-";

impl Known {
    /// By a name of any case.
    pub fn of(name: &[u8]) -> Self {
        let candidates: &[(&str, Self)] = match name.len() {
            2 => &[("te", Self::Te)],
            4 => &[("host", Self::Host), ("date", Self::Date)],
            6 => &[("expect", Self::Expect)],
            7 => &[("upgrade", Self::Upgrade), ("trailer", Self::Trailer)],
            9 => &[("forwarded", Self::Forwarded), ("x-real-ip", Self::XRealIp)],
            10 => &[
                ("connection", Self::Connection),
                ("keep-alive", Self::KeepAlive),
            ],
            11 => &[("traceparent", Self::TraceParent)],
            12 => &[("max-forwards", Self::MaxForwards)],
            14 => &[
                ("content-length", Self::ContentLength),
                ("http2-settings", Self::Http2Settings),
            ],
            15 => &[("x-forwarded-for", Self::XForwardedFor)],
            16 => &[
                ("x-forwarded-host", Self::XForwardedHost),
                ("proxy-connection", Self::ProxyConnection),
            ],
            17 => &[
                ("transfer-encoding", Self::TransferEncoding),
                ("x-forwarded-proto", Self::XForwardedProto),
            ],
            _ => &[],
        };
        for (known, field) in candidates {
            if name.eq_ignore_ascii_case(known.as_bytes()) {
                return *field;
            }
        }
        match name.get(..FORWARDED_PREFIX.len()) {
            Some(prefix) if prefix.eq_ignore_ascii_case(FORWARDED_PREFIX) => Self::XForwarded,
            _ if memchr::memchr(b'_', name).is_some() => Self::of_lookalike(name),
            _ => Self::Other,
        }
    }

    fn of_lookalike(name: &[u8]) -> Self {
        let plain = |byte: &u8| if *byte == b'_' { b'-' } else { *byte };
        let name: Vec<u8> = name.iter().map(plain).collect();
        match Self::of(&name) {
            Self::XForwardedFor
            | Self::XForwardedHost
            | Self::XForwardedProto
            | Self::XForwarded
            | Self::XRealIp => Self::Lookalike,
            _ => Self::Other,
        }
    }

    /// It concerns one connection only (RFC 9110 §7.6.1), or how the message is framed there.
    pub fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::ContentLength
                | Self::Http2Settings
                | Self::KeepAlive
                | Self::ProxyConnection
                | Self::Te
                | Self::Trailer
                | Self::TransferEncoding
                | Self::Upgrade
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_any_case() {
        assert_eq!(Known::of(b"Content-Length"), Known::ContentLength);
        assert_eq!(Known::of(b"CONNECTION"), Known::Connection);
        assert_eq!(Known::of(b"te"), Known::Te);
        assert_eq!(Known::of(b"X-Forwarded-Port"), Known::XForwarded);
        assert_eq!(Known::of(b"x-forwarded"), Known::Other);
        assert_eq!(Known::of(b"Content_Length"), Known::Other);
        assert_eq!(Known::of(b"X_Forwarded-FOR"), Known::Lookalike);
        assert_eq!(Known::of(b"x_real_ip"), Known::Lookalike);
        assert_eq!(Known::of(b""), Known::Other);
    }
}
