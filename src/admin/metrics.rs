//! Plain numbers as Prometheus text, made anew at each scrape.
//!
//! ```text
//! pools, members, counters ─▶ Numbers ──render──▶ Page: families of samples ─▶ text
//! ```
//!
//! Names and labels are the contract (DESIGN §5); they are only ever added.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::gone::Name;
use super::page::Page;
use super::process::Process;
use super::source::Certificate;
use crate::gossip::core::io::Stats;
use crate::gossip::core::member::{Members, Status};
use crate::pool::effective::State;
use crate::pool::snapshot::{Backend, Pool};
use crate::proxy::Scrape;
use crate::proxy::stats::{BackendCounts, CLASSES, Dropped, ENDS, QueueCounts, Unheaded};
use crate::tls::failure;

/// All that one page shows.
#[derive(Debug)]
pub(super) struct Numbers {
    pub(super) pools: Vec<Arc<Pool>>,
    pub(super) requests: Scrape,
    pub(super) checks: (u64, u64),
    pub(super) certificates: Vec<Certificate>,
    pub(super) void_checks: u64,
    pub(super) pauses: u64,
    pub(super) members: Arc<Members>,
    pub(super) gossip: Stats,
    pub(super) process: Process,
}

impl Numbers {
    /// The backends that have counters of requests.
    pub(super) fn counted(&self) -> BTreeSet<Name> {
        self.requests.backends.iter().map(name_of).collect()
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
        self.render_tls(&mut page);
        self.render_pools(&mut page);
        self.render_queues(&mut page);
        self.render_gossip(&mut page);
        self.render_process(&mut page);
        page.encode()
    }

    fn render_requests(&self, page: &mut Page, shown: &BTreeSet<Name>) {
        page.counter(
            "lb_requests_total",
            "Requests answered, by the backend that was reached (its address; empty for none) and class of the answer.",
        );
        page.histogram(
            "lb_request_duration_seconds",
            "From a request's head to the end of its answer.",
        );
        for counts in &self.requests.backends {
            let name = name_of(counts);
            if shown.contains(&name) {
                render_counts(page, &name, counts);
            }
        }
        page.counter(
            "lb_tcp_connections_total",
            "Relayed connections that ended, by the backend that was reached (its address; empty for none) and who ended them.",
        );
        page.counter(
            "lb_tcp_bytes_total",
            "Bytes of relayed connections; in: from clients.",
        );
        for counts in &self.requests.backends {
            let name = name_of(counts);
            if shown.contains(&name) {
                render_relayed(page, &name, counts);
            }
        }
        let family = page.counter(
            "lb_proxy_protocol_refused_total",
            "Connections closed for want of a good PROXY header.",
        );
        for (why, count) in Unheaded::ALL.iter().zip(self.requests.unheaded) {
            family.add(&[("reason", why.label())], count as f64);
        }
        let family = page.counter("lb_retries_total", "Attempts beyond a request's first.");
        for (reason, count) in &self.requests.retries {
            family.add(&[("reason", reason.label())], *count as f64);
        }
        page.counter(
            "lb_retries_refused_total",
            "Attempts that the retry budget did not allow.",
        )
        .add(&[], self.requests.retries_refused as f64);
        page.counter(
            "lb_access_log_dropped_total",
            "Lines of the access log that were not written, since its file took too few or none.",
        )
        .add(&[], self.requests.access_log_lost as f64);
        page.gauge("lb_connections", "Client connections open now.")
            .add(&[], self.requests.connections_open as f64);
        page.counter("lb_connections_total", "Client connections accepted.")
            .add(&[], self.requests.connections_total as f64);
        let (passed, failed) = self.checks;
        page.counter("lb_checks_total", "Health checks made.")
            .add(&[("result", "pass")], passed as f64)
            .add(&[("result", "fail")], failed as f64)
            .add(&[("result", "void")], self.void_checks as f64);
        page.counter(
            "lb_pauses_total",
            "Times this process was not running for 200 ms or more; what failed meanwhile does not count.",
        )
        .add(&[], self.pauses as f64);
    }

    fn render_tls(&self, page: &mut Page) {
        let handshakes = &self.requests.handshakes;
        page.counter("lb_tls_handshakes_total", "TLS handshakes with clients.")
            .add(&[("kind", "full")], handshakes.full as f64)
            .add(&[("kind", "resumed")], handshakes.resumed as f64);
        let family = page.counter(
            "lb_tls_handshake_failures_total",
            "TLS handshakes with clients that came to nothing.",
        );
        for (reason, count) in failure::LABELS.iter().zip(handshakes.failed) {
            family.add(&[("reason", reason)], count as f64);
        }
        page.gauge(
            "lb_tls_certificate_not_after_seconds",
            "When a certificate ends, in seconds since 1970.",
        );
        for certificate in &self.certificates {
            let labels = [
                ("listener", &*certificate.listener),
                ("name", &*certificate.name),
            ];
            page.at("lb_tls_certificate_not_after_seconds")
                .add(&labels, certificate.until_s);
        }
    }

