//! HTTP/1 as the RFCs have it, read slowly and strictly: what the proxy is judged by. Shares nothing with it.
//!
//! ```text
//! requests(bytes) ─▶ what a client framed, to the first thing that is none
//! answer(bytes)   ─▶ what a backend said: whole, cut short, or no HTTP
//! chunked(bytes)  ─▶ a body, whole, cut short, or none
//! ```

#![allow(dead_code, reason = "each target uses its own part")]

/// A start line in three words, and fields with names in lower case and values trimmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub words: [Vec<u8>; 3],
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
}

/// How far bytes are what they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read<T> {
    /// All of it, and how many bytes it took.
    Whole(T, usize),
    /// More may come.
    Partial(T),
    /// It is none.
    Bad(T),
}

pub fn is_token(bytes: &[u8]) -> bool {
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(legal)
}

fn is_text(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 127))
}

fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Lines to the empty one. `None`: it is not there yet.
fn lines(bytes: &[u8]) -> Option<(Vec<&[u8]>, usize)> {
    let (mut lines, mut at) = (Vec::new(), 0);
    loop {
        let end = at + find(&bytes[at..], b"\r\n")?;
        if end == at {
            return Some((lines, end + 2));
        }
        lines.push(&bytes[at..end]);
        at = end + 2;
    }
}

fn fields(lines: &[&[u8]]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut fields = Vec::new();
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
        if !is_token(name) || !is_text(value) {
            return None;
        }
        fields.push((name.to_ascii_lowercase(), value.to_vec()));
    }
    Some(fields)
}

/// A request's head; `None` in it: it is none.
pub fn request_head(bytes: &[u8]) -> Option<(Option<Head>, usize)> {
    let (lines, used) = lines(bytes)?;
    let head = || {
        let words: Vec<&[u8]> = lines.first()?.split(|byte| *byte == b' ').collect();
        let [method, target, version] = words[..] else {
            return None;
        };
        let version_digits = version.strip_prefix(b"HTTP/1.")?;
        let visible = |byte: &u8| *byte > b' ' && *byte != 127 && *byte != b'#';
        let sound = is_token(method)
            && !target.is_empty()
            && target.iter().all(visible)
            && matches!(version_digits, [b'0'..=b'9']);
        sound.then_some(Head {
            words: [method.to_vec(), target.to_vec(), version.to_vec()],
            fields: fields(&lines[1..])?,
        })
    };
    Some((head(), used))
}

/// A response's head; `None` in it: it is none.
pub fn response_head(bytes: &[u8]) -> Option<(Option<Head>, usize)> {
    let (lines, used) = lines(bytes)?;
    let head = || {
        let line = lines.first()?;
        let version = line.get(..8)?;
        let sound = version.starts_with(b"HTTP/1.") && version[7].is_ascii_digit();
        let code = line.get(9..12)?;
        let digits = code.iter().all(u8::is_ascii_digit) && (b'1'..=b'5').contains(&code[0]);
        let reason = match &line[12..] {
            [] => &b""[..],
            [b' ', reason @ ..] => reason,
            _ => return None,
        };
        (sound && line[8] == b' ' && digits && is_text(reason)).then_some(Head {
            words: [version.to_vec(), code.to_vec(), reason.to_vec()],
            fields: fields(&lines[1..])?,
        })
    };
    Some((head(), used))
}

