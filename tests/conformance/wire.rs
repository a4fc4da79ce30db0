//! Messages, read strictly: what one side received, taken apart by the letter of RFC 9112.
//!
//! A bare LF, a fold, a control or an odd length is an error here, so that whatever a subject passes on is held to the rules.

/// How a body was framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// No body.
    None,
    /// `Content-Length`.
    Length,
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Up to the end of the connection.
    Close,
}

/// A message, taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// `GET / HTTP/1.1` or `HTTP/1.1 200 OK`.
    pub(crate) start: String,
    /// Name as it came, value without white space around it.
    pub(crate) fields: Vec<(String, String)>,
    /// Without its framing.
    pub(crate) body: Vec<u8>,
    /// How its end is found.
    pub(crate) framing: Framing,
    /// Fields behind a chunked body.
    pub(crate) trailers: Vec<String>,
    /// The body ended as its framing promised.
    pub(crate) complete: bool,
}

/// What is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A request.
    Request,
    /// A response; true: to a HEAD.
    Response(bool),
}

/// Whether more can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Yes.
    More,
    /// No, and the connection ended in order.
    End,
    /// No, and it ended with a reset.
    Cut,
}

impl Message {
    /// All values of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let same = |field: &&(String, String)| field.0.eq_ignore_ascii_case(name);
        let values = self.fields.iter().filter(same);
        values.map(|(_, value)| value.as_str()).collect()
    }

    /// True if it has this field.
    pub(crate) fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    /// The one value of a field; nothing if it is absent or there twice.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        (all.len() == 1).then(|| all[0])
    }

    /// True if a list field names this, over all lines.
    pub(crate) fn lists(&self, name: &str, item: &str) -> bool {
        let lines = self.all(name);
        let mut items = lines.iter().flat_map(|line| line.split(','));
        items.any(|one| one.trim().eq_ignore_ascii_case(item))
    }

    /// The words of the start line.
    pub(crate) fn word(&self, index: usize) -> &str {
        self.start.split(' ').nth(index).unwrap_or_default()
    }

    /// The status of a response.
    pub(crate) fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or_default()
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The first message of `bytes`, and how many of them it takes; nothing if more is needed.
///
/// Where nothing more can come, a message whose head is whole is given as it is, incomplete.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn read(
    bytes: &[u8],
    what: What,
    tail: Tail,
) -> Result<Option<(Message, usize)>, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        // Not yet whole, but what is there must be lines all the same.
        return head(bytes, what).map(|_| None);
    };
    let mut message = head(&bytes[..end + 2], what)?;
    let rest = &bytes[end + 4..];
    let length = length(&message)?;
    let used = match (bodiless(&message, what), length) {
        (true, _) => Some(0),
        (false, Some(Framing::Chunked)) => {
            message.framing = Framing::Chunked;
            chunked(rest, &mut message)?
        }
        (false, Some(_)) => {
            let wanted: usize = message.all("content-length")[0].parse().unwrap_or_default();
            message.framing = Framing::Length;
            message.body = rest[..wanted.min(rest.len())].to_vec();
            (rest.len() >= wanted).then_some(wanted)
        }
        (false, None) if what == What::Request => Some(0),
        (false, None) => {
            message.framing = Framing::Close;
            message.body = rest.to_vec();
            (tail == Tail::End).then_some(rest.len())
        }
    };
    message.complete = used.is_some();
    match (used, tail) {
        (Some(used), _) => Ok(Some((message, end + 4 + used))),
        (None, Tail::More) => Ok(None),
        (None, _) => Ok(Some((message, bytes.len()))),
    }
}

/// The end of the head, if it is there.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    find(bytes, b"\r\n\r\n").map(|end| end + 4)
}

/// Where `needle` begins.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let mut windows = haystack.windows(needle.len().max(1));
    windows.position(|window| window == needle)
}

