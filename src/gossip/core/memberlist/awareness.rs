//! Lifeguard's score of our own health: the more often we seem to be the sick one, the more time we give others.

use std::time::Duration;

/// From 0 (healthy) to `max - 1`.
#[derive(Debug)]
pub(crate) struct Awareness {
    score: u32,
    max: u32,
}

impl Awareness {
    pub(crate) fn new(max: u32) -> Self {
        Self {
            score: 0,
            max: max.max(1),
        }
    }

    pub(crate) fn score(&self) -> u32 {
        self.score
    }

    /// Adds `delta` (negative: we did well), within the bounds.
    pub(crate) fn apply(&mut self, delta: i32) {
        self.score = self
            .score
            .saturating_add_signed(delta)
            .min(self.max.saturating_sub(1));
    }

    /// `timeout × (score + 1)`.
    pub(crate) fn scale(&self, timeout: Duration) -> Duration {
        timeout * (self.score + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_stays_between_zero_and_max_less_one() {
        let mut awareness = Awareness::new(8);

        awareness.apply(-1);
        assert_eq!(awareness.score(), 0);
        awareness.apply(100);
        assert_eq!(awareness.score(), 7);
        awareness.apply(-2);
        assert_eq!(awareness.score(), 5);
    }

    #[test]
    fn timeouts_stretch_with_the_score() {
        let mut awareness = Awareness::new(8);
        let second = Duration::from_secs(1);

        assert_eq!(awareness.scale(second), second);
        awareness.apply(3);
        assert_eq!(awareness.scale(second), 4 * second);
    }
}
