//! The whole exchange, client bytes × backend bytes × where they are cut, through the real proxy on loopback.
//!
//! A backend sees only what the client framed; a client sees only what a backend said, and what was cut short it
//! sees cut; nothing hangs, nothing is left over; and where the bytes were cut changes nothing.

#![no_main]

#[path = "../http/exchange.rs"]
mod exchange;
#[path = "../http/front.rs"]
mod front;
#[path = "../http/judge.rs"]
mod judge;
#[path = "../http/oracle.rs"]
mod oracle;
#[path = "../http/story.rs"]
mod story;

use std::net::TcpListener;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static STAGE: OnceLock<(front::Front, TcpListener)> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let Some(story) = story::Story::read(data) else {
        return;
    };
    let (front, listener) = STAGE.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        (front::Front::new(address), listener)
    });
    let whole = exchange::play(front, listener, &story, false);
    let cut = exchange::play(front, listener, &story, true);
    judge::same(&whole, &cut);
});
