//! Settings of `lb`.
//!
//! ```text
//! --cluster names, then the file's others, in the file's order ──▶ pools
//! --listen, or [listener.NAME]                                  ──▶ the data path
//! ```

use std::sync::Arc;

use super::common::{self, Shared};
use super::document::{Found, Table};
use super::error::{At, Error, Faults};
use super::relays::Read;
use super::sources::{Sources, Surroundings, Valued};
use super::{
    Cluster, Front, Given, access, address, defaults, flags, listener, parse, relays, tls,
};
use crate::pool::registry::StaticBackend;
use crate::{announce, health, pool, proxy};

/// What the settings are read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To run: something must be there to balance.
    Run,
    /// To judge a file, whose pools may be named by flags later.
    Check,
}

/// Reads everything; faults are noted, and then the result is of no use.
pub(super) fn read(
    flags: &flags::Front,
    around: &Surroundings,
    purpose: Purpose,
    mut root: Table<'_>,
    faults: &Faults,
) -> Front {
    let sources = Sources::new(around, faults);
    let mut log = root.table("log");
    let shared = common::read(&sources, &flags.common, &mut root, &mut log, around, true);
    let access_log = access::read(&sources, flags, log);
    let mut clusters = clusters(&sources, flags, &mut root);
    let (listeners, places) = listener::read(&sources, flags, &mut root, &clusters);
    relays::settle(&sources, &listeners, &mut clusters);
    let clusters: Vec<Cluster> = clusters.into_iter().map(|read| read.cluster).collect();
    routes(&sources, &mut root);
    let mut proxy = proxy::Settings {
        listeners,
        timeouts: timeouts(&sources, root.table("timeouts")),
        ..defaults::proxy()
    };
    limits(&sources, flags, root.table("limits"), &mut proxy);
    // A pool that could not be read is there all the same.
    if clusters.is_empty() && purpose == Purpose::Run && !faults.touch("cluster") {
        faults.push(Error::Missing(
            "nothing to balance: name the pool, like `lb --cluster web`, or give --backend HOST:PORT; `lb demo` shows it without either",
        ));
    }
    if clusters.is_empty()
        && purpose == Purpose::Check
        && !faults.touch("cluster")
        && let Some(file) = root.file()
    {
        sources.conflict(format!(
            "{file}: names no pool, so that there is nothing to balance; add [cluster.NAME], which does no harm where --cluster NAME is given as well"
        ));
    }
    listener::one_socket_each(&sources, &shared, &proxy.listeners, &places);
    sources.finish();
    Front {
        access_log,
        ..finish(flags, around, sources, shared, clusters, proxy)
    }
}

fn finish(
    flags: &flags::Front,
    around: &Surroundings,
    sources: Sources<'_>,
    shared: Shared,
    clusters: Vec<Cluster>,
    proxy: proxy::Settings,
) -> Front {
    let tags = announce::tags(&[], &shared.extra_tags()).unwrap_or_else(|too_long| {
        sources.faults.push(too_long.into());
        announce::Tags::new()
    });
    let first = clusters.first().map(|cluster| cluster.pool.name.clone());
    let Shared {
        mut gossip,
        discover,
        insecure_gossip,
        handlers,
        rpc,
        admin,
        state,
        snapshot,
        tags_file,
        log,
        ..
    } = shared;
    gossip.tags = tags;
    let discover_given = discover.is_some();
    let discover = discover.unwrap_or(first);
    gossip.discover.clone_from(&discover);
    Front {
        gossip,
        discover_given,
        discover,
        insecure_gossip,
        handlers,
        rpc,
        clusters,
        proxy,
        admin,
        state,
        snapshot,
        tags_file,
        log,
        access_log: None,
        file: None,
        warnings: sources.warnings.into_inner(),
        given: Given {
            flags: flags.clone(),
            around: around.clone(),
            serf: None,
        },
    }
}

