//! Heads, bodies and exchanges to begin from.

use std::fs;
use std::path::Path;

const REQUESTS: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: t\r\n\r\n",
    "GET /a?b HTTP/1.0\r\n\r\n",
    "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "HEAD / HTTP/1.1\r\nHost: t\r\n\r\n",
    "GET http://h/x?y HTTP/1.1\r\nHost: t\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: t\r\nMax-Forwards: 1\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: t\r\nMax-Forwards: 0\r\n\r\n",
    "TRACE / HTTP/1.1\r\nHost: t\r\n\r\n",
    "CONNECT h:80 HTTP/1.1\r\nHost: t\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: t\r\nConnection: X-A, keep-alive\r\nX-A: 1\r\nTE: trailers\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 50\r\n\r\nhello",
    "PUT / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nx: y\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
    "GET /w HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nraw bytes",
    "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
    "\r\n\r\nGET / HTTP/1.1\r\nHost: t\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: t\r\nHost: u\r\n\r\n",
    "PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 70\r\n\r\n0123456789012345678901234567890123456789012345678901234567890123456789",
];

const ANSWERS: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n",
    "HTTP/1.1 200 OK\r\n\r\nuntil the end",
    "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok",
    "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy",
    "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\nbusy",
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nraw back",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    "no HTTP at all\r\n\r\n",
    "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig",
];

const WORDS: &[&str] = &[
    "\\x0d\\x0a",
    "\\x0d\\x0a\\x0d\\x0a",
    "\\xff\\xfe",
    "\\xff\\xfe\\x00",
    "\\xff\\xfe\\x01",
    "\\xff\\xfe\\x02",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/1.1 200 OK\\x0d\\x0a",
    "HTTP/1.1 204 N\\x0d\\x0a",
    "HTTP/1.1 304 N\\x0d\\x0a",
    "HTTP/1.1 100 C\\x0d\\x0a\\x0d\\x0a",
    "HTTP/1.1 101 S\\x0d\\x0a",
    "HTTP/1.1 503 S\\x0d\\x0a",
    "GET / HTTP/1.1\\x0d\\x0aHost: t\\x0d\\x0a",
    "POST / HTTP/1.1\\x0d\\x0aHost: t\\x0d\\x0a",
    "HEAD ",
    "PUT ",
    "OPTIONS * ",
    "Content-Length: ",
    "Transfer-Encoding: chunked\\x0d\\x0a",
    "Connection: close\\x0d\\x0a",
    "Connection: keep-alive\\x0d\\x0a",
    "Connection: upgrade\\x0d\\x0aUpgrade: websocket\\x0d\\x0a",
    "Host: ",
    "Expect: 100-continue\\x0d\\x0a",
    "Max-Forwards: 0\\x0d\\x0a",
    "X-Forwarded-For: ",
    "TE: trailers\\x0d\\x0a",
    "0\\x0d\\x0a\\x0d\\x0a",
    "5\\x0d\\x0ahello\\x0d\\x0a",
    "http://h/",
    ";a=b",
    "traceparent: ",
];

/// Writes them. Gives how many.
pub fn write(here: &Path) -> usize {
    let mut written = 0;
    let mut put = |target: &str, seed: &[u8]| {
        let directory = here.join("corpus").join(target);
        fs::create_dir_all(&directory).expect("the corpus can be made");
        fs::write(directory.join(format!("seed-{written:04}")), seed).expect("a writable corpus");
        written += 1;
    };
    for bytes in REQUESTS.iter().chain(ANSWERS) {
        put("http_head", bytes.as_bytes());
        if let Some((_, body)) = bytes.split_once("\r\n\r\n")
            && bytes.contains("chunked")
        {
            put("http_chunked", &[&[3, 2], body.as_bytes()].concat());
            put("http_chunked", &[&[1, 0x81], body.as_bytes()].concat());
        }
    }
    let fine = REQUESTS[0].as_bytes();
    for (number, request) in REQUESTS.iter().enumerate() {
        let cuts = [2 * number as u8, 2 * number as u8 + 1];
        put("http_exchange", &[&cuts, request.as_bytes(), fine].concat());
        for (at, answer) in ANSWERS.iter().enumerate() {
            if (at + number) % 4 == 0 {
                let flags = [0xff, 0xfe, (number % 3) as u8];
                let parts: [&[u8]; 5] =
                    [&cuts, request.as_bytes(), fine, &flags, answer.as_bytes()];
                put("http_exchange", &parts.concat());
            }
        }
    }
    let words: String = WORDS.iter().map(|word| format!("\"{word}\"\n")).collect();
    fs::write(here.join("corpus/http.dict"), words).expect("a writable corpus");
    written
}