impl Head {
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let fields = self.fields.iter();
        fields
            .filter(move |(known, _)| known == name.as_bytes())
            .map(|(_, value)| value.as_slice())
    }

    pub fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// A comma-separated list over all lines of that name contains this, in any case.
    pub fn lists(&self, name: &str, what: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|element| trim(element).eq_ignore_ascii_case(what.as_bytes()))
    }

    /// The one Content-Length; `Err`: something is wrong with it.
    pub fn length(&self) -> Result<Option<u64>, ()> {
        let all: Vec<&[u8]> = self.all("content-length").collect();
        match all[..] {
            [] => Ok(None),
            [digits] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
                let text = std::str::from_utf8(digits).map_err(drop)?;
                text.parse().map(Some).map_err(drop)
            }
            _ => Err(()),
        }
    }

    /// Whether it is chunked; `Err`: something is wrong with that.
    pub fn chunked(&self) -> Result<bool, ()> {
        let all: Vec<&[u8]> = self.all("transfer-encoding").collect();
        match all[..] {
            [] => Ok(false),
            [coding] if coding.eq_ignore_ascii_case(b"chunked") => Ok(true),
            _ => Err(()),
        }
    }

    pub fn is_old(&self) -> bool {
        // No method has a slash; a response's last word may be anything.
        let version = match self.words[0].starts_with(b"HTTP/") {
            true => &self.words[0],
            false => &self.words[2],
        };
        version == b"HTTP/1.0"
    }

    /// Every status is three digits.
    pub fn status(&self) -> u16 {
        let digits = self.words[1].iter();
        digits.fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'))
    }
}

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Nothing,
    Exactly(u64),
    Chunked,
    UntilClose,
}

/// What a request's fields say of its body; `None`: two readers might differ.
pub fn request_framing(head: &Head) -> Option<Framing> {
    let chunked = head.chunked().ok()?;
    let length = head.length().ok()?;
    if chunked && (length.is_some() || head.is_old()) || head.all("host").count() > 1 {
        return None;
    }
    for name in ["host", "content-length", "transfer-encoding"] {
        if head.lists("connection", name) {
            return None;
        }
    }
    Some(match length {
        _ if chunked => Framing::Chunked,
        Some(bytes) => Framing::Exactly(bytes),
        None => Framing::Nothing,
    })
}

/// What a response's fields say of its body; `None`: two readers might differ.
pub fn response_framing(head: &Head, to_head: bool) -> Option<Framing> {
    let chunked = head.chunked().ok()?;
    let length = head.length().ok()?;
    if chunked && (length.is_some() || head.is_old()) {
        return None;
    }
    Some(match length {
        _ if to_head || matches!(head.status(), 100..=199 | 204 | 304) => Framing::Nothing,
        _ if chunked => Framing::Chunked,
        Some(bytes) => Framing::Exactly(bytes),
        None => Framing::UntilClose,
    })
}

/// A chunked body.
pub fn chunked(bytes: &[u8]) -> Read<Vec<u8>> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else {
            return Read::Partial(body);
        };
        let line = &bytes[at..at + end];
        at += end + 2;
        let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let extension = &line[size.len()..];
        let sound = (1..=15).contains(&size.len()) && size.iter().all(u8::is_ascii_hexdigit);
        if !sound || !is_text(extension) {
            return Read::Bad(body);
        }
        let text = String::from_utf8_lossy(size);
        let size = usize::from_str_radix(&text, 16).expect("15 hexadecimal digits");
        if size == 0 {
            break;
        }
        let there = size.min(bytes.len() - at);
        body.extend_from_slice(&bytes[at..at + there]);
        at += there;
        if there < size || bytes.len() - at < 2 {
            return match bytes[at..] {
                [] | [b'\r'] => Read::Partial(body),
                _ => Read::Bad(body),
            };
        }
        if &bytes[at..at + 2] != b"\r\n" {
            return Read::Bad(body);
        }
        at += 2;
    }
    match lines(&bytes[at..]) {
        None => Read::Partial(body),
        Some((lines, used)) if fields(&lines).is_some() => Read::Whole(body, at + used),
        Some(_) => Read::Bad(body),
    }
}

/// A body, in one of the ways.
pub fn body(bytes: &[u8], framing: Framing) -> Read<Vec<u8>> {
    match framing {
        Framing::Nothing => Read::Whole(Vec::new(), 0),
        Framing::Exactly(length) if length <= bytes.len() as u64 => {
            let length = length as usize;
            Read::Whole(bytes[..length].to_vec(), length)
        }
        Framing::Exactly(_) | Framing::UntilClose => Read::Partial(bytes.to_vec()),
        Framing::Chunked => chunked(bytes),
    }
}

