//! Backends of the last run, until gossip speaks for itself.
//!
//! ```text
//! state ──backends.json──▶ Memory ──specs()──▶ checked first thing, in after one check
//!                            ▲ look(): whom members name is forgotten here; all, soon after the cluster was met
//! specs of members, and what is still remembered ──save()──▶ state
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::plan::PoolPlan;
use crate::announce;
use crate::gossip::core::member::{Members, Status};
use crate::pool::snapshot::Pool;
use crate::pool::spec::{Spec, Standing};
use crate::state::State;

/// A cluster that starts anew comes together one by one; this long after the first was met, who is missing is gone.
const REUNION: Duration = Duration::from_secs(10);

/// What the last run knew.
#[derive(Debug)]
pub(super) struct Memory {
    state: Option<Arc<State>>,
    /// Our own node's name, as it is now.
    own: watch::Receiver<Arc<str>>,
    pools: BTreeMap<String, Vec<Spec>>,
    started: Instant,
    met: Option<Instant>,
    /// What was saved last.
    latest: BTreeMap<String, Vec<Spec>>,
}

impl Memory {
    /// What a predecessor `told`, else what `state` holds; `own` is our node's name.
    pub(super) fn new(
        now: Instant,
        state: Option<Arc<State>>,
        told: Option<BTreeMap<String, Vec<Spec>>>,
        own: watch::Receiver<Arc<str>>,
    ) -> Self {
        let kept = || state.as_ref().map(|state| state.backends());
        Self {
            pools: told.or_else(kept).unwrap_or_default(),
            latest: BTreeMap::new(),
            state,
            own,
            started: now,
            met: None,
        }
    }

    /// How many backends of `pool` are remembered.
    pub(super) fn count(&self, pool: &str) -> usize {
        self.pools.get(pool).map_or(0, Vec::len)
    }

    /// Compares with what gossip says: whoever it names needs no memory, alive or not.
    pub(super) fn look(&mut self, now: Instant, members: &Members) {
        let own = Arc::clone(&self.own.borrow());
        let someone = members
            .by_name
            .values()
            .any(|member| member.status == Status::Alive && *member.name != *own);
        if someone && self.met.is_none() {
            self.met = Some(now);
        }
        if self
            .met
            .is_some_and(|met| now.saturating_duration_since(met) >= REUNION)
        {
            self.pools.clear();
        }
        for specs in self.pools.values_mut() {
            specs.retain(|spec| !members.by_name.contains_key(&spec.id.node));
        }
        self.pools.retain(|_, specs| !specs.is_empty());
    }

    /// Those of a pool that still count, judged by its trust of today.
    pub(super) fn specs(&self, now: Instant, plan: &PoolPlan) -> Vec<Spec> {
        let pool = &plan.cluster.pool;
        if now.saturating_duration_since(self.started) >= pool.lost_keep {
            return Vec::new();
        }
        let remembered = self.pools.get(&pool.name).into_iter().flatten();
        remembered
            .map(|spec| Spec {
                unusable: plan.trust.refusal(spec.address),
                ..spec.clone()
            })
            .collect()
    }

    /// When time alone ends a memory.
    pub(super) fn poll_timeout(&self, now: Instant, plans: &[PoolPlan]) -> Option<Instant> {
        if self.pools.is_empty() {
            return None;
        }
        let kept = plans
            .iter()
            .filter(|plan| self.pools.contains_key(&plan.cluster.pool.name))
            .filter_map(|plan| self.started.checked_add(plan.cluster.pool.lost_keep))
            .filter(|end| *end > now);
        kept.chain(self.met.map(|met| met + REUNION)).min()
    }

    /// Has what is known written. `specs` are all of a pool, `pools` what came of them.
    pub(super) fn save(&mut self, mut specs: BTreeMap<String, Vec<Spec>>, pools: &[Arc<Pool>]) {
        for (name, specs) in &mut specs {
            let pool = pools.iter().find(|pool| &*pool.name == name.as_str());
            specs.retain(|spec| is_worth_keeping(spec, pool));
        }
        if let Some(state) = &self.state {
            state.save_backends(specs.clone());
        }
        self.latest = specs;
    }

    /// What a successor is told.
    pub(super) fn latest(&self) -> BTreeMap<String, Vec<Spec>> {
        self.latest.clone()
    }
}

/// Whoever serves, or may soon: not who is on the way out, and not who says that it is not ready.
fn is_worth_keeping(spec: &Spec, pool: Option<&Arc<Pool>>) -> bool {
    let serves = match spec.standing {
        Standing::Alive | Standing::Suspect | Standing::Saved => true,
        Standing::Static | Standing::Leaving => false,
        // Its agent is gone: as long as checks keep it in.
        Standing::Failed => pool.is_some_and(|pool| is_in(pool, spec)),
    };
    serves && spec.announced == announce::State::Ready && spec.unusable.is_none()
}

