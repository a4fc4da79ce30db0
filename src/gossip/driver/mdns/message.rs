//! The messages of `serf agent -discover`, to bytes and back.
//!
//! ```text
//! question  PTR _serf_web._tcp.local.            from any port to the group
//! answer    PTR _serf_web._tcp.local.  ─▶ web1._serf_web._tcp.local.
//!           SRV web1._serf_web…        ─▶ port, host "web1."
//!           A   web1.                  ─▶ address          (AAAA for IPv6)
//!           TXT web1._serf_web…        "Serf 'web' cluster"
//! ```
//!
//! Serf wants all four in one packet, in this order, with ID 0 and no question, at the port that asked.
//! Names are built as it builds them: a dot in a node's name begins a new label. Source: hashicorp/mdns
//! `server.go`, `client.go`, `zone.go`; `serf` `agent/mdns.go`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::dns::{self, Data, LABEL_BYTES_MAX, Packet, Writer};

/// Seconds that an answer holds; as Serf's.
const TTL: u32 = 120;

/// As Serf's; nobody looks at them.
const PRIORITY: u16 = 10;
const WEIGHT: u16 = 1;

/// Who we are, in the words of DNS.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// What all members of one cluster have in common.
    pub(super) service: String,
    instance: String,
    host: String,
    text: String,
}

/// A packet's meaning to us.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Somebody looks for members of our cluster.
    Asked,
    /// Members of our cluster, us perhaps among them.
    Told {
        found: Vec<SocketAddr>,
        /// Names that came without an address.
        unfinished: Vec<String>,
    },
}

impl Names {
    /// `None` where the names are too long for DNS.
    pub(super) fn new(cluster: &str, node: &str) -> Option<Self> {
        let node = label_bytes_fit(node);
        let service = format!("_serf_{cluster}._tcp.local.");
        let names = Self {
            instance: format!("{node}.{service}"),
            host: format!("{node}."),
            text: format!("Serf '{cluster}' cluster"),
            service,
        };
        let valid = [&names.service, &names.instance, &names.host]
            .iter()
            .all(|name| dns::fits(name));
        valid.then_some(names)
    }

    /// The packet that tells our address.
    pub(super) fn answer(&self, address: SocketAddr) -> Option<Vec<u8>> {
        let Self {
            service,
            instance,
            host,
            text,
        } = self;
        let mut packet = Writer::answer(4);
        packet.ptr(service, TTL, instance)?;
        packet.srv(instance, TTL, [PRIORITY, WEIGHT, address.port()], host)?;
        packet.address(host, TTL, address.ip())?;
        packet.txt(instance, TTL, text)?;
        Some(packet.done())
    }

    /// What `packet` says; `None` where it is no business of ours, or no DNS.
    pub(super) fn read(&self, packet: &[u8]) -> Option<Said> {
        let packet = Packet::read(packet)?;
        if !packet.is_response {
            let asks = |(name, kind): &(String, u16)| {
                let all = [dns::PTR, dns::ANY].contains(kind);
                (key(name) == key(&self.service) && all) || key(name) == key(&self.instance)
            };
            return packet.questions.iter().any(asks).then_some(Said::Asked);
        }
        told(packet, &key(&self.service))
    }
}

/// The question for `name`: for the service all its members, for an instance its place.
pub(super) fn question(id: u16, name: &str, instance: bool) -> Option<Vec<u8>> {
    Writer::question(id, name, if instance { dns::SRV } else { dns::PTR })
}

