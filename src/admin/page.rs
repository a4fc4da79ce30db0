//! Families of samples, and their text.
//!
//! ```text
//! add(labels, value) ─▶ Family { samples by labels } ─▶ prometheus' TextEncoder
//! ```
//!
//! Samples are kept by their labels: two with the same labels would make a scraper refuse the
//! whole page, so they are added up instead.

use std::collections::BTreeMap;

use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use crate::proxy::stats::{BOUNDS_MS, Durations};

/// Families in order of their first mention.
#[derive(Debug, Default)]
pub(super) struct Page {
    families: Vec<Family>,
}

/// All samples of one name.
#[derive(Debug)]
pub(super) struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    samples: BTreeMap<Labels, f64>,
    durations: BTreeMap<Labels, Durations>,
}

type Labels = Vec<(&'static str, String)>;

impl Page {
    /// The counter of this name, new at its first mention.
    pub(super) fn counter(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.family(name, help, MetricType::COUNTER)
    }

    /// The gauge of this name, new at its first mention.
    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.family(name, help, MetricType::GAUGE)
    }

    /// The histogram of this name, new at its first mention.
    pub(super) fn histogram(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.family(name, help, MetricType::HISTOGRAM)
    }

    /// The family of this name, which was mentioned before.
    pub(super) fn at(&mut self, name: &'static str) -> &mut Family {
        self.gauge(name, "")
    }

    fn family(&mut self, name: &'static str, help: &'static str, kind: MetricType) -> &mut Family {
        let at = match self.families.iter().position(|family| family.name == name) {
            Some(at) => at,
            None => {
                self.families.push(Family {
                    name,
                    help,
                    kind,
                    samples: BTreeMap::new(),
                    durations: BTreeMap::new(),
                });
                self.families.len() - 1
            }
        };
        &mut self.families[at]
    }

    /// The whole page; families without a sample are left out.
    pub(super) fn encode(self) -> String {
        // The encoder refuses a family without samples.
        let families: Vec<_> = self
            .families
            .into_iter()
            .map(Family::into_proto)
            .filter(|family| !family.get_metric().is_empty())
            .collect();
        TextEncoder::new()
            .encode_to_string(&families)
            .expect("families have a name and samples, and text is written to memory")
    }
}

impl Family {
    /// Adds to the sample with these labels.
    pub(super) fn add(&mut self, labels: &[(&'static str, &str)], value: f64) -> &mut Self {
        *self.samples.entry(owned(labels)).or_insert(0.0) += value;
        self
    }

    /// Adds to the histogram with these labels.
    pub(super) fn add_durations(&mut self, labels: &[(&'static str, &str)], more: &Durations) {
        let durations = self.durations.entry(owned(labels)).or_default();
        for (sum, count) in durations.buckets.iter_mut().zip(more.buckets) {
            *sum += count;
        }
        durations.seconds += more.seconds;
    }

    fn into_proto(self) -> MetricFamily {
        let histograms = self.durations.into_iter().map(|(labels, durations)| {
            let mut metric = Metric::from_label(pairs(labels));
            metric.set_histogram(histogram(&durations));
            metric
        });
        let samples = self.samples.into_iter().map(|(labels, value)| {
            let mut metric = Metric::from_label(pairs(labels));
            match self.kind {
                MetricType::COUNTER => {
                    let mut counter = Counter::default();
                    counter.set_value(value);
                    metric.set_counter(counter);
                }
                _ => {
                    let mut gauge = Gauge::default();
                    gauge.set_value(value);
                    metric.set_gauge(gauge);
                }
            }
            metric
        });
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(histograms.chain(samples).collect());
        family
    }
}

fn histogram(durations: &Durations) -> Histogram {
    let mut cumulative = 0;
    let buckets = BOUNDS_MS.iter().zip(durations.buckets);
    let buckets = buckets.map(|(bound_ms, count)| {
        cumulative += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound_ms / 1000.0);
        bucket.set_cumulative_count(cumulative);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_sum(durations.seconds);
    histogram.set_sample_count(durations.buckets.iter().sum());
    histogram
}

fn owned(labels: &[(&'static str, &str)]) -> Labels {
    let labels = labels.iter();
    labels
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect()
}

fn pairs(labels: Labels) -> Vec<LabelPair> {
    let pairs = labels.into_iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value);
        pair
    });
    pairs.collect()
}
