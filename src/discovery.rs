//! From members to upstreams.
//!
//! ```text
//!   gossip Members ──filter by role──▶ Spec per service ──reconcile──▶ pool::Registry
//!        (watch)          tags: port, weight, backup                      │ one store
//!                                                                         ▼
//!                                                                ArcSwap<Snapshot>
//! ```
//!
//! Level-triggered: every change delivers the full member list, so a missed update cannot
//! leave a ghost upstream. No I/O, no health: see `crate::health`.

use std::net::{IpAddr, SocketAddr};

use crate::announce::{self, Heard};
use crate::gossip::core::member::{Member, Members, Status};
use crate::network::Network;
use crate::pool::spec::{Spec, Standing, UpstreamId};

/// Which addresses a gossip backend may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// CIDR networks; empty: any that the other rules allow.
    pub networks: Vec<Network>,
    /// Our own gossip address is loopback, so backends may be.
    pub loopback: bool,
    /// Our own listeners: never a backend.
    pub own: Vec<SocketAddr>,
}

/// Backends of `pool` among `members`, `default_port` where none is announced.
///
/// One spec for each member that announces the service and has not left; a member whose address may
/// not be used has a spec that says so.
pub fn specs(members: &Members, pool: &str, default_port: u16, trust: &Trust) -> Vec<Spec> {
    let announcing = members.by_name.values().filter_map(|member| {
        let standing = standing(member)?;
        let mut heard = announce::read(&member.tags.decode());
        let index = heard.iter().position(|one| one.service.name == pool)?;
        Some(spec(
            member,
            standing,
            heard.swap_remove(index),
            default_port,
            trust,
        ))
    });
    announcing.collect()
}

fn standing(member: &Member) -> Option<Standing> {
    match member.status {
        Status::Alive if member.suspect => Some(Standing::Suspect),
        Status::Alive => Some(Standing::Alive),
        Status::Leaving => Some(Standing::Leaving),
        Status::Failed => Some(Standing::Failed),
        Status::Left => None,
    }
}

fn spec(
    member: &Member,
    standing: Standing,
    heard: Heard,
    default_port: u16,
    trust: &Trust,
) -> Spec {
    let service = heard.service;
    let mut address = member.address;
    address.set_port(service.port.unwrap_or(default_port));
    Spec {
        id: UpstreamId {
            node: (&*member.name).into(),
            service: service.name.into(),
        },
        address,
        weight: service.weight,
        tier: service.tier,
        backup: service.backup,
        check: service.check,
        proto: service.proto,
        announced: service.state,
        standing,
        joined: member.joined,
        unusable: heard.unusable.or_else(|| trust.refusal(address)),
        warnings: heard.warnings,
    }
}

impl Trust {
    /// Why a gossip backend may not have `address`, if so.
    pub fn refusal(&self, address: SocketAddr) -> Option<String> {
        let ip = address.ip().to_canonical();
        let kind = match ip {
            _ if ip.is_unspecified() => Some("is no address at all"),
            _ if ip.is_multicast() => Some("is multicast"),
            IpAddr::V4(ip) if ip.is_broadcast() => Some("is broadcast"),
            IpAddr::V4(ip) if ip.is_link_local() => Some("is link-local"),
            IpAddr::V6(ip) if ip.is_unicast_link_local() => Some("is link-local"),
            _ if ip.is_loopback() && !self.loopback => {
                Some("is loopback, and our own gossip address is not")
            }
            _ => None,
        };
        if let Some(kind) = kind {
            return Some(format!("address {ip} {kind}"));
        }
        if self.own.iter().any(|own| is_own(*own, address)) {
            return Some(format!("{address} is our own listener"));
        }
        let inside = |network: &Network| network.contains(ip);
        if self.networks.is_empty() || self.networks.iter().any(inside) {
            return None;
        }
        let networks: Vec<_> = self.networks.iter().map(Network::to_string).collect();
        let networks = networks.join(", ");
        Some(format!(
            "address {ip} is outside backend_networks ({networks})"
        ))
    }
}