fn is_in(pool: &Pool, spec: &Spec) -> bool {
    let snapshot = pool.snapshot.load();
    snapshot.backends.iter().any(|backend| {
        let upstream = &backend.upstream;
        backend.verdict.in_rotation && upstream.id == spec.id && upstream.address == spec.address
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::config;
    use crate::discovery::Trust;
    use crate::gossip::core::member::Member;
    use crate::gossip::core::serf::tags::Encoded;
    use crate::pool::spec::UpstreamId;
    use crate::{announce::CheckSpec, announce::Proto, health, pool};

    const KEEP: Duration = Duration::from_secs(3600);

    fn plan() -> PoolPlan {
        PoolPlan {
            cluster: config::Cluster {
                pool: pool::registry::Settings {
                    name: "web".to_owned(),
                    check: CheckSpec::Tcp { port: None },
                    proto: Proto::Http,
                    default_port: 80,
                    lost_keep: KEEP,
                    ejection: pool::ejection::Settings::default(),
                    hop: pool::hop::Settings::default(),
                    limits: pool::queue::Settings::default(),
                    backends: Vec::new(),
                },
                check: health::Settings::default(),
                tls: Arc::default(),
                backend_networks: Vec::new(),
            },
            statics: Vec::new(),
            secure: Arc::new(crate::front::secure::Checks(Arc::default())),
            trust: Trust {
                networks: vec!["10.0.0.0/24".parse().unwrap()],
                loopback: false,
                own: Vec::new(),
            },
        }
    }

    fn spec(node: &str, address: &str, standing: Standing) -> Spec {
        Spec {
            id: UpstreamId {
                node: node.into(),
                service: "web".into(),
            },
            address: address.parse().unwrap(),
            weight: 1,
            tier: 0,
            backup: false,
            check: None,
            proto: None,
            announced: announce::State::Ready,
            standing,
            joined: 1,
            unusable: None,
            warnings: Vec::new(),
        }
    }

    fn memory(now: Instant, nodes: &[(&str, &str)]) -> Memory {
        let specs = nodes
            .iter()
            .map(|(node, address)| spec(node, address, Standing::Saved));
        Memory {
            state: None,
            own: watch::channel("front".into()).1,
            pools: BTreeMap::from([("web".to_owned(), specs.collect())]),
            started: now,
            met: None,
            latest: BTreeMap::new(),
        }
    }

    fn members(all: &[(&str, Status)]) -> Members {
        let member = |(name, status): &(&str, Status)| Member {
            name: (*name).into(),
            address: SocketAddr::from(([10, 0, 0, 9], 7946)),
            tags: Encoded::default(),
            status: *status,
            suspect: false,
            incarnation: 1,
            joined: 1,
            since: crate::clock::now(),
            versions: [1, 5, 2, 2, 5, 4],
        };
        Members {
            generation: 1,
            by_name: all.iter().map(|one| Arc::new(member(one))).collect(),
        }
    }

    fn names(memory: &Memory, now: Instant) -> Vec<String> {
        let specs = memory.specs(now, &plan());
        specs.iter().map(|spec| spec.id.node.to_string()).collect()
    }

    const TWO: &[(&str, &str)] = &[("web1", "10.0.0.1:80"), ("web2", "10.0.0.2:80")];

    #[test]
    fn alone_it_remembers_until_lost_keep_is_over() {
        let start = crate::clock::now();
        let mut memory = memory(start, TWO);
        memory.look(start, &members(&[("front", Status::Alive)]));

        assert_eq!(names(&memory, start), ["web1", "web2"]);
        let end = memory.poll_timeout(start, &[plan()]).unwrap();

        assert_eq!(end, start + KEEP);
        assert_eq!(names(&memory, end), [""; 0]);
        assert_eq!(memory.poll_timeout(end, &[plan()]), None);
    }

    #[test]
    fn whom_gossip_names_is_no_longer_remembered_whatever_it_says_of_it() {
        for status in [Status::Alive, Status::Failed, Status::Left, Status::Leaving] {
            let start = crate::clock::now();
            let mut memory = memory(start, TWO);

            memory.look(
                start,
                &members(&[("front", Status::Alive), ("web1", status)]),
            );

            assert_eq!(names(&memory, start), ["web2"], "{status}");
        }
    }

    #[test]
    fn who_is_missing_a_while_after_the_cluster_was_met_is_gone() {
        let start = crate::clock::now();
        let mut memory = memory(start, TWO);
        let met = start + Duration::from_secs(100);
        memory.look(met, &members(&[("web1", Status::Alive)]));
        assert_eq!(names(&memory, met), ["web2"]);
        let end = memory.poll_timeout(met, &[plan()]).unwrap();
        assert_eq!(end, met + REUNION);

        memory.look(end, &members(&[("web1", Status::Failed)]));

        assert_eq!(names(&memory, end), [""; 0]);
        assert_eq!(memory.poll_timeout(end, &[plan()]), None);
    }

    #[test]
    fn trust_is_that_of_today() {
        let start = crate::clock::now();
        let memory = memory(start, &[("web1", "10.0.7.1:80")]);

        let specs = memory.specs(start, &plan());

        let reason = specs[0].unusable.as_deref().unwrap_or_default();
        assert!(reason.contains("outside backend_networks"), "{reason}");
    }

    #[test]
    fn only_who_may_serve_is_kept() {
        let at = |standing| spec("web1", "10.0.0.1:80", standing);
        let pool = Arc::new(Pool::new("web"));
        let kept = |spec: &Spec| is_worth_keeping(spec, Some(&pool));

        assert!(kept(&at(Standing::Alive)));
        assert!(kept(&at(Standing::Suspect)));
        assert!(kept(&at(Standing::Saved)));
        assert!(!kept(&at(Standing::Static)));
        assert!(!kept(&at(Standing::Leaving)));
        assert!(!kept(&at(Standing::Failed)));
        let drained = Spec {
            announced: announce::State::Drain,
            ..at(Standing::Alive)
        };
        assert!(!kept(&drained));
    }
}