fn clusters(sources: &Sources<'_>, flags: &flags::Front, root: &mut Table<'_>) -> Vec<Read> {
    let named = sources
        .list("cluster", &flags.cluster, None, parse::split, parse::name)
        .unwrap_or_default();
    let mut clusters: Vec<Read> = Vec::new();
    for valued in named {
        if clusters
            .iter()
            .any(|read| read.cluster.pool.name == valued.value)
        {
            sources.refuse(&valued, "is named twice");
        } else {
            clusters.push(plain(&valued.value));
        }
    }
    for (name, table) in root.named("cluster") {
        if let Err(why) = parse::name(&name.text) {
            sources.faults.value(&name.at, &name.shown, why);
        }
        let known = clusters
            .iter()
            .position(|read| read.cluster.pool.name == name.text);
        let index = known.unwrap_or_else(|| {
            clusters.push(plain(&name.text));
            clusters.len() - 1
        });
        cluster(sources, table, &mut clusters[index]);
    }
    let given = sources
        .list(
            "backend",
            &flags.backend,
            None,
            address::split_backends,
            address::backend,
        )
        .unwrap_or_default();
    if clusters.is_empty() && !given.is_empty() {
        clusters.push(plain(defaults::POOL));
    }
    if let Some(first) = clusters.first_mut() {
        for valued in given {
            add_backend(sources, &mut first.cluster.pool.backends, valued);
        }
    }
    clusters
}

fn plain(name: &str) -> Read {
    Read {
        cluster: Cluster {
            pool: defaults::pool(name),
            check: health::Settings::default(),
            tls: Arc::default(),
            backend_networks: Vec::new(),
        },
        proto: None,
        check: false,
    }
}

fn cluster(sources: &Sources<'_>, mut table: Table<'_>, read: &mut Read) {
    let cluster = &mut read.cluster;
    let pool = &mut cluster.pool;
    let (port, proto) = (table.integer("default_port"), table.text("proto"));
    read.proto = proto.as_ref().map(Found::place);
    sources.set(&mut pool.proto, proto, parse::proto);
    if port.is_none() && pool.proto.is_tls() {
        pool.default_port = defaults::HTTPS_PORT;
    }
    sources.set(&mut pool.default_port, port, parse::port);
    let hop = &mut pool.hop;
    sources.set(
        &mut hop.send_proxy,
        table.text("send_proxy"),
        parse::send_proxy,
    );
    sources.set(&mut hop.on_down, table.text("on_down"), parse::on_down);
    cluster.check.send_proxy = hop.send_proxy;
    sources.set(
        &mut pool.lost_keep,
        table.text("lost_keep"),
        parse::duration_or_zero,
    );
    for found in table.texts("backend_networks").unwrap_or_default() {
        cluster
            .backend_networks
            .extend(sources.key(Some(found), address::network));
    }
    let mut check = table.table("check");
    let spec = check.text("spec");
    read.check = spec.is_some();
    sources.set(&mut pool.check, spec, parse::check);
    health(sources, check, &mut cluster.check);
    let host = cluster.check.host.as_deref();
    cluster.tls = tls::cluster(sources, table.table("tls"), host, pool.proto.is_tls());
    ejection(sources, table.table("ejection"), &mut pool.ejection);
    room(sources, &mut table, &mut pool.limits);
    for (at, mut table) in table.each("backend") {
        let address = table.text("address");
        let mut backend = StaticBackend {
            address: String::new(),
            weight: 1,
            tier: 0,
            backup: false,
        };
        sources.set(&mut backend.weight, table.integer("weight"), parse::weight);
        sources.set(
            &mut backend.tier,
            table.integer("tier"),
            parse::number("tier", 0, u8::MAX),
        );
        sources.set(&mut backend.backup, table.boolean("backup"), parse::boolean);
        let Some(address) = address else {
            sources
                .faults
                .value(&at, "{}", "lacks an address; write address = \"HOST:PORT\"");
            continue;
        };
        let (at, shown) = (address.at.clone(), address.shown.clone());
        if let Some(address) = sources.key(Some(address), address::backend_address) {
            backend.address = address;
            add_backend(
                sources,
                &mut pool.backends,
                Valued {
                    value: backend,
                    at,
                    shown,
                },
            );
        }
    }
}

