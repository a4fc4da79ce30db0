use super::*;

/// Reads `bytes` as from a socket that gives at most `most` at once; what is left of them.
fn take(bytes: &[u8], most: usize) -> Result<Option<(Header, &[u8])>, Malformed> {
    let mut at = 0;
    loop {
        let wanted = match next(&bytes[..at])? {
            Step::Whole(header) => return Ok(Some((header, &bytes[at..]))),
            Step::Bytes(wanted) => wanted,
            Step::Line(wanted) => {
                let rest = &bytes[at..];
                let lf = rest.iter().take(wanted).position(|byte| *byte == b'\n');
                lf.map_or(wanted, |lf| lf + 1)
            }
        };
        assert!(wanted > 0, "it waits for nothing");
        if at == bytes.len() {
            return Ok(None);
        }
        at = (at + wanted.min(most)).min(bytes.len());
    }
}

fn header(source: &str, destination: &str) -> Header {
    Header::For {
        source: source.parse().expect("an address"),
        destination: destination.parse().expect("an address"),
    }
}

/// A header of version 2 with `more` behind `addresses`.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend_from_slice(&[command, family]);
    bytes.extend_from_slice(&(block.len() as u16).to_be_bytes());
    bytes.extend_from_slice(block);
    bytes
}

const FOUR: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 4, 1, 0xbb];

#[test]
fn the_lines_of_the_specification_are_understood() {
    for (text, expected) in [
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            header("255.255.255.255:65535", "255.255.255.255:65535"),
        ),
        (
            "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
            header("192.168.0.1:56324", "192.168.0.11:443"),
        ),
        (
            "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            header(
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            ),
        ),
        (
            "PROXY TCP6 ::1 2001:db8::1 0 80\r\n",
            header("[::1]:0", "[2001:db8::1]:80"),
        ),
        ("PROXY UNKNOWN\r\n", Header::Own),
        (
            "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            Header::Own,
        ),
    ] {
        let bytes = [text.as_bytes(), b"GET / HTTP/1.1\r\n"].concat();
        for most in [1, 2, 7, usize::MAX] {
            let taken = take(&bytes, most).expect(text).expect(text);
            assert_eq!(taken, (expected, &b"GET / HTTP/1.1\r\n"[..]), "{text}");
        }
    }
}

#[test]
fn binary_headers_are_understood_at_every_split() {
    let six = [&[0x20; 16][..], &[0x30; 16], &[0, 1, 0, 2]].concat();
    let with_fields = [&FOUR[..], &[4, 0, 3, 1, 2, 3], &[0xea, 0, 0]].concat();
    let six_header = header(
        "[2020:2020:2020:2020:2020:2020:2020:2020]:1",
        "[3030:3030:3030:3030:3030:3030:3030:3030]:2",
    );
    let four_header = header("192.0.2.1:56324", "198.51.100.7:443");
    for (bytes, expected) in [
        (v2(0x21, 0x11, &FOUR), four_header),
        (v2(0x21, 0x11, &with_fields), four_header),
        (v2(0x21, 0x21, &six), six_header),
        // The proxy's own connections, whatever they say of themselves.
        (v2(0x20, 0x00, &[]), Header::Own),
        (v2(0x20, 0x11, &FOUR), Header::Own),
        (v2(0x20, 0xff, &[1, 2, 3]), Header::Own),
        // Neither TCP over IPv4 nor over IPv6.
        (v2(0x21, 0x00, &[9; 40]), Header::Own),
        (v2(0x21, 0x12, &FOUR), Header::Own),
        (v2(0x21, 0x22, &six), Header::Own),
        (v2(0x21, 0x31, &[b'a'; 216]), Header::Own),
    ] {
        let stream = [&bytes[..], b"rest"].concat();
        for most in (1..=bytes.len()).chain([usize::MAX]) {
            let taken = take(&stream, most).expect("it is right");
            assert_eq!(taken, Some((expected, &b"rest"[..])), "{bytes:?}");
        }
        for cut in 0..bytes.len() {
            assert_eq!(take(&bytes[..cut], usize::MAX), Ok(None), "{cut}");
        }
    }
}

