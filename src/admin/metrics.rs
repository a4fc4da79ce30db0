//! Plain numbers as Prometheus text, made anew at each scrape.
//!
//! ```text
//! pools, members, counters ─▶ samples by labels ─▶ families ─▶ TextEncoder
//! ```
//!
//! Samples are kept by their labels: two with the same labels would make a scraper refuse the
//! whole page, so they are added up instead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use super::gone::Name;
use super::process::Process;
use super::source::{Durations, Requests};
use crate::gossip::core::member::{Members, Status};
use crate::gossip::core::node::Stats;
use crate::pool::effective::State;
use crate::pool::snapshot::{Backend, Pool};

/// All that one scrape shows.
#[derive(Debug)]
pub(super) struct Scrape {
    pub(super) pools: Vec<Arc<Pool>>,
    pub(super) requests: Requests,
    pub(super) checks: (u64, u64),
    pub(super) members: Arc<Members>,
    pub(super) gossip: Stats,
    pub(super) process: Process,
}

impl Scrape {
    /// The backends that have counters of requests.
    pub(super) fn counted(&self) -> BTreeSet<Name> {
        let served = self.requests.served.iter();
        served
            .map(|served| (served.pool.to_string(), served.backend.clone()))
            .collect()
    }

    /// The backends in the snapshots; each pool also counts as its own nameless backend.
    pub(super) fn present(&self) -> BTreeSet<Name> {
        let mut present = BTreeSet::new();
        for pool in &self.pools {
            present.insert((pool.name.to_string(), String::new()));
            for backend in &pool.snapshot.load().backends {
                present.insert((pool.name.to_string(), backend.upstream.address.to_string()));
            }
        }
        present
    }

    /// The page. Of the request counters, only those of `shown` backends.
    pub(super) fn render(&self, shown: &BTreeSet<Name>) -> String {
        let mut page = Page::default();
        page.gauge("lb_build_info", "Always 1; the version is in the label.")
            .add(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        self.render_requests(&mut page, shown);
        self.render_pools(&mut page);
        self.render_gossip(&mut page);
        self.render_process(&mut page);
        page.encode()
    }

    fn render_requests(&self, page: &mut Page, shown: &BTreeSet<Name>) {
        let family = page.counter(
            "lb_requests_total",
            "Requests answered, by the backend that was reached (its address; empty for none) and class of the answer.",
        );
        for served in &self.requests.served {
            let name = (served.pool.to_string(), served.backend.clone());
            if shown.contains(&name) {
                family.add(
                    &[
                        ("pool", &name.0),
                        ("backend", &name.1),
                        ("class", served.class),
                    ],
                    served.count as f64,
                );
            }
        }
        page.histograms(
            "lb_request_duration_seconds",
            "From a request's head to the end of its answer.",
            &self.requests.durations,
        );
        let family = page.counter("lb_retries_total", "Attempts beyond a request's first.");
        for (reason, count) in &self.requests.retries {
            family.add(&[("reason", reason)], *count as f64);
        }
        page.gauge("lb_connections", "Client connections open now.")
            .add(&[], self.requests.connections as f64);
        let (passed, failed) = self.checks;
        page.counter("lb_checks_total", "Health checks made.")
            .add(&[("result", "pass")], passed as f64)
            .add(&[("result", "fail")], failed as f64);
    }

    fn render_pools(&self, page: &mut Page) {
        page.gauge(
            "lb_pool_generation",
            "Grows by one with each change of a pool.",
        );
        page.gauge("lb_pool_backends", "Backends known, in rotation or not.");
        page.gauge("lb_pool_backends_in_rotation", "Backends in rotation.");
        for pool in &self.pools {
            let snapshot = pool.snapshot.load();
            let labels = [("pool", &*pool.name)];
            page.at("lb_pool_generation")
                .add(&labels, snapshot.generation as f64);
            page.at("lb_pool_backends")
                .add(&labels, snapshot.backends.len() as f64);
            let in_rotation = snapshot
                .backends
                .iter()
                .filter(|backend| backend.verdict.in_rotation);
            page.at("lb_pool_backends_in_rotation")
                .add(&labels, in_rotation.count() as f64);
            for backend in &snapshot.backends {
                render_backend(page, &pool.name, backend);
            }
        }
    }

    fn render_gossip(&self, page: &mut Page) {
        let family = page.gauge(
            "lb_gossip_members",
            "Members known to gossip, ourselves included.",
        );
        for status in [Status::Alive, Status::Leaving, Status::Left, Status::Failed] {
            family.add(
                &[("status", &status.to_string())],
                self.members.count(status) as f64,
            );
        }
        let stats = &self.gossip;
        let family = page.counter(
            "lb_gossip_dropped_total",
            "Gossip input that could not be used.",
        );
        for (reason, count) in &stats.dropped {
            family.add(&[("reason", reason)], *count as f64);
        }
        page.counter("lb_gossip_packets_total", "Gossip packets.")
            .add(&[("direction", "in")], stats.packets_received as f64)
            .add(&[("direction", "out")], stats.packets_sent as f64);
        page.counter("lb_gossip_packet_bytes_total", "Bytes in gossip packets.")
            .add(&[("direction", "in")], stats.packet_bytes_received as f64)
            .add(&[("direction", "out")], stats.packet_bytes_sent as f64);
        page.counter("lb_gossip_probes_total", "Probes of other members.")
            .add(&[], stats.probes as f64);
        page.counter(
            "lb_gossip_probes_failed_total",
            "Probes without any answer.",
        )
        .add(&[], stats.probes_failed as f64);
        page.counter(
            "lb_gossip_refutations_total",
            "Times others thought that we were gone.",
        )
        .add(&[], stats.refutations as f64);
        page.gauge(
            "lb_gossip_health_score",
            "Doubt in our own health: 0 is healthy, more stretches our timeouts.",
        )
        .add(&[], f64::from(stats.health_score));
        page.gauge(
            "lb_gossip_queued_broadcasts",
            "Broadcasts still to be sent.",
        )
        .add(&[], stats.queued_broadcasts as f64);
        page.gauge("lb_gossip_streams", "Gossip streams open now.")
            .add(&[], stats.streams as f64);
    }

    fn render_process(&self, page: &mut Page) {
        let process = &self.process;
        if let Some(seconds) = process.cpu_s {
            page.counter("process_cpu_seconds_total", "User and system time spent.")
                .add(&[], seconds);
        }
        let whole = |count: Option<u64>| count.map(|count| count as f64);
        let gauges = [
            (
                "process_resident_memory_bytes",
                "Resident memory.",
                whole(process.resident_bytes),
            ),
            (
                "process_virtual_memory_bytes",
                "Address space.",
                whole(process.virtual_bytes),
            ),
            ("process_threads", "Threads.", whole(process.threads)),
            (
                "process_open_fds",
                "Open file descriptors.",
                whole(process.open_fds),
            ),
            (
                "process_max_fds",
                "Allowed file descriptors.",
                whole(process.fds_max),
            ),
            (
                "process_start_time_seconds",
                "Start, as a Unix time.",
                process.started_s,
            ),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                page.gauge(name, help).add(&[], value);
            }
        }
    }
}

