//! Times in nanoseconds, kept to 1.6 %: 64 steps for each power of two.

const STEPS: usize = 64;

/// Counts of times.
pub(crate) struct Histogram {
    counts: Vec<u32>,
    all: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; STEPS * 40],
            all: 0,
        }
    }

    pub(crate) fn add(&mut self, nanos: u64) {
        let last = self.counts.len() - 1;
        self.counts[slot(nanos).min(last)] += 1;
        self.all += 1;
    }

    /// The time that a `share` of all did not exceed, in microseconds; 0 where nothing was counted.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let wanted = (self.all as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (slot, &count) in self.counts.iter().enumerate() {
            seen += u64::from(count);
            if seen >= wanted && count > 0 {
                return floor(slot) as f64 / 1000.0;
            }
        }
        0.0
    }
}

fn slot(nanos: u64) -> usize {
    if nanos < STEPS as u64 {
        return nanos as usize;
    }
    let power = 63 - nanos.leading_zeros() as usize;
    (power - 5) * STEPS + ((nanos >> (power - 6)) as usize & (STEPS - 1))
}

fn floor(slot: usize) -> u64 {
    if slot < STEPS {
        return slot as u64;
    }
    let power = slot / STEPS + 5;
    (1 << power) + ((slot as u64 & (STEPS as u64 - 1)) << (power - 6))
}

#[cfg(test)]
mod tests {
    use super::Histogram;

    #[test]
    fn quantiles_are_right_to_a_sixtieth() {
        let mut times = Histogram::new();
        for microseconds in 1..=1000 {
            times.add(microseconds * 1000);
        }

        for (share, right) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = times.quantile(share);
            assert!((found - right).abs() < right / 60.0, "{share}: {found}");
        }
    }
}