/// One request as a client framed it.
#[derive(Clone, Debug)]
pub struct Framed {
    pub head: Head,
    pub framing: Framing,
    pub body: Vec<u8>,
    pub complete: bool,
    /// Where the next one begins, if this one is complete.
    pub end: usize,
}

impl Framed {
    pub fn is_head(&self) -> bool {
        self.head.words[0] == b"HEAD"
    }

    /// No further request can follow.
    pub fn is_last(&self) -> bool {
        let kept = self.head.lists("connection", "keep-alive");
        self.head.lists("connection", "close") || (self.head.is_old() && !kept)
    }
}

/// What follows the last request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing, or what may become a request.
    Open,
    /// A whole head that is none, or a body that is none.
    Malformed,
    /// Whatever: the last one said that it is the last.
    Closed,
}

/// All requests that these bytes frame.
pub fn requests(bytes: &[u8]) -> (Vec<Framed>, Tail) {
    let (mut all, mut at) = (Vec::new(), 0);
    loop {
        while bytes[at..].starts_with(b"\r\n") {
            at += 2;
        }
        let Some((head, used)) = request_head(&bytes[at..]) else {
            return (all, Tail::Open);
        };
        let framing = head.as_ref().and_then(request_framing);
        let (Some(head), Some(framing)) = (head, framing) else {
            return (all, Tail::Malformed);
        };
        if !head.is_old() && !head.has("host") {
            return (all, Tail::Malformed);
        }
        at += used;
        let (body, end, tail) = match body(&bytes[at..], framing) {
            Read::Whole(body, used) => (body, Some(at + used), None),
            Read::Partial(body) => (body, None, Some(Tail::Open)),
            Read::Bad(body) => (body, None, Some(Tail::Malformed)),
        };
        let framed = Framed {
            head,
            framing,
            body,
            complete: end.is_some(),
            end: end.unwrap_or(bytes.len()),
        };
        let last = framed.is_last();
        at = framed.end;
        all.push(framed);
        match tail {
            Some(tail) => return (all, tail),
            None if last => return (all, Tail::Closed),
            None => {}
        }
    }
}

/// One final response, or what there is of it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Statuses of those before it.
    pub interims: Vec<u16>,
    pub head: Option<Head>,
    pub body: Vec<u8>,
    pub until_close: bool,
    pub switches: bool,
}

/// The answer to a request with this method, from its first byte; to a request that asks for another protocol
/// the 101 to that one is final.
pub fn answer(bytes: &[u8], to_head: bool, upgrade: Option<&[u8]>) -> Read<Answer> {
    let mut answer = Answer {
        interims: Vec::new(),
        head: None,
        body: Vec::new(),
        until_close: false,
        switches: false,
    };
    let mut at = 0;
    loop {
        let Some((head, used)) = response_head(&bytes[at..]) else {
            return Read::Partial(answer);
        };
        let framing = head
            .as_ref()
            .and_then(|head| response_framing(head, to_head));
        let (Some(head), Some(framing)) = (head, framing) else {
            return Read::Bad(answer);
        };
        at += used;
        let status = head.status();
        if status == 101 {
            let last = head.all("upgrade").last();
            let agreed = upgrade
                .zip(last)
                .is_some_and(|(to, last)| to.eq_ignore_ascii_case(last));
            if !agreed || !head.lists("connection", "upgrade") {
                return Read::Bad(answer);
            }
            answer.head = Some(head);
            answer.switches = true;
            return Read::Whole(answer, at);
        }
        if status < 200 {
            answer.interims.push(status);
            continue;
        }
        answer.head = Some(head);
        answer.until_close = framing == Framing::UntilClose;
        return match body(&bytes[at..], framing) {
            Read::Whole(body, used) => {
                answer.body = body;
                Read::Whole(answer, at + used)
            }
            Read::Partial(body) => {
                answer.body = body;
                Read::Partial(answer)
            }
            Read::Bad(body) => {
                answer.body = body;
                Read::Bad(answer)
            }
        };
    }
}
