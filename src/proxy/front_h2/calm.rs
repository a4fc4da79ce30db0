//! What a client may say that costs it nothing and us something: frames are counted as they come in.
//!
//! ```text
//! bytes read ─▶ frame headers ─▶ price of each ─▶ budget ─┬─ left: on to h2
//!                     time, answers sent ─▶ more of it ───┘ none: ENHANCE_YOUR_CALM
//! ```
//!
//! The h2 crate bounds what it stores (CONTINUATION frames, header lists, empty DATA, streams reset before they were
//! looked at). It does not bound how often a client makes it do something: PING, SETTINGS, PRIORITY, WINDOW_UPDATE,
//! and requests that are reset again at once (CVE-2023-44487). That is here.

use std::time::{Duration, Instant};

/// Before the first frame: `PRI * HTTP/2.0 …`.
pub(super) const PREFACE_BYTES: usize = 24;

/// What may be spent at once. Browsers that leave a page of a hundred requests spend half of it.
const BUDGET: u32 = 1000;

/// What comes back for each millisecond, per mille: 200 a second.
const BACK_PER_SECOND: u64 = 200;

/// What an answer brings: more than its request and a reset of the next one cost.
pub(super) const FOR_ANSWER: u32 = 8;

/// What a DATA frame brings that the client took whole: it will say that there is room again, for the stream and for
/// the connection.
pub(super) const FOR_DATA: u32 = 4;

/// What a DATA frame costs that a window made tiny.
pub(super) const TINY: u32 = 4;

/// A window that leaves room for less than this much of what there is to send makes a frame tiny.
pub(super) const TINY_BYTES: usize = 256;

mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PUSH_PROMISE: u8 = 5;
    pub(super) const PING: u8 = 6;
    pub(super) const CONTINUATION: u8 = 9;
}

/// ACK of SETTINGS and PING, END_STREAM of DATA.
const FIRST_FLAG: u8 = 1;

/// Of HEADERS and CONTINUATION.
const END_HEADERS: u8 = 4;

/// One connection's budget, and where in its frames it is.
#[derive(Debug)]
pub(super) struct Calm {
    /// Of the preface.
    preface: usize,
    head: [u8; 9],
    have: usize,
    /// Bytes of the current frame that are still to come.
    left: usize,
    /// A header block has begun, and has not ended.
    block: bool,
    /// The client's own SETTINGS have come, which are the first thing it has to say.
    greeted: bool,
    acked: bool,
    budget: u32,
    /// Up to when time was paid for.
    paid: Instant,
    /// Since when a frame other than DATA, or a header block, is under way.
    slow_since: Option<Instant>,
}

