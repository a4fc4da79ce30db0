//! Logical time: orders what several members say without a common clock.

/// A Lamport clock. Member intents, events and queries have one each.
#[derive(Debug)]
pub(crate) struct Clock(u64);

impl Clock {
    /// Starts at 1, so that time 0 means "never".
    pub(crate) fn new() -> Self {
        Self(1)
    }

    pub(crate) fn time(&self) -> u64 {
        self.0
    }

    /// The current time, for a message of ours; the clock moves on.
    pub(crate) fn tick(&mut self) -> u64 {
        let stamp = self.0;
        self.0 = self.0.saturating_add(1);
        stamp
    }

    /// Never to be behind what was heard.
    pub(crate) fn witness(&mut self, time: u64) {
        if time >= self.0 {
            self.0 = time.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_always_ahead_of_what_it_heard() {
        let mut clock = Clock::new();

        assert_eq!(clock.tick(), 1);
        clock.witness(1);
        assert_eq!(clock.time(), 2);
        clock.witness(41);
        assert_eq!(clock.time(), 42);
        clock.witness(7);
        assert_eq!(clock.time(), 42);
    }

    #[test]
    fn the_end_of_time_is_no_panic() {
        let mut clock = Clock::new();
        clock.witness(u64::MAX);
        clock.tick();

        assert_eq!(clock.time(), u64::MAX);
    }
}
