//! Pools and members as JSON. Fields are only ever added.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use crate::announce::Tags;
use crate::clock;
use crate::gossip::core::member::Members;
use crate::handlers::Report;
use crate::pool::snapshot::Pool;

/// `/api/v1/pools`.
pub(super) fn pools(pools: &[Arc<Pool>], now: Instant) -> Vec<u8> {
    let pools = pools.iter().map(|pool| pool_view(pool, now)).collect();
    render(&PoolsView { pools })
}

/// `/api/v1/members`.
pub(super) fn members(own: &str, members: &Members, now: Instant) -> Vec<u8> {
    let members = members
        .by_name
        .values()
        .map(|member| MemberView {
            name: &member.name,
            address: member.address.to_string(),
            status: member.status.to_string(),
            suspect: member.suspect,
            tags: member.tags.decode(),
            role: member.tags.get("role"),
            incarnation: member.incarnation,
            since: clock::rfc3339(clock::wall_of(member.since)),
            since_s: age_s(now, member.since),
        })
        .collect();
    render(&MembersView { own, members })
}

/// `/api/v1/handlers`.
pub(super) fn handlers(reports: &[Report]) -> Vec<u8> {
    let handlers = reports.iter().map(|report| HandlerView {
        handler: &report.spec,
        runs: report.runs,
        failures: report.failures,
        dropped: report.dropped,
        waiting: report.waiting,
        last: report.last.as_ref().map(|last| LastView {
            at: clock::rfc3339(last.at),
            event: &last.occasion,
            end: &last.end,
            output: String::from_utf8_lossy(&last.output).into_owned(),
        }),
    });
    render(&HandlersView {
        handlers: handlers.collect(),
    })
}

fn pool_view(pool: &Pool, now: Instant) -> PoolView {
    let snapshot = pool.snapshot.load();
    let backends: Vec<_> = snapshot
        .backends
        .iter()
        .map(|backend| BackendView {
            node: backend.upstream.id.node.to_string(),
            service: backend.upstream.id.service.to_string(),
            address: backend.upstream.address.to_string(),
            state: backend.verdict.state.to_string(),
            in_rotation: backend.verdict.in_rotation,
            reason: backend.verdict.reason.clone(),
            weight: backend.verdict.weight,
            tier: backend.verdict.tier,
            backup: backend.verdict.backup,
            since: clock::rfc3339(clock::wall_of(backend.since)),
            since_s: age_s(now, backend.since),
            in_flight: backend.upstream.live.in_flight(),
        })
        .collect();
    PoolView {
        name: pool.name.to_string(),
        generation: snapshot.generation,
        in_rotation: backends.iter().filter(|view| view.in_rotation).count(),
        panic: snapshot.panic,
        max_in_flight: snapshot.limits.max_in_flight,
        queue: snapshot.limits.queue,
        queued: pool.queue.len(),
        backends,
    }
}

/// Seconds with milliseconds: more digits would only be noise to a reader.
fn age_s(now: Instant, since: Instant) -> f64 {
    now.saturating_duration_since(since).as_millis() as f64 / 1000.0
}

fn render(view: &impl Serialize) -> Vec<u8> {
    // Only maps with other keys than text and failing `Serialize` impls can fail; views have neither.
    let mut text = serde_json::to_vec_pretty(view).expect("views are plain data");
    text.push(b'\n');
    text
}

#[derive(Serialize)]
struct PoolsView {
    pools: Vec<PoolView>,
}

#[derive(Serialize)]
struct PoolView {
    name: String,
    generation: u64,
    in_rotation: usize,
    panic: bool,
    /// 0: no limit.
    max_in_flight: u32,
    queue: usize,
    queued: usize,
    backends: Vec<BackendView>,
}

#[derive(Serialize)]
struct BackendView {
    node: String,
    service: String,
    address: String,
    state: String,
    in_rotation: bool,
    reason: String,
    weight: u16,
    tier: u8,
    backup: bool,
    since: String,
    since_s: f64,
    in_flight: u32,
}

#[derive(Serialize)]
struct MembersView<'a> {
    #[serde(rename = "self")]
    own: &'a str,
    members: Vec<MemberView<'a>>,
}

#[derive(Serialize)]
struct MemberView<'a> {
    name: &'a str,
    address: String,
    status: String,
    suspect: bool,
    tags: Tags,
    role: Option<&'a str>,
    incarnation: u32,
    since: String,
    since_s: f64,
}

#[derive(Serialize)]
struct HandlersView<'a> {
    handlers: Vec<HandlerView<'a>>,
}

#[derive(Serialize)]
struct HandlerView<'a> {
    handler: &'a str,
    runs: u64,
    failures: u64,
    dropped: u64,
    waiting: usize,
    /// Absent before the first run.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<LastView<'a>>,
}

#[derive(Serialize)]
struct LastView<'a> {
    at: String,
    event: &'a str,
    end: &'a str,
    output: String,
}
