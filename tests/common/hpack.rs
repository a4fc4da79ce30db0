//! HPACK for tests (RFC 7541): writes literals only, reads everything.

/// Lengths of the Huffman codes; the codes themselves follow from them (RFC 7541 appendix B).
const BITS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// RFC 7541 appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// A field.
pub(crate) type Field = (String, String);

/// Fields as a header block: literals without indexing, so that any bytes can be said.
pub(crate) fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, 7, 0, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// RFC 7541 §5.1.
pub(crate) fn integer(block: &mut Vec<u8>, bits: u32, first: u8, value: usize) {
    let most = (1 << bits) - 1;
    if value < most {
        return block.push(first | value as u8);
    }
    block.push(first | most as u8);
    let mut left = value - most;
    while left >= 128 {
        block.push((left % 128) as u8 | 128);
        left /= 128;
    }
    block.push(left as u8);
}

/// Reads header blocks of one connection, in order.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    table: Vec<Field>,
    size_max: Option<usize>,
}

impl Decoder {
    /// All fields of a block.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn read(&mut self, mut block: &[u8]) -> Result<Vec<Field>, String> {
        let mut fields = Vec::new();
        while let Some(first) = block.first().copied() {
            if first & 0x80 != 0 {
                let index = take_integer(&mut block, 7)?;
                fields.push(self.at(index)?);
                continue;
            }
            if first & 0xe0 == 0x20 {
                self.size_max = Some(take_integer(&mut block, 5)?);
                self.evict();
                continue;
            }
            let indexed = first & 0xc0 == 0x40;
            let index = take_integer(&mut block, if indexed { 6 } else { 4 })?;
            let name = match index {
                0 => take_text(&mut block)?,
                index => self.at(index)?.0,
            };
            let field = (name, take_text(&mut block)?);
            if indexed {
                self.table.insert(0, field.clone());
                self.evict();
            }
            fields.push(field);
        }
        Ok(fields)
    }

    fn at(&self, index: usize) -> Result<Field, String> {
        let fixed = index.checked_sub(1).and_then(|index| STATIC.get(index));
        if let Some((name, value)) = fixed {
            return Ok(((*name).to_owned(), (*value).to_owned()));
        }
        let own = index
            .checked_sub(STATIC.len() + 1)
            .and_then(|at| self.table.get(at));
        own.cloned()
            .ok_or_else(|| format!("no such index: {index}"))
    }

    fn evict(&mut self) {
        let most = self.size_max.unwrap_or(4096);
        let size =
            |table: &[Field]| -> usize { table.iter().map(|(n, v)| n.len() + v.len() + 32).sum() };
        while size(&self.table) > most {
            self.table.pop();
        }
    }
}

fn take(block: &mut &[u8]) -> Result<u8, String> {
    let (first, rest) = block.split_first().ok_or("a block cut short")?;
    *block = rest;
    Ok(*first)
}

fn take_integer(block: &mut &[u8], bits: u32) -> Result<usize, String> {
    let most = (1 << bits) - 1;
    let mut value = usize::from(take(block)?) & most;
    if value < most {
        return Ok(value);
    }
    for shift in (0..28).step_by(7) {
        let byte = take(block)?;
        value += usize::from(byte & 127) << shift;
        if byte & 128 == 0 {
            return Ok(value);
        }
    }
    Err("a number that is too large".to_owned())
}

fn take_text(block: &mut &[u8]) -> Result<String, String> {
    let coded = block.first().is_some_and(|first| first & 0x80 != 0);
    let length = take_integer(block, 7)?;
    if block.len() < length {
        return Err("a text cut short".to_owned());
    }
    let (text, rest) = block.split_at(length);
    *block = rest;
    let text = match coded {
        true => huffman(text)?,
        false => text.to_vec(),
    };
    Ok(text.into_iter().map(char::from).collect())
}

fn huffman(coded: &[u8]) -> Result<Vec<u8>, String> {
    // By length, then by symbol: how many codes there are of each length gives the first of the next.
    let mut text = Vec::new();
    let (mut code, mut length) = (0u32, 0u8);
    for bit in coded
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1))
    {
        (code, length) = (code << 1 | u32::from(bit), length + 1);
        if let Some(symbol) = symbol(code, length) {
            text.push(symbol);
            (code, length) = (0, 0);
        } else if length > 30 {
            return Err("no Huffman code".to_owned());
        }
    }
    // What is left is padding, all ones.
    match length < 8 && code == (1 << length) - 1 {
        true => Ok(text),
        false => Err("bad Huffman padding".to_owned()),
    }
}

fn symbol(code: u32, length: u8) -> Option<u8> {
    let mut first = 0u32;
    for bits in 5..=length {
        let count = BITS.iter().filter(|each| **each == bits).count() as u32;
        if bits == length {
            let at = code.checked_sub(first).filter(|at| *at < count)?;
            let mut symbols = (0..=255u8).filter(|symbol| BITS[usize::from(*symbol)] == bits);
            return symbols.nth(at as usize);
        }
        first = (first + count) << 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541 appendices C.4.1, C.6.1 and C.6.2.
    #[test]
    fn blocks_of_the_rfc_are_read() {
        let mut decoder = Decoder::default();
        let request = [
            0x82, 0x86, 0x84, 0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab,
            0x90, 0xf4, 0xff,
        ];
        let fields = decoder.read(&request).unwrap();
        assert_eq!(
            fields[3],
            (":authority".to_owned(), "www.example.com".to_owned())
        );

        let again = decoder.read(&[0xbe]).unwrap();
        assert_eq!(again, &fields[3..]);
    }

    #[test]
    fn what_is_written_is_read() {
        let long = "x".repeat(300);
        let block = block(&[(b"a", b"b"), (b"name", long.as_bytes())]);
        let fields = Decoder::default().read(&block).unwrap();
        assert_eq!(
            fields,
            [("a".to_owned(), "b".to_owned()), ("name".to_owned(), long)]
        );
    }
}