#[test]
fn what_only_looks_like_a_line_is_refused() {
    for text in [
        "GET / HTTP/1.1\r\n",
        "proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXYxTCP4 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY  TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP4\t1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 -2\r\n",
        "PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP4 01.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP4 ::1 ::2 1 2\r\n",
        "PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP6 [::1] ::2 1 2\r\n",
        "PROXY TCP6 ::1%eth0 ::2 1 2\r\n",
        "PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY unknown 1\r\n",
        "PROXY \r\n \r\n \r\n",
        "PROXY UNKNOWN \0\r\n",
    ] {
        for most in [1, usize::MAX] {
            let taken = take(text.as_bytes(), most);
            assert!(taken.is_err(), "{text:?}: {taken:?}");
        }
    }
}

#[test]
fn the_first_wrong_byte_is_enough() {
    for bytes in [&b"G"[..], b"\n", b"PR0", b"\r\n\r\n\0\r\nQUIT\r", b"PROXYx"] {
        assert!(next(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn nothing_is_read_beyond_the_bounds() {
    let endless = [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat();
    assert_eq!(
        take(&endless, usize::MAX),
        Err(Malformed("a line of more than 107 bytes"))
    );
    let fits = [&b"PROXY UNKNOWN "[..], &[b'x'; 91], b"\r\n"].concat();
    assert_eq!(fits.len(), LINE_MAX);
    assert_eq!(take(&fits, 1), Ok(Some((Header::Own, &b""[..]))));

    let block = vec![0; BYTES_MAX - FIXED];
    let largest = v2(0x20, 0, &block);
    assert!(matches!(take(&largest, 999), Ok(Some((Header::Own, [])))));
    let larger = v2(0x20, 0, &vec![0; BYTES_MAX - FIXED + 1]);
    assert_eq!(
        next(&larger[..FIXED]),
        Err(Malformed("more than 4096 bytes"))
    );
}

#[test]
fn binary_headers_that_say_what_nobody_knows_are_refused() {
    for bytes in [
        v2(0x11, 0x11, &FOUR),
        v2(0x31, 0x11, &FOUR),
        v2(0x22, 0x11, &FOUR),
        v2(0x21, 0x41, &FOUR),
        v2(0x21, 0x13, &FOUR),
        v2(0x21, 0x11, &FOUR[..11]),
        v2(0x21, 0x21, &FOUR),
        v2(0x21, 0x11, &[&FOUR[..], &[1]].concat()),
        v2(0x21, 0x11, &[&FOUR[..], &[1, 0]].concat()),
        v2(0x21, 0x11, &[&FOUR[..], &[1, 0, 2, 9]].concat()),
    ] {
        let taken = take(&bytes, usize::MAX);
        assert!(taken.is_err(), "{bytes:?}: {taken:?}");
    }
}

#[test]
fn what_is_written_is_read_back() {
    let cases = [
        ("192.0.2.1:1", "198.51.100.7:443", None),
        ("[2001:db8::1]:65535", "[::1]:0", None),
        // A client of a dual-stack listener is an IPv4 client.
        (
            "[::ffff:192.0.2.1]:1",
            "198.51.100.7:443",
            Some(("192.0.2.1:1", "198.51.100.7:443")),
        ),
        (
            "192.0.2.1:1",
            "[2001:db8::1]:443",
            Some(("[::ffff:192.0.2.1]:1", "[2001:db8::1]:443")),
        ),
    ];
    for version in [Version::V1, Version::V2] {
        for (source, destination, read) in cases {
            let (from, to) = read.unwrap_or((source, destination));
            let bytes = write(
                version,
                source.parse().expect("an address"),
                destination.parse().expect("an address"),
            );

            let taken = take(&bytes, usize::MAX);

            assert_eq!(taken, Ok(Some((header(from, to), &b""[..]))), "{bytes:?}");
        }
        let taken = take(own(version), 1);
        assert_eq!(taken, Ok(Some((Header::Own, &b""[..]))));
    }
}