/// Case does not count in DNS, nor the dot at the end.
fn key(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn told(packet: Packet, service: &str) -> Option<Said> {
    let of_service = |name: &str| {
        let parent = name.strip_suffix(service);
        parent.is_some_and(|instance| instance.len() > 1 && instance.ends_with('.'))
    };
    let mut instances: Vec<String> = Vec::new();
    let mut places: BTreeMap<String, (u16, String)> = BTreeMap::new();
    let mut hosts: BTreeMap<String, IpAddr> = BTreeMap::new();
    for (name, data) in packet.records {
        let about = key(&name);
        match data {
            Data::Ptr(instance) if about == service => instances.push(instance),
            Data::Srv { port, target } if of_service(&about) => {
                instances.push(name);
                places.insert(about, (port, key(&target)));
            }
            Data::Address(ip) if ip.is_ipv4() => {
                hosts.insert(about, ip);
            }
            // Of two addresses of one host the IPv4 one, as Serf does.
            Data::Address(ip) => {
                hosts.entry(about).or_insert_with(|| ip.to_canonical());
            }
            _ => {}
        }
    }
    let (mut found, mut unfinished) = (Vec::new(), Vec::new());
    for instance in instances {
        let about = key(&instance);
        if !of_service(&about) {
            continue;
        }
        let place = places.get(&about).and_then(|(port, host)| {
            let ip = hosts.get(host)?;
            (*port != 0).then(|| SocketAddr::new(*ip, *port))
        });
        match place {
            Some(place) if !found.contains(&place) => found.push(place),
            Some(_) => {}
            None => unfinished.push(instance),
        }
    }
    let something = !found.is_empty() || !unfinished.is_empty();
    something.then_some(Said::Told { found, unfinished })
}

/// Labels that are too long are cut: an instance's name means nothing to whoever reads it.
fn label_bytes_fit(node: &str) -> String {
    let cut = |label: &str| {
        let mut end = label.len().min(LABEL_BYTES_MAX);
        while !label.is_char_boundary(end) {
            end -= 1;
        }
        label[..end].to_owned()
    };
    node.split('.').map(cut).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use simple_dns::rdata::{PTR, RData};
    use simple_dns::{CLASS, Name, Packet, PacketFlag, ResourceRecord};

    use super::*;

    /// Captured from stock agents.
    fn captured() -> Vec<(String, Vec<u8>)> {
        let text = include_str!("../../../../tests/data/serf/mdns.json");
        let vectors: serde_json::Value = serde_json::from_str(text).expect("it is JSON");
        let each = vectors.as_array().expect("a list").iter().map(|vector| {
            let hex = vector["hex"].as_str().expect("hex");
            let bytes = (0..hex.len() / 2).map(|at| {
                u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("two hex digits")
            });
            let kind = vector["decoded"]["kind"].as_str().expect("a kind");
            (kind.to_owned(), bytes.collect())
        });
        each.collect()
    }

    fn names(cluster: &str, node: &str) -> Names {
        Names::new(cluster, node).expect("they fit")
    }

    fn told(found: &[&str], unfinished: &[&str]) -> Option<Said> {
        Some(Said::Told {
            found: found.iter().map(|text| text.parse().unwrap()).collect(),
            unfinished: unfinished.iter().map(|text| (*text).to_owned()).collect(),
        })
    }

    #[test]
    fn captured_packets_mean_what_was_stated() {
        for (kind, bytes) in captured() {
            let (ours, other) = (names("web", "front"), names("we", "front"));

            let expected = match kind.as_str() {
                "query" => Some(Said::Asked),
                _ => told(&["10.99.0.4:7946"], &[]),
            };
            assert_eq!(ours.read(&bytes), expected);
            assert_eq!(other.read(&bytes), None, "another cluster's");
        }
    }

    #[test]
    fn our_question_is_a_stock_agent_s_byte_by_byte() {
        let (_, stock) = captured().swap_remove(0);

        let ours = question(0x95bc, "_serf_web._tcp.local.", false);

        assert_eq!(ours, Some(stock));
    }

    #[test]
    fn our_answer_says_what_a_stock_agent_s_says() {
        let (_, stock) = captured().swap_remove(2);

        let ours = names("web", "m4").answer("10.99.0.4:7946".parse().unwrap());

        let ours = ours.expect("it can be written");
        let (ours, stock) = (
            Packet::parse(&ours).unwrap(),
            Packet::parse(&stock).unwrap(),
        );
        assert_eq!((ours.id(), ours.questions.len()), (0, 0));
        assert!(ours.has_flags(PacketFlag::RESPONSE | PacketFlag::AUTHORITATIVE_ANSWER));
        assert_eq!(ours.answers.len(), 4);
        for (at, (ours, stock)) in ours.answers.iter().zip(&stock.answers).enumerate() {
            assert_eq!((ours.class, ours.ttl), (stock.class, stock.ttl));
            match (&ours.rdata, &stock.rdata) {
                // The capture's host is the machine's name, ours the node's: unique without help.
                (RData::SRV(ours), RData::SRV(stock)) => {
                    let ours = (ours.priority, ours.weight, ours.port);
                    assert_eq!(ours, (stock.priority, stock.weight, stock.port));
                }
                (ours, stock) => assert_eq!(ours, stock, "record {at}"),
            }
        }
    }

    #[test]
    fn what_we_tell_others_read_and_we_do_not() {
        for address in ["10.0.0.4:7946", "[fd00::4]:17946"] {
            let answer = names("web", "web1.example")
                .answer(address.parse().unwrap())
                .expect("it can be written");

            assert_eq!(
                names("web", "web2").read(&answer),
                told(&[address], &[]),
                "{address}"
            );
            assert_eq!(names("web2", "web2").read(&answer), None);
        }
    }

    #[test]
    fn an_instance_without_its_place_is_asked_for() {
        let service = Name::new("_serf_web._tcp.local.").unwrap();
        let instance = Name::new("web9._serf_web._tcp.local.").unwrap();
        let mut packet = Packet::new_reply(7);
        packet.answers.push(ResourceRecord::new(
            service,
            CLASS::IN,
            TTL,
            RData::PTR(PTR(instance)),
        ));
        let packet = packet.build_bytes_vec().unwrap();
        let asker = names("web", "front");

        assert_eq!(
            asker.read(&packet),
            told(&[], &["web9._serf_web._tcp.local"])
        );
        let question = question(1, "web9._serf_web._tcp.local", true).unwrap();
        assert_eq!(names("web", "web9").read(&question), Some(Said::Asked));
        assert_eq!(names("web", "web8").read(&question), None);
    }

    #[test]
    fn damaged_packets_are_no_packets() {
        use rand::{RngExt, SeedableRng};
        let seed = 7;
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let asker = names("web", "front");
        let mut read = 0;
        for (_, bytes) in captured() {
            for len in 0..bytes.len() {
                read += usize::from(asker.read(&bytes[..len]).is_some());
            }
            assert_eq!(read, 0, "cut short");
            for _ in 0..5000 {
                let mut bytes = bytes.clone();
                for _ in 0..random.random_range(1..8) {
                    let at = random.random_range(0..bytes.len());
                    bytes[at] = random.random();
                }
                // Whatever it says: it ends, and does not panic (seed 7).
                let _ = asker.read(&bytes);
            }
        }
    }

    #[test]
    fn long_names_are_cut_and_impossible_ones_refused() {
        let long = names("web", &format!("{}ü{}", "x".repeat(62), "y".repeat(60)));

        assert!(long.answer("10.0.0.1:1".parse().unwrap()).is_some());
        assert!(Names::new(&"c".repeat(63), "web1").is_none());
        assert!(Names::new("web", "with\\backslash").is_some());
    }
}