/// A listener on every address also listens on loopback; its other addresses are for the caller to name.
fn is_own(own: SocketAddr, address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let same = own.ip().to_canonical() == ip || (own.ip().is_unspecified() && ip.is_loopback());
    same && own.port() == address.port()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::announce::{State, Tags};
    use crate::gossip::core::serf::tags::Encoded;

    fn member(name: &str, ip: &str, tags: &[(&str, &str)]) -> Member {
        let tags: Tags = tags
            .iter()
            .map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned()))
            .collect();
        Member {
            name: name.into(),
            address: SocketAddr::new(ip.parse().unwrap(), 7946),
            tags: Encoded::of(&tags),
            status: Status::Alive,
            suspect: false,
            incarnation: 1,
            joined: 7,
            since: crate::clock::now(),
            versions: [1, 5, 2, 2, 5, 4],
        }
    }

    fn members(all: impl IntoIterator<Item = Member>) -> Members {
        Members {
            generation: 1,
            by_name: all.into_iter().map(Arc::new).collect(),
        }
    }

    fn trust(networks: &[&str], loopback: bool) -> Trust {
        Trust {
            networks: networks.iter().map(|text| text.parse().unwrap()).collect(),
            loopback,
            own: vec!["10.0.0.9:80".parse().unwrap(), "[::]:8080".parse().unwrap()],
        }
    }

    #[test]
    fn a_stock_member_with_the_role_is_a_backend_and_others_are_not() {
        let members = members([
            member("web1", "10.0.0.1", &[("role", "web"), ("weight", "x")]),
            member("db1", "10.0.0.2", &[("role", "db")]),
            member("lb1", "10.0.0.9", &[]),
            member(
                "multi",
                "10.0.0.3",
                &[("role", "db"), ("svc.web", "8080;w=3;s=drain")],
            ),
        ]);

        let specs = specs(&members, "web", 81, &Trust::default());

        assert_eq!(specs.len(), 2);
        assert_eq!(&*specs[0].id.node, "multi");
        assert_eq!(specs[0].address, "10.0.0.3:8080".parse().unwrap());
        assert_eq!((specs[0].weight, &specs[0].announced), (3, &State::Drain));
        assert_eq!(&*specs[1].id.service, "web");
        assert_eq!(specs[1].address, "10.0.0.1:81".parse().unwrap());
        assert_eq!(specs[1].joined, 7);
        assert_eq!(specs[1].warnings.len(), 1);
        assert_eq!(specs[1].unusable, None);
    }

    #[test]
    fn status_becomes_standing_and_who_left_has_no_spec() {
        for (status, suspect, expected) in [
            (Status::Alive, false, Some(Standing::Alive)),
            (Status::Alive, true, Some(Standing::Suspect)),
            (Status::Leaving, false, Some(Standing::Leaving)),
            (Status::Failed, false, Some(Standing::Failed)),
            (Status::Left, false, None),
        ] {
            let web1 = Member {
                status,
                suspect,
                ..member("web1", "10.0.0.1", &[("role", "web")])
            };

            let specs = specs(&members([web1]), "web", 80, &Trust::default());

            assert_eq!(specs.first().map(|spec| spec.standing), expected);
        }
    }

    #[test]
    fn a_bad_tag_is_told_before_a_bad_address() {
        let members = members([member(
            "web1",
            "127.0.0.1",
            &[("role", "web"), ("port", "0")],
        )]);

        let specs = specs(&members, "web", 80, &Trust::default());

        let reason = specs[0].unusable.as_deref();
        assert_eq!(reason, Some("port \"0\" is not a port (1-65535)"));
    }

    #[test]
    fn addresses_that_no_backend_may_have_are_refused_with_the_reason() {
        let strict = trust(&["10.0.0.0/24", "fd00::/8"], false);
        for (address, expected) in [
            ("10.0.0.1:80", None),
            ("[::ffff:10.0.0.1]:80", None),
            ("[fd12::1]:80", None),
            ("10.0.0.9:81", None),
            ("10.0.0.9:80", Some("10.0.0.9:80 is our own listener")),
            (
                "10.0.1.1:80",
                Some("address 10.0.1.1 is outside backend_networks (10.0.0.0/24, fd00::/8)"),
            ),
            (
                "[2001:db8::1]:80",
                Some("address 2001:db8::1 is outside backend_networks (10.0.0.0/24, fd00::/8)"),
            ),
            (
                "127.0.0.1:80",
                Some("address 127.0.0.1 is loopback, and our own gossip address is not"),
            ),
            (
                "[::ffff:127.0.0.1]:80",
                Some("address 127.0.0.1 is loopback, and our own gossip address is not"),
            ),
            (
                "[::1]:80",
                Some("address ::1 is loopback, and our own gossip address is not"),
            ),
            ("169.254.1.1:80", Some("address 169.254.1.1 is link-local")),
            ("[fe80::1]:80", Some("address fe80::1 is link-local")),
            ("224.0.0.1:80", Some("address 224.0.0.1 is multicast")),
            ("[ff02::1]:80", Some("address ff02::1 is multicast")),
            ("0.0.0.0:80", Some("address 0.0.0.0 is no address at all")),
            ("[::]:80", Some("address :: is no address at all")),
            (
                "255.255.255.255:80",
                Some("address 255.255.255.255 is broadcast"),
            ),
        ] {
            let refusal = strict.refusal(address.parse().unwrap());
            assert_eq!(refusal.as_deref(), expected, "{address}");
        }
    }

    #[test]
    fn on_loopback_everything_but_our_own_listener_is_allowed() {
        let local = trust(&[], true);

        assert_eq!(local.refusal("127.0.0.1:80".parse().unwrap()), None);
        assert_eq!(local.refusal("8.8.8.8:80".parse().unwrap()), None);
        assert_eq!(
            local.refusal("127.0.0.1:8080".parse().unwrap()).as_deref(),
            Some("127.0.0.1:8080 is our own listener")
        );
    }
}
