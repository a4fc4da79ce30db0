//! Smooth weighted round robin as a table.
//!
//! ```text
//! weights 5 1 1 ──gcd, scale──▶ slots 5 1 1 ──earliest deadline first──▶ 0 1 0 0 2 0 0
//! ```
//!
//! An upstream with `w` of `T` slots may have its k-th turn (from 0) from slot `kT/w` on, and should
//! have had it by `(k+1)T/w`. Of those that may, the one that should be first is served: the
//! rule of WF²Q (Bennett and Zhang, 1996). At every slot `t` each upstream has had `t·w/T` turns, give or
//! take less than one. nginx's scheme has the same aim but looks at every upstream for each slot.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Slots of the largest table, unless there are more than a quarter as many upstreams.
const SLOTS_MAX: u64 = 1024;

/// Slots per upstream of the largest table, when there are many.
const SLOTS_PER_UPSTREAM: u64 = 4;

/// The rotation: indices into `weights`, each at least once. A weight of 0 counts as 1.
///
/// Weights are reduced by their greatest common divisor; if they sum to more than
/// `max(1024, 4n)`, they are scaled down to it. The order is the same for the same weights.
pub fn table(weights: &[u16]) -> Vec<u32> {
    let slots = slots(weights);
    let total: u64 = slots.iter().sum();
    let mut table = Vec::with_capacity(total as usize);
    let mut open: BinaryHeap<Reverse<Turn>> = BinaryHeap::with_capacity(slots.len());
    let mut later: BinaryHeap<Reverse<Turn>> = BinaryHeap::with_capacity(slots.len());
    for (index, &width) in slots.iter().enumerate() {
        open.push(Reverse(Turn {
            number: 1,
            width,
            index: index as u32,
        }));
    }
    for slot in 0..total {
        while let Some(Reverse(turn)) = later.peek() {
            if turn.number * total > slot * turn.width {
                break;
            }
            open.extend(later.pop().map(|Reverse(turn)| Reverse(turn.next())));
        }
        let Some(Reverse(turn)) = open.pop() else {
            debug_assert!(false, "not everyone can be ahead of their share");
            break;
        };
        table.push(turn.index);
        // In `open` a turn is ordered by when it should end; in `later` the same number is when the next may begin.
        if turn.number < turn.width {
            later.push(Reverse(turn));
        }
    }
    table
}

/// One upstream's place in time: `number / width`, in units of the whole table.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Turn {
    number: u64,
    width: u64,
    index: u32,
}

impl Turn {
    fn next(self) -> Self {
        Self {
            number: self.number + 1,
            ..self
        }
    }
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.number * other.width)
            .cmp(&(other.number * self.width))
            // The heavier first: it has to come again sooner.
            .then(other.width.cmp(&self.width))
            .then(self.index.cmp(&other.index))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Slots of each weight: proportional, at least one, at most `max(1024, 4n)` in all.
fn slots(weights: &[u16]) -> Vec<u64> {
    let weights: Vec<u64> = weights
        .iter()
        .map(|&weight| u64::from(weight).max(1))
        .collect();
    let slots_max = SLOTS_MAX.max(SLOTS_PER_UPSTREAM * weights.len() as u64);
    let reduced = reduce(weights);
    if reduced.iter().sum::<u64>() <= slots_max {
        return reduced;
    }
    reduce(scale(&reduced, slots_max))
}

