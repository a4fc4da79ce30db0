//! What `info` tells: all values are texts, in sections.

use std::collections::BTreeMap;

use super::membership::Membership;
use super::reply::Sections;
use crate::announce;
use crate::gossip::core::member::Status;

/// Everything about this member, under Serf's names.
pub(super) async fn sections<M: Membership>(membership: &M) -> Sections {
    let stats = membership.stats().await;
    let members = membership.members();
    let name = membership.name();
    let tags = members
        .by_name
        .get(&name)
        .map(|own| own.tags.decode())
        .unwrap_or_default();
    let count = |number: usize| number.to_string();
    Sections::from([
        ("agent", texts([("name", name.to_string())])),
        ("runtime", runtime()),
        (
            "serf",
            texts([
                ("members", count(members.by_name.len())),
                ("failed", count(members.count(Status::Failed))),
                ("left", count(members.count(Status::Left))),
                ("health_score", stats.health_score.to_string()),
                ("member_time", stats.member_time.to_string()),
                ("event_time", stats.event_time.to_string()),
                ("query_time", stats.query_time.to_string()),
                ("intent_queue", count(stats.queued_intents)),
                ("event_queue", count(stats.queued_events)),
                ("query_queue", count(stats.queued_queries)),
                ("encrypted", stats.encrypted.to_string()),
                ("coordinate_resets", stats.coordinate_resets.to_string()),
            ]),
        ),
        ("tags", tags),
        (
            "event_handlers",
            announce::gathered(membership.event_handlers()),
        ),
    ])
}

/// Under the names of Go's runtime; a goroutine is a task here.
fn runtime() -> BTreeMap<String, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let tasks = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    texts([
        ("os", std::env::consts::OS.to_owned()),
        ("arch", architecture().to_owned()),
        ("version", format!("lb {}", env!("CARGO_PKG_VERSION"))),
        ("max_procs", cores.to_string()),
        ("goroutines", tasks.to_string()),
        ("cpu_count", cores.to_string()),
    ])
}

/// Go's word.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

fn texts<const N: usize>(pairs: [(&str, String); N]) -> BTreeMap<String, String> {
    let pairs = Vec::from(pairs).into_iter();
    announce::gathered(pairs.map(|(name, value)| (name.to_owned(), value)))
}
