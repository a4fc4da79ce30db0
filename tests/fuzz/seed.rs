//! Writes `corpus/`: for gossip from the captured vectors, for HTTP from examples.

#[path = "http/seeds.rs"]
mod http;

use std::fs;
use std::path::Path;

use lb::proxy_header::{self, Version};
use serde_json::Value;

fn main() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for target in ["packet", "stream", "serf", "member", "rpc"] {
        fs::create_dir_all(here.join("corpus").join(target)).expect("the corpus can be made");
    }
    let mut written = 0;
    let mut files: Vec<_> = fs::read_dir(here.join("../data/serf"))
        .expect("the vectors are there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
        .collect();
    files.sort();
    for file in files {
        let text = fs::read_to_string(&file).expect("a readable file");
        let vectors: Vec<Value> = serde_json::from_str(&text).expect("a list");
        for vector in vectors {
            for field in ["hex", "request_hex"] {
                let Some(bytes) = vector[field].as_str().map(unhex) else {
                    continue;
                };
                for (target, seed) in
                    seeds(vector["transport"].as_str().unwrap_or_default(), &bytes)
                {
                    written += 1;
                    let path = here.join(format!("corpus/{target}/seed-{written:04}"));
                    fs::write(path, seed).expect("a writable corpus");
                }
            }
        }
    }
    written += http::write(here) + proxy_headers(here);
    println!("{written} seeds");
}

/// One of each kind; the first byte says how it is cut up.
fn proxy_headers(here: &Path) -> usize {
    let directory = here.join("corpus/proxy_header");
    fs::create_dir_all(&directory).expect("the corpus can be made");
    let four = ["192.0.2.7:4711", "198.51.100.1:443"];
    let six = ["[2001:db8::7]:4711", "[::1]:443"];
    let mut seeds = vec![b"\x01PROXY UNKNOWN ffff::1 ::1 1 2\r\nrest".to_vec()];
    for version in [Version::V1, Version::V2] {
        seeds.push([b"\x07", proxy_header::own(version)].concat());
        for [source, destination] in [four, six] {
            let address = |text: &str| text.parse().expect("an address");
            let header = proxy_header::write(version, address(source), address(destination));
            seeds.push([b"\xff", &header[..], b"GET / HTTP/1.1\r\n"].concat());
        }
    }
    // With a field behind the addresses.
    let fields = b"\x03\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10\xc0\0\x02\x01\xc0\0\x02\x02\0\x01\0\x02\x04\0\x01x";
    seeds.push(fields.to_vec());
    for (number, seed) in seeds.iter().enumerate() {
        fs::write(directory.join(format!("seed-{number:02}")), seed).expect("a writable corpus");
    }
    seeds.len()
}

/// What a capture is worth to each target.
fn seeds(transport: &str, bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let framed = |kind: u8| {
        let mut all = vec![kind];
        all.extend((bytes.len() as u16).to_be_bytes());
        all.extend(bytes);
        all
    };
    match transport {
        "udp" => {
            let mut found = vec![("packet", bytes.to_vec()), ("member", framed(0))];
            // A Serf message follows the type byte 8; tags follow 0xff.
            for (at, byte) in bytes.iter().enumerate() {
                match byte {
                    8 if bytes.len() - at < 400 => found.push(("serf", bytes[at + 1..].to_vec())),
                    0xff => found.push(("serf", bytes[at..].to_vec())),
                    _ => {}
                }
            }
            found
        }
        "tcp" => vec![
            ("stream", [&[0xff, 0xff], bytes].concat()),
            ("stream", [&[7, 3], bytes].concat()),
            ("member", framed(4)),
        ],
        "rpc" => vec![("rpc", bytes.to_vec())],
        _ => Vec::new(),
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex"))
        .collect()
}