fn add_backend(
    sources: &Sources<'_>,
    backends: &mut Vec<StaticBackend>,
    valued: Valued<StaticBackend>,
) {
    let address = &valued.value.address;
    if backends
        .iter()
        .any(|backend| backend.address.eq_ignore_ascii_case(address))
    {
        sources.refuse(&valued, format!("{address} is a backend of this pool already; drop one, and give the other the sum of the weights"));
        return;
    }
    backends.push(valued.value);
}

fn health(sources: &Sources<'_>, mut table: Table<'_>, check: &mut health::Settings) {
    sources.set(&mut check.interval, table.text("interval"), parse::duration);
    sources.set(&mut check.timeout, table.text("timeout"), parse::duration);
    sources.set(
        &mut check.unproven_interval,
        table.text("unproven_interval"),
        parse::duration,
    );
    sources.set(
        &mut check.down_interval,
        table.text("down_interval"),
        parse::duration,
    );
    sources.set(
        &mut check.down_fast_for,
        table.text("down_fast_for"),
        parse::duration_or_zero,
    );
    sources.set(
        &mut check.rise,
        table.integer("rise"),
        parse::number("rise", 1, 1000),
    );
    sources.set(
        &mut check.fall,
        table.integer("fall"),
        parse::number("fall", 1, 1000),
    );
    if let Some(host) = sources.key(table.text("host"), parse::text) {
        check.host = Some(host);
    }
}

fn ejection(sources: &Sources<'_>, mut table: Table<'_>, ejection: &mut pool::ejection::Settings) {
    let mut count = |setting: &mut u32, key: &'static str, min, max| {
        sources.set(setting, table.integer(key), parse::number(key, min, max));
    };
    count(&mut ejection.failures, "failures", 0, 1_000_000);
    count(&mut ejection.percent, "percent", 0, 100);
    count(&mut ejection.min_requests, "min_requests", 1, 1_000_000);
    count(&mut ejection.max_percent, "max_percent", 0, 100);
    let mut some = |setting: &mut std::time::Duration, key| {
        sources.set(setting, table.text(key), parse::duration);
    };
    some(&mut ejection.window, "window");
    some(&mut ejection.time, "time");
    some(&mut ejection.time_max, "time_max");
}

fn room(sources: &Sources<'_>, table: &mut Table<'_>, limits: &mut pool::queue::Settings) {
    sources.set(
        &mut limits.max_in_flight,
        table.integer("max_in_flight"),
        parse::number("max_in_flight", 0, 1_000_000),
    );
    let queue = table.integer("queue");
    // The default may stand there for all to see.
    let unlike = queue
        .as_ref()
        .filter(|found| found.text != limits.queue.to_string());
    if let (0, Some(queue)) = (limits.max_in_flight, unlike) {
        sources.warn(format!(
            "{} has no effect, since nobody waits: set max_in_flight too",
            queue.at
        ));
    }
    sources.set(
        &mut limits.queue,
        queue,
        parse::number("queue", 0, 1_000_000),
    );
    sources.set(
        &mut limits.queue_timeout,
        table.text("queue_timeout"),
        parse::duration,
    );
}

fn routes(sources: &Sources<'_>, root: &mut Table<'_>) {
    let mut first: Option<At> = None;
    for (at, mut table) in root.each("route") {
        let (_host, _path) = (table.texts("host"), table.texts("path"));
        sources.key(table.text("cluster"), parse::name);
        first.get_or_insert(at);
    }
    if let Some(at) = first {
        sources.warn(format!(
            "{at} has no effect yet: the first pool takes all requests"
        ));
    }
}

