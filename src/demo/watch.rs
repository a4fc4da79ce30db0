//! Two looks at the front's pools, and what changed in between, in words.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

use super::client;

/// What the front said last.
#[derive(Debug)]
pub(super) struct Watch {
    admin: SocketAddr,
    view: View,
}

impl Watch {
    /// Of the front with this admin address.
    pub(super) fn new(admin: SocketAddr) -> Self {
        Self {
            admin,
            view: View::default(),
        }
    }

    /// True once the front serves its API.
    pub(super) async fn answers(&self) -> bool {
        let health = client::get(self.admin, "/healthz", PATIENCE).await;
        health.is_ok_and(|(status, _)| status == StatusCode::OK)
    }

    /// What changed since the last look; nothing where the front does not answer.
    pub(super) async fn look(&mut self) -> Vec<String> {
        let Some(pools) = self.fetch::<Pools>("/api/v1/pools").await else {
            return Vec::new();
        };
        let view = View::of(pools);
        let members = if self.view.lost_some(&view) {
            self.fetch::<Members>("/api/v1/members").await
        } else {
            None
        };
        let lines = differences(&self.view, &view, &members.unwrap_or_default());
        self.view = view;
        lines
    }

    /// Nodes in rotation at the last look.
    pub(super) fn in_rotation(&self) -> Vec<String> {
        let nodes = self.view.backends.iter();
        nodes
            .filter(|(_, backend)| backend.in_rotation)
            .map(|((node, _), _)| node.clone())
            .collect()
    }

    async fn fetch<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Option<T> {
        let (status, body) = client::get(self.admin, path, PATIENCE).await.ok()?;
        (status == StatusCode::OK)
            .then(|| serde_json::from_slice(&body).ok())
            .flatten()
    }
}

/// For one answer of the admin server; it is on the same machine.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Default, Deserialize)]
struct Pools {
    pools: Vec<PoolSeen>,
}

#[derive(Debug, Default, Deserialize)]
struct PoolSeen {
    backends: Vec<BackendSeen>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
struct BackendSeen {
    node: String,
    address: String,
    state: String,
    in_rotation: bool,
    reason: String,
}

impl BackendSeen {
    /// State and reason, where the reason does not begin with the state anyway.
    fn stands(&self) -> String {
        if self.reason.starts_with(&self.state) {
            return self.reason.clone();
        }
        format!("{}: {}", self.state, self.reason)
    }
}

#[derive(Debug, Default, Deserialize)]
struct Members {
    members: Vec<MemberSeen>,
}

#[derive(Debug, Default, Deserialize)]
struct MemberSeen {
    name: String,
    status: String,
}

/// By node and address.
#[derive(Clone, Debug, Default, PartialEq)]
struct View {
    backends: BTreeMap<(String, String), BackendSeen>,
}

impl View {
    fn of(pools: Pools) -> Self {
        let backends = pools.pools.into_iter().flat_map(|pool| pool.backends);
        Self {
            backends: backends
                .map(|backend| ((backend.node.clone(), backend.address.clone()), backend))
                .collect(),
        }
    }

    fn lost_some(&self, newer: &Self) -> bool {
        let mut names = self.backends.keys();
        names.any(|name| !newer.backends.contains_key(name))
    }
}

fn differences(old: &View, new: &View, members: &Members) -> Vec<String> {
    let count = new.backends.values().filter(|seen| seen.in_rotation);
    let share = format!("[{} of {}]", count.count(), new.backends.len());
    let mut lines = Vec::new();
    for (name, before) in &old.backends {
        if !new.backends.contains_key(name) {
            let why = farewell(&before.node, members);
            lines.push(format!("{}  removed: {why}  {share}", before.node));
        }
    }
    for (name, now) in &new.backends {
        let before = old.backends.get(name);
        let line = match before {
            None if now.in_rotation => format!("joined, in rotation: {}", now.reason),
            None => format!("joined at {}, {}", now.address, now.stands()),
            Some(before) if !before.in_rotation && now.in_rotation => {
                format!("in rotation: {}", now.reason)
            }
            Some(before) if before.in_rotation && !now.in_rotation => {
                format!("out of rotation, {}", now.stands())
            }
            Some(before) if before.state != now.state && now.in_rotation => {
                format!("{}, stays in rotation: {}", now.state, now.reason)
            }
            Some(before) if before.state != now.state => now.stands(),
            Some(_) => continue,
        };
        lines.push(format!("{}  {line}  {share}", now.node));
    }
    lines
}

fn farewell(node: &str, members: &Members) -> &'static str {
    let member = members.members.iter().find(|member| member.name == node);
    match member.map(|member| member.status.as_str()) {
        Some("left" | "leaving") => "its agent said goodbye",
        Some("failed") => "its agent is lost",
        _ => "it is no longer announced",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(of: &[(&str, &str, bool)]) -> View {
        let seen = |(node, state, in_rotation): &(&str, &str, bool)| BackendSeen {
            node: (*node).to_owned(),
            address: "127.0.0.1:20000".to_owned(),
            state: (*state).to_owned(),
            in_rotation: *in_rotation,
            reason: "because".to_owned(),
        };
        View::of(Pools {
            pools: vec![PoolSeen {
                backends: of.iter().map(seen).collect(),
            }],
        })
    }

    #[test]
    fn every_change_has_its_line() {
        let cases = [
            (
                view(&[]),
                view(&[("web1", "unproven", false)]),
                "web1  joined at 127.0.0.1:20000, unproven: because  [0 of 1]",
            ),
            (
                view(&[]),
                view(&[("web1", "up", true)]),
                "web1  joined, in rotation: because  [1 of 1]",
            ),
            (
                view(&[("web1", "unproven", false)]),
                view(&[("web1", "up", true)]),
                "web1  in rotation: because  [1 of 1]",
            ),
            (
                view(&[("web1", "up", true)]),
                view(&[("web1", "down", false)]),
                "web1  out of rotation, down: because  [0 of 1]",
            ),
            (
                view(&[("web1", "up", true)]),
                view(&[("web1", "lost", true)]),
                "web1  lost, stays in rotation: because  [1 of 1]",
            ),
            (
                view(&[("web1", "down", false)]),
                view(&[("web1", "drain", false)]),
                "web1  drain: because  [0 of 1]",
            ),
            (
                view(&[("web1", "up", true)]),
                view(&[]),
                "web1  removed: its agent said goodbye  [0 of 0]",
            ),
        ];
        let members = Members {
            members: vec![MemberSeen {
                name: "web1".to_owned(),
                status: "left".to_owned(),
            }],
        };
        for (old, new, line) in cases {
            assert_eq!(differences(&old, &new, &members), [line]);
        }
    }

    #[test]
    fn the_state_is_not_said_twice() {
        let backend = BackendSeen {
            state: "unproven".to_owned(),
            reason: "unproven: waiting for the first check".to_owned(),
            ..BackendSeen::default()
        };

        assert_eq!(backend.stands(), "unproven: waiting for the first check");
    }

    #[test]
    fn what_stays_says_nothing() {
        let same = view(&[("web1", "up", true), ("web2", "down", false)]);

        assert!(differences(&same, &same, &Members::default()).is_empty());
    }
}
