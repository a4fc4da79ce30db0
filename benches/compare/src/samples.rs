//! Figures of single runs, kept in a file so that a long comparison can be made in parts.
//!
//!   # what was measured: program versions and the build of lb
//!   ROW <tab> SUBJECT <tab> FIGURE <tab> VALUE        one line a run and figure, in the order of repeats

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::failure::{During, Failure};

/// Values by row, subject and figure; one for each repeat.
#[derive(Default)]
pub(crate) struct Samples {
    values: BTreeMap<(String, String, String), Vec<f64>>,
}

impl Samples {
    /// Those of an earlier run; none where `build` or the programs are others now.
    pub(crate) fn kept(path: &Path, build: &str) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        let mut samples = Self::default();
        let mut lines = text.lines();
        if lines.next().and_then(|line| line.strip_prefix("# ")) != Some(build) {
            return samples;
        }
        for line in lines {
            let parts: Vec<&str> = line.split('\t').collect();
            if let [row, subject, figure, value] = parts[..]
                && let Ok(value) = value.parse()
            {
                samples.add(row, subject, figure, value);
            }
        }
        samples
    }

    /// # Errors
    /// The file cannot be written.
    pub(crate) fn keep(&self, path: &Path, build: &str) -> Result<(), Failure> {
        let mut text = format!("# {build}\n");
        for ((row, subject, figure), values) in &self.values {
            for value in values {
                let _ = writeln!(text, "{row}\t{subject}\t{figure}\t{value}");
            }
        }
        fs::write(path, text).during(format_args!("writing {}", path.display()))
    }

    pub(crate) fn add(&mut self, row: &str, subject: &str, figure: &str, value: f64) {
        let key = (row.to_owned(), subject.to_owned(), figure.to_owned());
        self.values.entry(key).or_default().push(value);
    }

    pub(crate) fn forget(&mut self, row: &str) {
        self.values.retain(|(of, _, _), _| of != row);
    }

    pub(crate) fn of(&self, row: &str, subject: &str, figure: &str) -> &[f64] {
        let key = (row.to_owned(), subject.to_owned(), figure.to_owned());
        self.values.get(&key).map_or(&[], Vec::as_slice)
    }

    /// `a` over `b`, repeat by repeat: what both suffered alike falls out.
    pub(crate) fn ratios(&self, row: &str, figure: &str, a: &str, b: &str) -> Vec<f64> {
        let (a, b) = (self.of(row, a, figure), self.of(row, b, figure));
        a.iter().zip(b).map(|(a, b)| a / b).collect()
    }
}

/// The middle, the smallest and the largest of `values`; `None` of none.
pub(crate) fn spread(values: &[f64]) -> Option<(f64, f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (first, last) = (*sorted.first()?, *sorted.last()?);
    let half = sorted.len() / 2;
    let middle = match sorted.len() % 2 {
        0 => (sorted[half - 1] + sorted[half]) / 2.0,
        _ => sorted[half],
    };
    Some((middle, first, last))
}

#[cfg(test)]
mod tests {
    use super::{Samples, spread};

    #[test]
    fn the_middle_of_an_even_number_is_between_two() {
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), Some((2.5, 1.0, 4.0)));
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some((2.0, 1.0, 3.0)));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn ratios_are_taken_within_a_repeat() {
        let mut samples = Samples::default();
        for (lb, peer) in [(10.0, 20.0), (100.0, 300.0)] {
            samples.add("1k", "lb", "cpu", lb);
            samples.add("1k", "nginx", "cpu", peer);
        }

        assert_eq!(samples.ratios("1k", "cpu", "nginx", "lb"), [2.0, 3.0]);
    }

    #[test]
    fn figures_of_another_build_are_not_kept() {
        let path = std::env::temp_dir().join(format!("compare-samples-{}", std::process::id()));
        let mut samples = Samples::default();
        samples.add("1k", "lb, two", "cpu", 1.25);
        samples.keep(&path, "lb A").expect("written");

        let same = Samples::kept(&path, "lb A");
        let other = Samples::kept(&path, "lb B");
        std::fs::remove_file(&path).expect("removed");

        assert_eq!(same.of("1k", "lb, two", "cpu"), [1.25]);
        assert!(other.of("1k", "lb, two", "cpu").is_empty());
    }
}
