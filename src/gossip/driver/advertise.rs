//! Which address others are told.
//!
//! ```text
//! --advertise ─▶ --iface ─▶ the bound address ─▶ first private address ─▶ loopback, if there is nothing else
//! ```

use std::net::{IpAddr, SocketAddr};

use super::Advertised;
use super::mdns::Segment;
use super::reach::{is_link_local, is_private};

/// An interface's address, as much of it as matters here.
#[derive(Clone, Debug)]
pub(super) struct Interface {
    name: String,
    ip: IpAddr,
    up: bool,
    index: Option<u32>,
}

/// All interfaces, in the system's order. None when the system does not tell.
pub(super) fn interfaces() -> Vec<Interface> {
    let mut found = if_addrs::get_if_addrs().unwrap_or_default();
    found.sort_by_key(|interface| interface.index);
    found
        .into_iter()
        .map(|interface| Interface {
            up: interface.is_oper_up() || interface.is_loopback(),
            ip: interface.ip(),
            name: interface.name,
            index: interface.index,
        })
        .collect()
}

/// The interface that gossip goes through: the one named, else that of our address, else the system's choice.
pub(super) fn segment(ours: [IpAddr; 2], iface: Option<&str>, interfaces: &[Interface]) -> Segment {
    let named = |name: &str| interfaces.iter().find(|interface| interface.name == name);
    let having = |ip: &IpAddr| interfaces.iter().find(|interface| interface.ip == *ip);
    // 127.0.0.2 is on no interface by that name.
    let loopback = || {
        let local = ours.iter().any(IpAddr::is_loopback);
        let mut all = interfaces.iter();
        local
            .then(|| all.find(|interface| interface.ip.is_loopback()))
            .flatten()
    };
    let found = iface
        .and_then(named)
        .or_else(|| ours.iter().find_map(having))
        .or_else(loopback);
    match found {
        Some(found) => {
            let mut same = interfaces.iter().filter(|other| other.name == found.name);
            let v4 = same.find(|other| other.ip.is_ipv4());
            Segment {
                name: found.name.clone(),
                index: found.index,
                ip: v4.unwrap_or(found).ip,
            }
        }
        None => Segment {
            name: "the system's choice of interface".to_owned(),
            index: None,
            ip: std::net::Ipv4Addr::UNSPECIFIED.into(),
        },
    }
}

/// The address to advertise for a socket bound to `bound`, and why; or why there is none.
pub(super) fn choose(
    bound: SocketAddr,
    given: Option<SocketAddr>,
    iface: Option<&str>,
    interfaces: &[Interface],
) -> Result<Advertised, String> {
    let advertised = |ip: IpAddr, why: String| {
        Ok(Advertised {
            address: SocketAddr::new(ip, bound.port()),
            why,
        })
    };
    if let Some(given) = given {
        if given.ip().is_unspecified() {
            return Err(format!(
                "{given} can't be advertised: nobody can reach an unspecified address"
            ));
        }
        let port = if given.port() == 0 {
            bound.port()
        } else {
            given.port()
        };
        return Ok(Advertised {
            address: SocketAddr::new(given.ip(), port),
            why: "given by --advertise".to_owned(),
        });
    }
    // An IPv4 socket can't answer at an IPv6 address.
    let usable: Vec<&Interface> = interfaces
        .iter()
        .filter(|interface| {
            (bound.is_ipv6() || interface.ip.is_ipv4()) && !is_link_local(interface.ip)
        })
        .collect();
    if let Some(name) = iface {
        let found = usable.iter().find(|interface| interface.name == name);
        return match found {
            Some(interface) => {
                advertised(interface.ip, format!("address of {name}, given by --iface"))
            }
            None => Err(no_such(name, &usable)),
        };
    }
    if !bound.ip().is_unspecified() {
        return advertised(bound.ip(), "the address it is bound to".to_owned());
    }
    let others: Vec<&Interface> = usable
        .iter()
        .copied()
        .filter(|interface| interface.up && !interface.ip.is_loopback())
        .collect();
    if let Some(private) = others.iter().find(|interface| is_private(interface.ip)) {
        return advertised(
            private.ip,
            format!("first private address, of {}", private.name),
        );
    }
    if let Some(public) = others.first() {
        // Gossip in clear does not belong on a public address, so nobody gets there without having said so.
        return Err(format!(
            "no interface has a private address, only {} has {}; say --advertise or --iface",
            public.name, public.ip
        ));
    }
    let loopback: IpAddr = if bound.is_ipv4() {
        std::net::Ipv4Addr::LOCALHOST.into()
    } else {
        std::net::Ipv6Addr::LOCALHOST.into()
    };
    advertised(loopback, "loopback, as no other interface is up".to_owned())
}

