//! Requests that are answered at the door: sent on to https, or asked by an ACME server.
//!
//! ```text
//! request ─▶ /.well-known/acme-challenge/TOKEN ─▶ a file of acme_dir
//!         └▶ anything else, with redirect_https ─▶ 301 for GET and HEAD, 308 for what must keep its method
//! ```
//!
//! Challenges come first: who proves that it owns a name has no certificate for it yet.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use http::Method;

use super::Listener;
use super::fault::{Fault, Moved};
use super::h1::field::Known;
use super::h1::head::Bytes;
use super::h1::refusal::Refusal;
use super::h1::request::Request;
use super::target::{self, Host};

/// Where ACME looks (RFC 8555 §8.3).
const CHALLENGES: &[u8] = b"/.well-known/acme-challenge/";

/// Longest name of a challenge; real ones have 43 characters.
const TOKEN_MAX: usize = 128;

/// A real answer has some 90 bytes.
const ANSWER_MAX: u64 = 8 * 1024;

static TOKEN: Bytes = Bytes::alphanumeric_and(b"-_");

/// An answer for `request`, if its listener has one without asking a backend.
pub(super) fn answer(listener: &Listener, request: &Request<'_>) -> Option<Fault> {
    if listener.acme_dir.is_none() && listener.redirect_https.is_none() {
        return None;
    }
    // Whoever looks closer refuses a bad one.
    let target = target::read(request.target, &request.method).ok()?;
    let path = target.path.split(|byte| *byte == b'?').next();
    let token = path.and_then(|path| path.strip_prefix(CHALLENGES));
    if let (Some(directory), Some(token)) = (&listener.acme_dir, token) {
        return Some(match request.method {
            Method::GET | Method::HEAD => challenge(directory, token),
            _ => Fault::Method,
        });
    }
    let port = listener.redirect_https?;
    let named = || {
        let mut fields = request.fields.iter();
        let host = fields.find(|field| field.known == Known::Host)?;
        Host::read(host.value.trim_ascii())
    };
    let Some(host) = target.host.or_else(named) else {
        // Nowhere to send it, and in clear it goes no further either.
        let nameless = "no valid host to be sent to https";
        return Some(Fault::Refused(Refusal::Malformed(nameless)));
    };
    Some(Fault::Moved(Box::new(Moved {
        status: match request.method {
            Method::GET | Method::HEAD => 301,
            _ => 308,
        },
        location: location(host, port, target.path),
    })))
}

fn location(host: Host<'_>, port: u16, path: &[u8]) -> String {
    let host = String::from_utf8_lossy(host.name());
    let path = String::from_utf8_lossy(match path {
        b"*" => b"/",
        path => path,
    });
    let slash = if path.starts_with('/') { "" } else { "/" };
    match port {
        443 => format!("https://{host}{slash}{path}"),
        port => format!("https://{host}:{port}{slash}{path}"),
    }
}

fn challenge(directory: &Path, token: &[u8]) -> Fault {
    let sound = (1..=TOKEN_MAX).contains(&token.len()) && TOKEN.has_all(token);
    let token = std::str::from_utf8(token).ok().filter(|_| sound);
    let answer = token.and_then(|token| small_file(&directory.join(token)));
    answer.map_or(Fault::NoChallenge, |answer| Fault::Challenge(answer.into()))
}

/// A worker waits for this disk: what is read is small, and rare.
fn small_file(path: &Path) -> Option<Vec<u8>> {
    let mut options = File::options();
    // Neither a pipe nor a link out of the directory.
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
    let file = options
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)
        .ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    let read = file.take(ANSWER_MAX + 1).read_to_end(&mut bytes).ok()?;
    (read as u64 <= ANSWER_MAX).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::Listen;
    use crate::proxy::h1::request;

    fn listener(redirect: Option<u16>, acme: Option<&Path>) -> Listener {
        Listener {
            redirect_https: redirect,
            acme_dir: acme.map(Path::to_owned),
            ..Listener::plain("web", Listen::Default { port: 80 })
        }
    }

    fn told(listener: &Listener, head: &str) -> Option<(u16, String, String)> {
        let request = request::read(head.as_bytes(), 8192, 100).unwrap();
        answer(listener, &request).map(|fault| {
            let text = String::from_utf8(fault.text().into_owned()).unwrap();
            (fault.status(), fault.fields().into_owned(), text)
        })
    }

    #[test]
    fn requests_are_sent_to_https_with_path_and_query() {
        for (port, head, status, location) in [
            (
                443,
                "GET /a?b=c HTTP/1.1\r\nHost: x.example\r\n\r\n",
                301,
                "https://x.example/a?b=c",
            ),
            (
                443,
                "HEAD / HTTP/1.1\r\nHost: x.example:80\r\n\r\n",
                301,
                "https://x.example/",
            ),
            (
                443,
                "POST /a HTTP/1.1\r\nHost: x.example\r\n\r\n",
                308,
                "https://x.example/a",
            ),
            (
                8443,
                "GET / HTTP/1.1\r\nHost: x.example:8080\r\n\r\n",
                301,
                "https://x.example:8443/",
            ),
            (
                443,
                "GET http://y.example?q HTTP/1.1\r\nHost: x\r\n\r\n",
                301,
                "https://y.example/?q",
            ),
            (
                443,
                "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
                308,
                "https://x/",
            ),
            (
                443,
                "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
                301,
                "https://[::1]/",
            ),
        ] {
            let (code, fields, _) = told(&listener(Some(port), None), head).unwrap();

            assert_eq!(code, status, "{head}");
            assert_eq!(fields, format!("location: {location}\r\n"), "{head}");
        }
    }

    #[test]
    fn without_a_host_nobody_is_sent_anywhere_and_nothing_goes_on_in_clear() {
        let redirect = listener(Some(443), None);

        for head in [
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        ] {
            let (status, fields, _) = told(&redirect, head).unwrap();
            assert_eq!((status, &*fields), (400, ""), "{head}");
        }
    }

    #[test]
    fn challenges_are_files_of_one_directory_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("acme");
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(home.path().join("secret"), "no").unwrap();
        std::fs::write(directory.join("to-ken_1"), "to-ken_1.print").unwrap();
        std::fs::write(directory.join("large"), vec![b'x'; 9000]).unwrap();
        std::fs::create_dir(directory.join("sub")).unwrap();
        std::os::unix::fs::symlink(home.path().join("secret"), directory.join("link")).unwrap();
        let acme = listener(Some(443), Some(&directory));
        let get =
            |path: &str| told(&acme, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).unwrap();

        let (status, _, text) = get("/.well-known/acme-challenge/to-ken_1");
        assert_eq!((status, text.as_str()), (200, "to-ken_1.print"));
        for none in [
            "",
            "absent",
            "../secret",
            "..%2fsecret",
            "sub",
            "link",
            "large",
            "sub/x",
            "to-ken_1/",
            ".",
        ] {
            let (status, ..) = get(&format!("/.well-known/acme-challenge/{none}"));
            assert_eq!(status, 404, "{none}");
        }
        assert_eq!(get("/other").0, 301);
        let post = "POST /.well-known/acme-challenge/to-ken_1 HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(told(&acme, post).unwrap().0, 405);
    }
}