    fn render_pools(&self, page: &mut Page) {
        page.gauge(
            "lb_pool_generation",
            "Grows by one with each change of a pool.",
        );
        page.gauge("lb_pool_backends", "Backends known, in rotation or not.");
        page.gauge("lb_pool_backends_in_rotation", "Backends in rotation.");
        page.gauge(
            "lb_pool_panic",
            "1 while only backends are left that are out by their requests or their node's word, and those are used.",
        );
        for pool in &self.pools {
            let snapshot = pool.snapshot.load();
            let labels = [("pool", &*pool.name)];
            page.at("lb_pool_panic")
                .add(&labels, f64::from(u8::from(snapshot.panic)));
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

    fn render_queues(&self, page: &mut Page) {
        page.gauge(
            "lb_pool_max_in_flight",
            "Most requests under way at one backend; 0: no limit.",
        );
        page.gauge(
            "lb_queue_length",
            "Requests that wait as all backends are full.",
        );
        page.histogram(
            "lb_queue_wait_seconds",
            "How long requests waited for a backend that was not full.",
        );
        page.counter(
            "lb_queue_dropped_total",
            "Requests that were to wait for such a backend and got none.",
        );
        for pool in &self.pools {
            let labels = [("pool", &*pool.name)];
            let limits = &pool.snapshot.load().limits;
            page.at("lb_pool_max_in_flight")
                .add(&labels, f64::from(limits.max_in_flight));
            page.at("lb_queue_length")
                .add(&labels, pool.queue.len() as f64);
        }
        for counts in &self.requests.queues {
            render_queue(page, counts);
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
            "lb_gossip_pauses_total",
            "Times gossip found that it had slept.",
        )
        .add(&[], stats.pauses as f64);
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
        page.counter(
            "lb_gossip_conflicts_total",
            "Times that a name was claimed while its holder answered.",
        )
        .add(&[], stats.conflicts as f64);
        page.counter(
            "lb_gossip_repairs_total",
            "Names moved away from addresses that had fallen silent.",
        )
        .add(&[], stats.repairs as f64);
        page.counter(
            "lb_gossip_renames_total",
            "Times that we took another name, since ours was another living node's.",
        )
        .add(&[], stats.renames as f64);
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

fn name_of(counts: &BackendCounts) -> Name {
    let backend = counts.backend.as_ref();
    let address = backend.map_or_else(String::new, |(_, address)| address.to_string());
    (counts.pool.to_string(), address)
}

fn render_counts(page: &mut Page, (pool, backend): &Name, counts: &BackendCounts) {
    let family = page.at("lb_requests_total");
    for (class, count) in CLASSES.iter().zip(counts.classes) {
        let labels = [("pool", &**pool), ("backend", backend), ("class", class)];
        family.add(&labels, count as f64);
    }
    page.at("lb_request_duration_seconds")
        .add_durations(&[("pool", pool), ("backend", backend)], &counts.durations);
}

fn render_relayed(page: &mut Page, (pool, backend): &Name, counts: &BackendCounts) {
    let (received, sent) = (counts.received, counts.sent);
    if counts.connections.iter().all(|count| *count == 0) && received + sent == 0 {
        return;
    }
    let labels = [("pool", &**pool), ("backend", &**backend)];
    let family = page.at("lb_tcp_connections_total");
    for (end, count) in ENDS.iter().zip(counts.connections) {
        family.add(&[labels[0], labels[1], ("class", end)], count as f64);
    }
    page.at("lb_tcp_bytes_total")
        .add(
            &[labels[0], labels[1], ("direction", "in")],
            received as f64,
        )
        .add(&[labels[0], labels[1], ("direction", "out")], sent as f64);
}

fn render_queue(page: &mut Page, counts: &QueueCounts) {
    let pool = ("pool", &*counts.pool);
    page.at("lb_queue_wait_seconds")
        .add_durations(&[pool], &counts.waits);
    let family = page.at("lb_queue_dropped_total");
    for (why, count) in Dropped::ALL.iter().zip(counts.dropped) {
        family.add(&[pool, ("reason", why.label())], count as f64);
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