fn no_such(name: &str, usable: &[&Interface]) -> String {
    let mut names: Vec<&str> = usable.iter().map(|interface| &interface.name[..]).collect();
    names.dedup();
    format!(
        "no interface {name:?} with an address for gossip; there is {}",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interfaces(list: &[(&str, &str)]) -> Vec<Interface> {
        list.iter()
            .map(|(name, ip)| Interface {
                name: (*name).to_owned(),
                ip: ip.parse().unwrap(),
                up: true,
                index: None,
            })
            .collect()
    }

    fn chosen(
        bound: &str,
        given: Option<&str>,
        iface: Option<&str>,
        list: &[(&str, &str)],
    ) -> Result<(String, String), String> {
        choose(
            bound.parse().unwrap(),
            given.map(|given| given.parse().unwrap()),
            iface,
            &interfaces(list),
        )
        .map(|advertised| (advertised.address.to_string(), advertised.why))
    }

    const USUAL: &[(&str, &str)] = &[
        ("lo", "127.0.0.1"),
        ("lo", "::1"),
        ("eth0", "203.0.113.7"),
        ("eth0", "fe80::1"),
        ("eth1", "10.0.0.3"),
        ("eth1", "fd00::3"),
        ("docker0", "172.17.0.1"),
    ];

    #[test]
    fn the_first_private_address_is_chosen_when_bound_to_all() {
        let (address, why) = chosen("0.0.0.0:7946", None, None, USUAL).unwrap();

        assert_eq!(address, "10.0.0.3:7946");
        assert_eq!(why, "first private address, of eth1");
    }

    #[test]
    fn what_was_said_wins() {
        let at = |given, iface| chosen("0.0.0.0:7946", given, iface, USUAL).map(|found| found.0);

        assert_eq!(at(Some("192.0.2.1:0"), None), Ok("192.0.2.1:7946".into()));
        assert_eq!(
            at(Some("192.0.2.1:99"), Some("eth1")),
            Ok("192.0.2.1:99".into())
        );
        assert_eq!(at(None, Some("eth0")), Ok("203.0.113.7:7946".into()));
        assert_eq!(
            chosen("127.0.5.1:7946", None, None, USUAL).map(|found| found.0),
            Ok("127.0.5.1:7946".into())
        );
    }

    #[test]
    fn an_unknown_interface_is_named_with_those_there_are() {
        let error = chosen("0.0.0.0:1", None, Some("eth9"), USUAL).unwrap_err();

        assert_eq!(
            error,
            "no interface \"eth9\" with an address for gossip; there is lo, eth0, eth1, docker0"
        );
    }

    #[test]
    fn a_public_address_is_never_chosen_by_itself() {
        let error = chosen("0.0.0.0:1", None, None, &USUAL[..4]).unwrap_err();

        assert!(error.contains("eth0 has 203.0.113.7"), "{error}");
        assert!(error.contains("--advertise"), "{error}");
        assert!(chosen("0.0.0.0:1", Some("0.0.0.0:1"), None, USUAL).is_err());
    }

    #[test]
    fn loopback_is_the_last_resort() {
        assert_eq!(
            chosen("0.0.0.0:1", None, None, &USUAL[..2]).map(|found| found.0),
            Ok("127.0.0.1:1".into())
        );
        assert_eq!(
            chosen("[::]:1", None, None, &[("lo", "127.0.0.1")]).map(|found| found.0),
            Ok("[::1]:1".into())
        );
    }

    #[test]
    fn mdns_goes_where_gossip_goes() {
        let all = interfaces(&[&[("eth1", "fd00::3")], USUAL].concat());
        for (ours, iface, expected) in [
            (["10.0.0.3", "0.0.0.0"], None, "eth1 10.0.0.3"),
            (["fd00::3", "::"], None, "eth1 10.0.0.3"),
            (
                ["10.0.0.3", "0.0.0.0"],
                Some("docker0"),
                "docker0 172.17.0.1",
            ),
            (["192.0.2.1", "172.17.0.1"], None, "docker0 172.17.0.1"),
            (["127.0.7.1", "127.0.7.1"], None, "lo 127.0.0.1"),
        ] {
            let segment = segment(ours.map(|ip| ip.parse().unwrap()), iface, &all);

            assert_eq!(format!("{} {}", segment.name, segment.ip), expected);
        }
        let nowhere = segment(
            ["192.0.2.1", "0.0.0.0"].map(|ip| ip.parse().unwrap()),
            None,
            &all,
        );
        assert!(nowhere.ip.is_unspecified());
    }

    #[test]
    fn an_ipv6_socket_takes_either_kind() {
        assert_eq!(
            chosen(
                "[::]:1",
                None,
                None,
                &[("eth0", "fe80::1"), ("eth0", "fd00::3")]
            )
            .map(|found| found.0),
            Ok("[fd00::3]:1".into())
        );
        assert_eq!(
            chosen("[::]:1", None, None, USUAL).map(|found| found.0),
            Ok("10.0.0.3:1".into())
        );
    }
}