/// Start line and fields, of whole lines; the last one may be unfinished.
fn head(bytes: &[u8], what: What) -> Result<Message, String> {
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let mut lines: Vec<&str> = text.split("\r\n").collect();
    let last = lines.pop().unwrap_or_default();
    for line in &lines {
        check_line(line)?;
    }
    if last.trim_end_matches('\r').contains(['\n', '\r']) {
        return Err(format!("a bare CR or LF: {last:?}"));
    }
    let mut lines = lines.into_iter();
    let start = lines.next().unwrap_or_default().to_owned();
    if !start.is_empty() {
        check_start(&start, what)?;
    }
    let mut fields = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| format!("no colon: {line:?}"))?;
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(format!("a bad field name: {line:?}"));
        }
        fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
    }
    Ok(Message {
        start,
        fields,
        body: Vec::new(),
        framing: Framing::None,
        trailers: Vec::new(),
        complete: false,
    })
}

pub(crate) fn check_line(line: &str) -> Result<(), String> {
    let control = |letter: char| letter != '\t' && (letter < ' ' || letter == '\u{7f}');
    match line.chars().any(control) {
        true => Err(format!("a control: {line:?}")),
        false => Ok(()),
    }
}

fn check_start(start: &str, what: What) -> Result<(), String> {
    let words: Vec<&str> = start.split(' ').collect();
    let good = match what {
        What::Request => {
            let [method, target, version] = words[..] else {
                return Err(format!("no request line: {start:?}"));
            };
            !method.is_empty()
                && method.bytes().all(is_token)
                && !target.is_empty()
                && is_version(version)
        }
        What::Response(_) => {
            let code = words.get(1).copied().unwrap_or_default();
            is_version(words[0]) && code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit())
        }
    };
    match good {
        true => Ok(()),
        false => Err(format!("a bad start line: {start:?}")),
    }
}

fn is_version(word: &str) -> bool {
    matches!(word, "HTTP/1.0" | "HTTP/1.1")
}

pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn bodiless(message: &Message, what: What) -> bool {
    let status = message.status();
    match what {
        What::Request => false,
        What::Response(head) => head || status < 200 || status == 204 || status == 304,
    }
}

fn length(message: &Message) -> Result<Option<Framing>, String> {
    let lengths = message.all("content-length");
    let codings = message.all("transfer-encoding");
    match (&lengths[..], &codings[..]) {
        ([], []) => Ok(None),
        ([length], []) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => {
            Ok(Some(Framing::Length))
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
        _ => Err(format!("framed by {lengths:?} and {codings:?}")),
    }
}

/// Takes the chunks apart; how many bytes they take, or nothing if the last one is not there.
fn chunked(rest: &[u8], message: &mut Message) -> Result<Option<usize>, String> {
    let mut at = 0;
    loop {
        let Some(line) = find(&rest[at..], b"\r\n") else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&rest[at..at + line]).into_owned();
        let size = usize::from_str_radix(&text, 16)
            .ok()
            .filter(|_| !text.starts_with('+'))
            .ok_or_else(|| format!("a bad chunk line: {text:?}"))?;
        at += line + 2;
        if size == 0 {
            return trailers(rest, at, message);
        }
        let whole = rest.len() >= at + size + 2;
        let data = &rest[at..rest.len().min(at + size)];
        message.body.extend_from_slice(data);
        if !whole {
            return Ok(None);
        }
        at += size;
        if &rest[at..at + 2] != b"\r\n" {
            return Err(format!("no CRLF behind a chunk of {size}"));
        }
        at += 2;
    }
}

fn trailers(rest: &[u8], mut at: usize, message: &mut Message) -> Result<Option<usize>, String> {
    loop {
        let Some(line) = find(&rest[at..], b"\r\n") else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&rest[at..at + line]).into_owned();
        at += line + 2;
        if text.is_empty() {
            return Ok(Some(at));
        }
        check_line(&text)?;
        message.trailers.push(text);
    }
}