fn timeouts(sources: &Sources<'_>, mut table: Table<'_>) -> proxy::Timeouts {
    let mut timeouts = proxy::Timeouts::default();
    let mut some = |setting: &mut std::time::Duration, key| {
        sources.set(setting, table.text(key), parse::duration);
    };
    some(&mut timeouts.connect, "connect");
    some(&mut timeouts.second_connect, "second_connect");
    some(&mut timeouts.first_byte, "first_byte");
    some(&mut timeouts.slow_first_byte, "slow_first_byte");
    some(&mut timeouts.body_progress, "body_progress");
    some(&mut timeouts.client_idle, "client_idle");
    some(&mut timeouts.request_head, "request_head");
    some(&mut timeouts.tls_handshake, "tls_handshake");
    some(&mut timeouts.upstream_idle, "upstream_idle");
    some(&mut timeouts.upgrade_idle, "upgrade_idle");
    some(&mut timeouts.successor, "successor");
    some(&mut timeouts.tcp_idle, "tcp_idle");
    let mut or_none = |setting: &mut std::time::Duration, key| {
        sources.set(setting, table.text(key), parse::duration_or_zero);
    };
    or_none(&mut timeouts.first_verdict, "first_verdict");
    or_none(&mut timeouts.drain, "drain");
    or_none(&mut timeouts.shutdown_delay, "shutdown_delay");
    timeouts
}

fn limits(
    sources: &Sources<'_>,
    flags: &flags::Front,
    mut table: Table<'_>,
    proxy: &mut proxy::Settings,
) {
    let workers = parse::number("workers", 0, WORKERS_MAX);
    if let Some(workers) =
        sources.scalar("workers", &flags.workers, table.integer("workers"), workers)
    {
        proxy.workers = workers.value;
    }
    let limits = &mut proxy.limits;
    sources.set(
        &mut limits.attempts,
        table.integer("attempts"),
        parse::number("attempts", 1, 10),
    );
    sources.set(
        &mut limits.retry_percent,
        table.integer("retry_percent"),
        parse::number("retry_percent", 0, 100),
    );
    sources.set(
        &mut limits.retries_per_second,
        table.integer("retries_per_second"),
        parse::number("retries_per_second", 0, 1_000_000),
    );
    let mut size = |setting: &mut usize, key: &'static str, min, max| {
        sources.set(setting, table.integer(key), parse::number(key, min, max));
    };
    size(&mut limits.replay_bytes, "replay_bytes", 0, 16 << 20);
    // RFC 9110 §4.1 wants at least 8,000 octets of request target; a fraction of that still serves tests.
    size(
        &mut limits.request_line_bytes,
        "request_line_bytes",
        256,
        1 << 20,
    );
    // No more is read at once.
    size(&mut limits.head_bytes, "head_bytes", 1024, 1 << 18);
    size(&mut limits.header_fields, "header_fields", 10, 10_000);
    size(&mut limits.connections, "connections", 1, 10_000_000);
    size(
        &mut limits.idle_per_backend,
        "idle_per_backend",
        0,
        1_000_000,
    );
    size(&mut limits.h2_streams, "h2_streams", 1, 10_000);
    // HTTP/2 begins with 65,535, and its windows have 31 bits.
    let (least, most) = (65_535, (1 << 31) - 1);
    size(
        &mut limits.h2_stream_window_bytes,
        "h2_stream_window_bytes",
        least,
        most,
    );
    size(&mut limits.h2_window_bytes, "h2_window_bytes", least, most);
    if let Some(upgrades) = table.texts("upgrades") {
        let upgrades = upgrades.into_iter();
        limits.upgrades = upgrades
            .filter_map(|found| sources.key(Some(found), parse::upgrade))
            .collect();
    }
}

/// More threads than any machine has cores for.
const WORKERS_MAX: usize = 1024;
