//! Session tickets: keys that all workers share, replaced in time.
//!
//! ```text
//! encrypt ─▶ current      decrypt ─▶ current, else previous      turn: current becomes previous
//! ```
//!
//! A ticket opens a session at any worker, since the state is in the ticket. Who steals a key reads the sessions that
//! were resumed with its tickets, so a key lives two turns and is gone.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::ProducesTickets;

/// How long one key seals tickets, in seconds; it opens them as long again.
pub const TURN_SECONDS: u32 = 6 * 3600;

/// Keys of tickets.
#[derive(Debug)]
pub struct Tickets(ArcSwap<Keys>);

#[derive(Debug)]
struct Keys {
    current: Arc<dyn ProducesTickets>,
    previous: Option<Arc<dyn ProducesTickets>>,
}

fn fresh() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    // It would turn by itself as well, which does no harm: we turn at least as often.
    rustls::crypto::aws_lc_rs::Ticketer::new()
}

impl Tickets {
    /// With a key of its own.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn new() -> Result<Self, rustls::Error> {
        Ok(Self(ArcSwap::from_pointee(Keys {
            current: fresh()?,
            previous: None,
        })))
    }

    /// A new key; that before the last is forgotten.
    ///
    /// # Errors
    /// The system has no randomness; the keys stay.
    pub fn turn(&self) -> Result<(), rustls::Error> {
        let current = fresh()?;
        let previous = Some(self.0.load().current.clone());
        self.0.store(Arc::new(Keys { current, previous }));
        Ok(())
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        2 * TURN_SECONDS
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.load().current.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let keys = self.0.load();
        let opened = keys.current.decrypt(cipher);
        opened.or_else(|| keys.previous.as_ref()?.decrypt(cipher))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_opens_for_one_turn_more_and_then_no_more() {
        let tickets = Tickets::new().unwrap();
        let sealed = tickets.encrypt(b"session").unwrap();
        assert_eq!(tickets.decrypt(&sealed).as_deref(), Some(&b"session"[..]));

        tickets.turn().unwrap();
        assert_eq!(tickets.decrypt(&sealed).as_deref(), Some(&b"session"[..]));

        tickets.turn().unwrap();
        assert_eq!(tickets.decrypt(&sealed), None);
    }

    #[test]
    fn tickets_of_others_open_nothing() {
        let (ours, theirs) = (Tickets::new().unwrap(), Tickets::new().unwrap());

        assert_eq!(ours.decrypt(&theirs.encrypt(b"x").unwrap()), None);
        assert_eq!(ours.decrypt(b""), None);
        assert_eq!(ours.decrypt(&[0; 200]), None);
    }
}
