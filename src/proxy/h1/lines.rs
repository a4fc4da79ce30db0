//! Writing field lines.
//!
//! A line is always written as `name: value` and CRLF. One that came so already is copied as it is, and
//! neighbours together: the same bytes, in one copy instead of four for each field.

use std::ops::Range;

use super::head::Field;

/// Appends `parts`.
pub fn put(wire: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        wire.extend_from_slice(part);
    }
}

/// Copies field lines of one head.
#[derive(Debug)]
pub struct Lines<'h> {
    head: &'h [u8],
    /// Not copied yet.
    run: Range<usize>,
}

impl<'h> Lines<'h> {
    /// Of the head that the fields were read from.
    pub fn of(head: &'h [u8]) -> Self {
        Self { head, run: 0..0 }
    }

    /// Adds a field's line. What else goes to `wire` has to be preceded by [`Self::flush`], if order matters.
    #[inline]
    pub fn keep(&mut self, wire: &mut Vec<u8>, field: &Field<'h>) {
        match self.place_of(field) {
            Some(line) if line.start == self.run.end => self.run.end = line.end,
            line => self.begin(wire, field, line),
        }
    }

    /// It does not go on where the last one ended.
    #[cold]
    fn begin(&mut self, wire: &mut Vec<u8>, field: &Field<'h>, line: Option<Range<usize>>) {
        self.flush(wire);
        match line {
            Some(line) => self.run = line,
            None => put(wire, &[field.name, b": ", field.value, b"\r\n"]),
        }
    }

    /// Copies what was kept.
    pub fn flush(&mut self, wire: &mut Vec<u8>) {
        wire.extend_from_slice(&self.head[std::mem::take(&mut self.run)]);
    }

    /// Where the line stands, if it stands there just as it would be written.
    #[inline(always)]
    fn place_of(&self, field: &Field<'h>) -> Option<Range<usize>> {
        if !field.plain {
            return None;
        }
        let (name, head) = (field.name.as_ptr().addr(), self.head.as_ptr().addr());
        let start = name.checked_sub(head)?;
        let end = start + field.name.len() + field.value.len() + b": \r\n".len();
        // That of another head is elsewhere.
        (end <= self.head.len()).then_some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::h1::request;

    #[test]
    fn lines_are_the_same_whether_copied_or_written() {
        let head = b"GET / HTTP/1.1\r\na: 1\r\nB:2\r\nc:\t3 \r\nd: 4\r\ndropped: 5\r\ne: 6\r\nf:\r\ng: \r\nh: 7\r\n\r\n";
        let request = request::read(head, 100, 16).unwrap();
        let (mut copied, mut written) = (Vec::new(), Vec::new());
        let mut lines = Lines::of(head);
        for field in request
            .fields
            .iter()
            .filter(|field| field.name != b"dropped")
        {
            lines.keep(&mut copied, field);
            put(&mut written, &[field.name, b": ", field.value, b"\r\n"]);
        }
        lines.flush(&mut copied);

        assert_eq!(
            String::from_utf8(copied).unwrap(),
            String::from_utf8(written).unwrap()
        );
    }

    #[test]
    fn a_field_of_another_head_is_written() {
        let (one, other) = (b"a: 1\r\n\r\n", b"a: 1\r\n\r\n".to_vec());
        let (fields, _) = super::super::head::fields(&other, 1).unwrap();
        let mut wire = Vec::new();
        let mut lines = Lines::of(one);

        lines.keep(&mut wire, &fields[0]);
        lines.flush(&mut wire);

        assert_eq!(wire, b"a: 1\r\n");
    }
}
