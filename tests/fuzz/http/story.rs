//! What one input means: what a client sends, what a backend answers, and where both are cut up.
//!
//! ```text
//! [client's cuts][backend's cuts] client's bytes FF FE [flags] answer FF FE [flags] answer …
//! ```

/// Separates answers.
const MARK: &[u8] = b"\xff\xfe";

/// Longest side of a story.
const BYTES_MAX: usize = 4096;

/// One exchange of a client with a backend behind the proxy.
pub struct Story<'a> {
    pub client: &'a [u8],
    pub client_cuts: u8,
    pub backend_cuts: u8,
    pub answers: Vec<Script<'a>>,
}

/// What the backend does at one request.
#[derive(Clone, Copy)]
pub struct Script<'a> {
    pub bytes: &'a [u8],
    /// Then it closes.
    pub close: bool,
    /// It doesn't wait for the request's body.
    pub early: bool,
    /// Then it closes by a reset.
    pub reset: bool,
}

/// What the backend says when the story has no more answers.
pub const FINE: Script<'_> = Script {
    bytes: b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine",
    close: false,
    early: false,
    reset: false,
};

impl<'a> Story<'a> {
    pub fn read(data: &'a [u8]) -> Option<Self> {
        let (&[client_cuts, backend_cuts], mut rest) = data.split_first_chunk::<2>()?;
        let mut parts = Vec::new();
        while let Some(at) = rest.windows(2).position(|window| window == MARK) {
            parts.push(&rest[..at]);
            rest = &rest[at + 2..];
        }
        parts.push(rest);
        let mut parts = parts.into_iter();
        let client = parts.next()?;
        let answers: Vec<Script<'_>> = parts
            .filter_map(|part| part.split_first())
            .map(|(flags, bytes)| Script {
                bytes,
                close: flags & 1 != 0,
                early: flags & 2 != 0,
                reset: flags & 4 != 0,
            })
            .collect();
        let fits = client.len() <= BYTES_MAX
            && answers.len() <= 16
            && answers.iter().all(|script| script.bytes.len() <= BYTES_MAX);
        fits.then_some(Self {
            client,
            client_cuts,
            backend_cuts,
            answers,
        })
    }
}

/// Cuts bytes up; by 0 not at all.
pub fn cut(bytes: &[u8], how: u8) -> Vec<&[u8]> {
    if how == 0 || bytes.is_empty() {
        return vec![bytes];
    }
    let mut dice = u32::from(how);
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() && pieces.len() < 60 {
        dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let most = if how & 1 == 0 { 4 } else { 64 };
        let (piece, tail) = rest.split_at((1 + (dice >> 16) as usize % most).min(rest.len()));
        pieces.push(piece);
        rest = tail;
    }
    if !rest.is_empty() {
        pieces.push(rest);
    }
    pieces
}