impl Calm {
    /// Before the preface.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            preface: PREFACE_BYTES,
            head: [0; 9],
            have: 0,
            left: 0,
            block: false,
            greeted: false,
            acked: false,
            budget: BUDGET,
            paid: now,
            slow_since: Some(now),
        }
    }

    /// Looks at what was read. False: enough is enough.
    pub(super) fn hear(&mut self, mut bytes: &[u8], now: Instant) -> bool {
        self.pay(now);
        let mut calm = true;
        let preface = self.preface.min(bytes.len());
        self.preface -= preface;
        bytes = &bytes[preface..];
        while !bytes.is_empty() {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = &bytes[skipped..];
            let wanted = (self.head.len() - self.have).min(bytes.len());
            self.head[self.have..self.have + wanted].copy_from_slice(&bytes[..wanted]);
            self.have += wanted;
            bytes = &bytes[wanted..];
            if self.have == self.head.len() {
                self.have = 0;
                let price = self.frame();
                calm &= self.spend(price);
            }
        }
        let within = self.have > 0 || (self.left > 0 && self.head[3] != kind::DATA);
        match within || self.block || self.preface > 0 {
            true => self.slow_since = self.slow_since.or(Some(now)),
            false => self.slow_since = None,
        }
        calm
    }

    /// A frame's head has come: what it costs.
    fn frame(&mut self) -> u32 {
        let [a, b, c, kind, flags, ..] = self.head;
        self.left = u32::from_be_bytes([0, a, b, c]) as usize;
        let flagged = flags & FIRST_FLAG != 0;
        match kind {
            kind::DATA if self.left == 0 && !flagged => 5,
            kind::DATA => 0,
            kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION => {
                self.block = flags & END_HEADERS == 0;
                2
            }
            kind::RST_STREAM => 5,
            kind::SETTINGS if flagged => {
                self.acked = self.greeted;
                1
            }
            kind::SETTINGS => {
                self.greeted = true;
                10
            }
            kind::PING => 3,
            // PRIORITY, GOAWAY, WINDOW_UPDATE, and what is unknown here.
            _ => 1,
        }
    }

    fn pay(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.paid).as_millis() as u64;
        let back = passed * BACK_PER_SECOND / 1000;
        if back > 0 {
            self.paid += Duration::from_millis(back * 1000 / BACK_PER_SECOND);
            self.earn(back.min(u64::from(BUDGET)) as u32);
        }
    }

    /// Work was done for it.
    pub(super) fn earn(&mut self, price: u32) {
        self.budget = (self.budget + price).min(BUDGET);
    }

    /// False: there is not that much left.
    pub(super) fn spend(&mut self, price: u32) -> bool {
        let left = self.budget.checked_sub(price);
        self.budget = left.unwrap_or(0);
        left.is_some()
    }

    /// Our SETTINGS were acknowledged, by one who has said what its own are.
    pub(super) fn is_acked(&self) -> bool {
        self.acked
    }

    /// Since when a head is on its way.
    pub(super) fn slow_since(&self) -> Option<Instant> {
        self.slow_since
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        let head = [length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        [&head[..], payload].concat()
    }

    fn greeted(now: Instant) -> Calm {
        let mut calm = Calm::new(now);
        assert!(calm.hear(PREFACE, now));
        calm
    }

    /// How many of a frame come before it is too much, all at once.
    fn borne(kind: u8, flags: u8, payload: &[u8]) -> usize {
        let now = clock::now();
        let mut calm = greeted(now);
        let frame = frame(kind, flags, payload);
        (0..100_000).take_while(|_| calm.hear(&frame, now)).count()
    }

    #[test]
    fn floods_end_within_a_budget() {
        for (kind, flags, payload) in [
            (kind::RST_STREAM, 0, &[0; 4][..]),
            (kind::SETTINGS, 0, &[]),
            (kind::SETTINGS, FIRST_FLAG, &[]),
            (kind::PING, 0, &[0; 8]),
            (2, 0, &[0; 5]),
            (8, 0, &[0, 0, 0, 1]),
            (kind::CONTINUATION, 0, &[]),
            (kind::DATA, 0, &[]),
            (0x55, 0, &[]),
        ] {
            let most = BUDGET as usize;
            let borne = borne(kind, flags, payload);
            assert!((50..=most).contains(&borne), "kind {kind}: {borne}");
        }
    }

    #[test]
    fn bodies_are_free_and_answers_pay_for_requests() {
        assert_eq!(borne(kind::DATA, 0, b"hello"), 100_000);
        let now = clock::now();
        let mut calm = greeted(now);
        for _ in 0..100_000 {
            assert!(calm.hear(&frame(kind::HEADERS, END_HEADERS, b"x"), now));
            calm.earn(FOR_ANSWER);
        }
    }

    #[test]
    fn time_pays_too() {
        let mut now = clock::now();
        let mut calm = greeted(now);
        for _ in 0..100_000 {
            now += Duration::from_millis(15);
            assert!(calm.hear(&frame(kind::PING, 0, &[0; 8]), now));
        }
    }

    #[test]
    fn any_split_is_counted_alike() {
        let now = clock::now();
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(kind::SETTINGS, 0, &[0; 6]));
        bytes.extend(frame(kind::HEADERS, 0, b"block"));
        bytes.extend(frame(kind::CONTINUATION, END_HEADERS, b"end"));
        bytes.extend(frame(kind::DATA, 0, &[7; 100]));
        bytes.extend(frame(kind::SETTINGS, FIRST_FLAG, &[]));
        bytes.extend(frame(kind::PING, 0, &[0; 8]));
        let mut whole = Calm::new(now);
        assert!(whole.hear(&bytes, now));
        assert!(whole.is_acked() && whole.slow_since().is_none());

        for size in 1..40 {
            let mut calm = Calm::new(now);
            for piece in bytes.chunks(size) {
                assert!(calm.hear(piece, now));
            }
            assert_eq!(calm.budget, whole.budget, "{size}");
            assert!(calm.slow_since().is_none());
        }
    }

    #[test]
    fn a_head_under_way_is_noticed_and_a_body_is_none() {
        let now = clock::now();
        let mut calm = Calm::new(now);
        assert!(calm.slow_since().is_some());
        calm.hear(PREFACE, now);
        assert!(calm.slow_since().is_none());

        calm.hear(&frame(kind::HEADERS, 0, b"begun"), now);
        assert!(calm.slow_since().is_some());
        calm.hear(&frame(kind::CONTINUATION, END_HEADERS, b""), now);
        assert!(calm.slow_since().is_none());

        calm.hear(&frame(kind::DATA, 0, &[0; 99])[..50], now);
        assert!(calm.slow_since().is_none());
    }
}
