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
    /// What is told of a client's certificate, also with `_` for `-`.
    XClient,
    /// One with `_` for `-`, which some backends take for `X-Forwarded-*` or `X-Real-IP`.
    Lookalike,
    /// None of these.
    Other,
}

/// Whether `name`, in any case, is `known`, which has lower-case letters, digits and `-` only. Eight bytes at a time.
#[inline(always)]
fn is_same<const N: usize>(name: &[u8], known: &[u8; N]) -> bool {
    // What differs from one of these by this bit is the same letter, or no character of a name.
    const CASE: u64 = 0x2020_2020_2020_2020;
    let Ok(name) = <&[u8; N]>::try_from(name) else {
        return false;
    };
    let ((names, name), (knowns, known)) = (name.as_chunks::<8>(), known.as_chunks::<8>());
    let word = |bytes: &[u8; 8]| u64::from_ne_bytes(*bytes);
    let mut words = names.iter().zip(knowns);
    words.all(|(name, known)| word(name) | CASE == word(known))
        && name
            .iter()
            .zip(known)
            .all(|(name, known)| name | 0x20 == *known)
}

/// What follows `x-client-`.
const OF_CLIENT: [&[u8]; 3] = [b"verified", b"subject", b"fingerprint"];

const CLIENT_PREFIX: &[u8] = b"x-client-";

fn is_of_client(name: &[u8]) -> bool {
    let Some((prefix, rest)) = name.split_at_checked(CLIENT_PREFIX.len()) else {
        return false;
    };
    let known = |known: &&[u8]| rest.eq_ignore_ascii_case(known);
    prefix.eq_ignore_ascii_case(CLIENT_PREFIX) && OF_CLIENT.iter().any(known)
}

const FORWARDED_PREFIX: &[u8] = b"x-forwarded-";

impl Known {
    /// By a name of any case.
    pub fn of(name: &[u8]) -> Self {
        let first = name.first().map_or(0, |byte| byte | 0x20);
        // No two of them agree in length and first letter, and most names agree with none.
        match (name.len(), first) {
            (2, b't') if is_same(name, b"te") => Self::Te,
            (4, b'h') if is_same(name, b"host") => Self::Host,
            (4, b'd') if is_same(name, b"date") => Self::Date,
            (6, b'e') if is_same(name, b"expect") => Self::Expect,
            (7, b'u') if is_same(name, b"upgrade") => Self::Upgrade,
            (7, b't') if is_same(name, b"trailer") => Self::Trailer,
            (9, b'f') if is_same(name, b"forwarded") => Self::Forwarded,
            (9, b'x') if is_same(name, b"x-real-ip") => Self::XRealIp,
            (10, b'c') if is_same(name, b"connection") => Self::Connection,
            (10, b'k') if is_same(name, b"keep-alive") => Self::KeepAlive,
            (11, b't') if is_same(name, b"traceparent") => Self::TraceParent,
            (12, b'm') if is_same(name, b"max-forwards") => Self::MaxForwards,
            (14, b'c') if is_same(name, b"content-length") => Self::ContentLength,
            (14, b'h') if is_same(name, b"http2-settings") => Self::Http2Settings,
            (15, b'x') if is_same(name, b"x-forwarded-for") => Self::XForwardedFor,
            (16, b'x') if is_same(name, b"x-forwarded-host") => Self::XForwardedHost,
            (16, b'p') if is_same(name, b"proxy-connection") => Self::ProxyConnection,
            (17, b't') if is_same(name, b"transfer-encoding") => Self::TransferEncoding,
            (17, b'x') if is_same(name, b"x-forwarded-proto") => Self::XForwardedProto,
            (_, b'x') => Self::of_others(name),
            _ => Self::Other,
        }
    }

    fn of_others(name: &[u8]) -> Self {
        // The letter behind `x-`: most names are told by it.
        match name.get(2).map(|byte| byte | 0x20) {
            Some(b'f') => match name.get(..FORWARDED_PREFIX.len()) {
                Some(prefix) if prefix.eq_ignore_ascii_case(FORWARDED_PREFIX) => Self::XForwarded,
                _ => Self::of_lookalike(name),
            },
            Some(b'c') if is_of_client(name) => Self::XClient,
            Some(b'c') => Self::of_lookalike(name),
            Some(b'r') if name.len() == "x-real-ip".len() => Self::of_lookalike(name),
            _ => Self::Other,
        }
    }

    fn of_lookalike(name: &[u8]) -> Self {
        if !name.contains(&b'_') {
            return Self::Other;
        }
        let plain = |byte: &u8| if *byte == b'_' { b'-' } else { *byte };
        let name: Vec<u8> = name.iter().map(plain).collect();
        match Self::of(&name) {
            Self::XForwardedFor
            | Self::XForwardedHost
            | Self::XForwardedProto
            | Self::XForwarded
            | Self::XRealIp => Self::Lookalike,
            Self::XClient => Self::XClient,
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
        assert_eq!(Known::of(b"X-Client-Verified"), Known::XClient);
        assert_eq!(Known::of(b"x_client-subject"), Known::XClient);
        assert_eq!(Known::of(b"x-client-fingerprint"), Known::XClient);
        assert_eq!(Known::of(b"x-client-name"), Known::Other);
        assert_eq!(Known::of(b""), Known::Other);
    }
}