fn reduce(mut weights: Vec<u64>) -> Vec<u64> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    weights.iter_mut().for_each(|weight| *weight /= divisor);
    weights
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Shares out `slots_max`: first one slot to each that deserves less, then by largest remainder.
fn scale(weights: &[u64], slots_max: u64) -> Vec<u64> {
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|&index| weights[index]);
    let (mut slots_left, mut weight_left) = (slots_max, weights.iter().sum::<u64>());
    let mut slots = vec![1; weights.len()];
    let light = order
        .iter()
        .take_while(|&&index| {
            let deserves_less = weights[index] * slots_left < weight_left;
            if deserves_less {
                slots_left -= 1;
                weight_left -= weights[index];
            }
            deserves_less
        })
        .count();
    let heavy = &mut order[light..];
    let mut spare = slots_left;
    for &mut index in heavy.iter_mut() {
        slots[index] = weights[index] * slots_left / weight_left;
        spare -= slots[index];
    }
    // Equal weights must get equal slots, or two equal backends would no longer alternate: a
    // remainder that does not reach all of one weight is left unused.
    heavy.sort_by_key(|&index| {
        let remainder = weights[index] * slots_left % weight_left;
        (Reverse(remainder), weights[index])
    });
    for alike in heavy.chunk_by(|&a, &b| weights[a] == weights[b]) {
        if alike.len() as u64 > spare {
            break;
        }
        spare -= alike.len() as u64;
        alike.iter().for_each(|&index| slots[index] += 1);
    }
    slots
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn counts(table: &[u32], upstreams: usize) -> Vec<u64> {
        let mut counts = vec![0; upstreams];
        table.iter().for_each(|&index| counts[index as usize] += 1);
        counts
    }

    /// Longest run of one upstream, with the table repeated.
    fn longest_run(table: &[u32]) -> usize {
        let twice: Vec<u32> = table.iter().chain(table).copied().collect();
        twice
            .chunk_by(|a, b| a == b)
            .map(<[u32]>::len)
            .max()
            .unwrap_or(0)
    }

    #[test]
    fn small_tables_are_as_expected() {
        for (weights, expected) in [
            (&[][..], &[][..]),
            (&[7], &[0]),
            (&[1, 1], &[0, 1]),
            (&[10, 10], &[0, 1]),
            (&[1, 1, 1], &[0, 1, 2]),
            (&[5, 1, 1], &[0, 1, 0, 0, 2, 0, 0]),
            (&[2, 1], &[0, 1, 0]),
            (&[0, 0], &[0, 1]),
        ] {
            assert_eq!(table(weights), expected, "{weights:?}");
        }
    }

    #[test]
    fn five_to_one_to_one_never_repeats_more_than_it_must() {
        assert_eq!(longest_run(&table(&[5, 1, 1])), 3);
        assert_eq!(longest_run(&table(&[1, 5, 1])), 3);
        assert_eq!(longest_run(&table(&[1, 1, 5])), 3);
        assert_eq!(longest_run(&table(&[50, 25, 25])), 1);
    }

    #[test]
    fn weights_too_fine_for_the_table_are_scaled() {
        let table = table(&[1000, 999, 1]);

        assert!(table.len() <= 1024, "{}", table.len());
        assert_eq!(counts(&table, 3)[2], 1);
        assert!(counts(&table, 3)[0].abs_diff(512) <= 1);
    }

    #[test]
    fn equal_weights_stay_equal_when_scaled() {
        let mut weights = vec![997; 300];
        weights.extend([1000; 300]);
        let table = table(&weights);

        let counts = counts(&table, 600);
        assert!(table.len() <= 2400);
        assert!(counts[..300].iter().all(|&count| count == counts[0]));
        assert!(counts[300..].iter().all(|&count| count == counts[300]));
    }

    #[test]
    fn every_prefix_of_a_random_table_is_fair_within_one_turn() {
        let seed = 0x5e_ed01;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        for round in 0..400 {
            let upstreams = random.random_range(1..40);
            let ceiling = if round % 2 == 0 { 1000 } else { 9 };
            let weights: Vec<u16> = (0..upstreams)
                .map(|_| random.random_range(1..=ceiling))
                .collect();
            let case = format!("seed {seed:#x}, round {round}: {weights:?}");

            let slots = slots(&weights);
            let table = table(&weights);

            let total = table.len() as i64;
            assert_eq!(counts(&table, upstreams), slots, "{case}");
            assert!(slots.iter().all(|&count| count >= 1), "{case}");
            assert!(total <= 1024, "{case}");
            let mut had = vec![0_i64; upstreams];
            for (slot, &index) in table.iter().enumerate() {
                had[index as usize] += 1;
                for (had, &width) in had.iter().zip(&slots) {
                    let off = had * total - (slot as i64 + 1) * width as i64;
                    assert!(off.abs() < total, "{case}: slot {slot}");
                }
            }
        }
    }

    #[test]
    fn a_random_table_keeps_the_proportions_asked_for() {
        let seed = 0x5e_ed02;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        for round in 0..200 {
            let weights: Vec<u16> = (0..8).map(|_| random.random_range(100..=1000)).collect();
            let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();

            let table = table(&weights);

            for (count, &weight) in counts(&table, 8).iter().zip(&weights) {
                let wanted = f64::from(weight) / total as f64;
                let got = *count as f64 / table.len() as f64;
                assert!(
                    (got - wanted).abs() < 0.003,
                    "seed {seed:#x}, round {round}: {weights:?}: {got} for {wanted}"
                );
            }
        }
    }
}
