//! What must hold after every step, and what must come true in the end.

use std::collections::BTreeSet;
use std::sync::Arc;

use lb::gossip::core::io::Event;
use lb::gossip::core::member::{Member, Members, Status};

use crate::host::Host;
use crate::network::HostId;
use crate::world::World;

impl World {
    /// Checks a new view of `observer` against its former one.
    pub(crate) fn check_view(&self, observer: HostId, before: &Members, after: &Members) {
        let who = &self.hosts[observer].name;
        assert!(
            after.generation > before.generation,
            "{who}: the generation did not grow"
        );
        for member in after.by_name.values() {
            let name = &*member.name;
            let old = before.by_name.get(name);
            if old.is_some_and(|old| Arc::ptr_eq(old, member)) {
                continue;
            }
            // Only the node itself raises its incarnation, unless others move its name on its behalf.
            if let Some(subject) = self.host_named(name).filter(|_| !self.names_move) {
                assert!(
                    member.incarnation <= subject.highest,
                    "{who} holds {name} at incarnation {}, but it never went above {}",
                    member.incarnation,
                    subject.highest
                );
            }
            let Some(old) = old else { continue };
            // Once gone, memberlist may have forgotten it, and another life begins at 1.
            let continuous = matches!(old.status, Status::Alive | Status::Leaving);
            if continuous && old.address == member.address {
                assert!(
                    member.incarnation >= old.incarnation,
                    "{who}: the incarnation of {name} fell from {} to {}",
                    old.incarnation,
                    member.incarnation
                );
            }
            assert!(
                !(member.suspect && matches!(member.status, Status::Failed | Status::Left)),
                "{who}: {name} is gone and suspect"
            );
        }
    }

    /// Checks what `observer` reports. While the network is calm nobody alive may be called failed.
    pub(crate) fn check_event(&self, observer: HostId, event: &Event) {
        let who = &self.hosts[observer].name;
        match event {
            Event::Failed(member) => {
                // Of one that had a former life, old tales may come up whenever islands meet.
                let live = self.host_named(&member.name).is_some_and(|subject| {
                    let rebuilt = subject.address != member.address;
                    subject.is_live() && subject.life == 1 && !rebuilt
                });
                assert!(
                    !(live && self.calm_for_a_while()),
                    "{who} calls {} failed, which lives on a calm network",
                    member.name
                );
            }
            Event::Conflict { name, .. } | Event::NameTaken { name, .. } if !self.names_move => {
                panic!("{who} reports a conflict about {name}, and there is none");
            }
            _ => {}
        }
    }

    /// Nothing is delivered twice to one process.
    pub(crate) fn check_once(&mut self, observer: HostId, event: &Event) {
        let host = &mut self.hosts[observer];
        match event {
            Event::User {
                ltime,
                name,
                payload,
                ..
            } => {
                let new = host.heard.insert((*ltime, name.clone(), payload.clone()));
                assert!(new, "{} hears {event:?} again", host.name);
            }
            Event::Query { id, .. } => {
                let new = host.asked.insert(*id);
                assert!(new, "{} is asked {event:?} again", host.name);
            }
            _ => {}
        }
    }

    /// Lamport clocks never fall, as long as a process lives.
    pub(crate) fn check_clocks(&mut self) {
        for host in &mut self.hosts {
            let Some(node) = &host.node else { continue };
            let stats = node.stats();
            let now = [stats.member_time, stats.event_time, stats.query_time];
            for (now, before) in now.into_iter().zip(host.clocks) {
                assert!(
                    now >= before,
                    "a clock of {} fell from {before} to {now}",
                    host.name
                );
            }
            host.clocks = now;
        }
    }

    /// Why the views of the live have not met yet; `None` once everyone sees all live hosts alive, exactly as they
    /// are, and nobody else alive.
    pub(crate) fn difference(&self) -> Option<String> {
        let live: Vec<&Host> = self.hosts.iter().filter(|host| host.is_live()).collect();
        let names: BTreeSet<&str> = live.iter().map(|host| &*host.name).collect();
        // Looked up once and not by each observer: in a large world this is most of what a look costs.
        let subjects: Vec<(&Host, &Member)> = live
            .iter()
            .map(|host| {
                let itself = host.member(&host.name).expect("everyone knows itself");
                (*host, itself)
            })
            .collect();
        for observer in &live {
            for &(subject, itself) in &subjects {
                let Some(seen) = observer.member(&subject.name) else {
                    return Some(format!("{} does not know {}", observer.name, subject.name));
                };
                let same = seen.status == Status::Alive
                    && !seen.suspect
                    && seen.incarnation == itself.incarnation
                    && seen.address == subject.address
                    && seen.tags == itself.tags;
                if !same {
                    return Some(format!(
                        "{} sees {} as {}{} {} at {}, itself {} at {}",
                        observer.name,
                        subject.name,
                        seen.status,
                        if seen.suspect { " (suspect)" } else { "" },
                        seen.address,
                        seen.incarnation,
                        itself.status,
                        itself.incarnation,
                    ));
                }
            }
            for seen in observer.view.by_name.values() {
                let name = &*seen.name;
                let gone = matches!(seen.status, Status::Failed | Status::Left);
                if !gone && !names.contains(name) {
                    return Some(format!("{} sees {name} as {}", observer.name, seen.status));
                }
            }
        }
        None
    }

    /// Whether every live host sees `name` as `status`.
    pub(crate) fn all_see(&self, name: &str, status: Status) -> bool {
        self.hosts
            .iter()
            .filter(|host| host.is_live())
            .all(|host| host.status_of(name) == Some(status))
    }
}