fn render_backend(page: &mut Page, pool: &str, backend: &Backend) {
    let address = backend.upstream.address.to_string();
    let node = &*backend.upstream.id.node;
    page.gauge(
        "lb_requests_in_flight",
        "Requests under way at a backend (its address).",
    )
    .add(
        &[("pool", pool), ("backend", &address)],
        f64::from(backend.upstream.live.in_flight()),
    );
    page.gauge(
        "lb_backend_in_rotation",
        "1 while the backend takes requests, else 0.",
    )
    .add(
        &[("pool", pool), ("backend", &address), ("node", node)],
        f64::from(u8::from(backend.verdict.in_rotation)),
    );
    let family = page.gauge(
        "lb_backend_state",
        "1 for the state that the backend is in, 0 for the others.",
    );
    for state in State::ALL {
        family.add(
            &[
                ("pool", pool),
                ("backend", &address),
                ("node", node),
                ("state", &state.to_string()),
            ],
            f64::from(u8::from(backend.verdict.state == state)),
        );
    }
}

type Labels = Vec<(&'static str, String)>;

/// Families in order of their first mention.
#[derive(Debug, Default)]
struct Page {
    families: Vec<Family>,
}

#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    samples: BTreeMap<Labels, f64>,
    histograms: Vec<Metric>,
}

impl Page {
    fn counter(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.family(name, help, MetricType::COUNTER)
    }

    fn gauge(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.family(name, help, MetricType::GAUGE)
    }

    /// A gauge that was mentioned before.
    fn at(&mut self, name: &'static str) -> &mut Family {
        self.gauge(name, "")
    }

    fn histograms(&mut self, name: &'static str, help: &'static str, of: &[Durations]) {
        self.family(name, help, MetricType::HISTOGRAM).histograms =
            of.iter().map(histogram).collect();
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
                    histograms: Vec::new(),
                });
                self.families.len() - 1
            }
        };
        &mut self.families[at]
    }

    fn encode(self) -> String {
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
    fn add(&mut self, labels: &[(&'static str, &str)], value: f64) -> &mut Self {
        let labels = labels
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        *self.samples.entry(labels).or_insert(0.0) += value;
        self
    }

    fn into_proto(self) -> MetricFamily {
        let mut metrics = self.histograms;
        for (labels, value) in self.samples {
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
            metrics.push(metric);
        }
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(metrics);
        family
    }
}

fn histogram(durations: &Durations) -> Metric {
    let mut cumulative = 0;
    let buckets = durations.buckets.iter().map(|(upper_bound, count)| {
        cumulative += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*upper_bound);
        bucket.set_cumulative_count(cumulative);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_sum(durations.sum_s);
    histogram.set_sample_count(durations.count);
    let mut metric = Metric::from_label(pairs(vec![("pool", durations.pool.to_string())]));
    metric.set_histogram(histogram);
    metric
}

fn pairs(labels: Labels) -> Vec<LabelPair> {
    labels
        .into_iter()
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value);
            pair
        })
        .collect()
}
