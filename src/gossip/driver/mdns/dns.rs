//! The few words of DNS that discovery needs, to bytes and back.
//!
//! ```text
//! [id: 2][flags: 2][counts: 4 × 2]   question: name, type, class   record: name, type, class, ttl, length, data
//! name: labels, up to an empty one or a pointer to an earlier place. All numbers big-endian (RFC 1035)
//! ```
//!
//! Of ours rather than a library's: this is a fiftieth of an agent there, for types of records that nobody sends. The tests
//! hold it to one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A record's meaning to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Data {
    Ptr(String),
    Srv { port: u16, target: String },
    Address(IpAddr),
    Other,
}

/// What a packet holds. Names are without the dot at the end, in the letters in which they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) is_response: bool,
    /// Name and type.
    pub(super) questions: Vec<(String, u16)>,
    /// Answers and additional ones.
    pub(super) records: Vec<(String, Data)>,
}

const A: u16 = 1;
pub(super) const PTR: u16 = 12;
const TXT: u16 = 16;
const AAAA: u16 = 28;
pub(super) const SRV: u16 = 33;
pub(super) const ANY: u16 = 255;

/// The internet's class.
const IN: u16 = 1;
const RESPONSE: u16 = 0x8000;
const AUTHORITATIVE: u16 = 0x0400;

/// Bytes of one label, and of a whole name on the wire (RFC 1035 §2.3.4).
pub(super) const LABEL_BYTES_MAX: usize = 63;
const NAME_BYTES_MAX: usize = 255;

/// Of all kinds together; a compressed name may be a hundred times as long as its bytes, so these bound a packet's memory.
const RECORDS_MAX: usize = 256;

impl Packet {
    /// `None` where it is no DNS.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { bytes, at: 0 };
        let _id = reader.u16()?;
        let flags = reader.u16()?;
        let mut count = || reader.u16().map(usize::from);
        let (asked, answers, authorities, additional) = (count()?, count()?, count()?, count()?);
        if asked + answers + authorities + additional > RECORDS_MAX {
            return None;
        }
        let mut packet = Self {
            is_response: flags & RESPONSE != 0,
            questions: Vec::new(),
            records: Vec::new(),
        };
        for _ in 0..asked {
            let question = (reader.name()?, reader.u16()?);
            let _class = reader.u16()?;
            packet.questions.push(question);
        }
        for at in 0..answers + authorities + additional {
            let record = reader.record()?;
            if !(answers..answers + authorities).contains(&at) {
                packet.records.push(record);
            }
        }
        Some(packet)
    }
}

/// A packet that is read.
struct Reader<'p> {
    bytes: &'p [u8],
    at: usize,
}

impl<'p> Reader<'p> {
    fn take(&mut self, count: usize) -> Option<&'p [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn name(&mut self) -> Option<String> {
        let mut name = Vec::new();
        // Each pointer leads to before all that was read so far, so it ends.
        let (mut earliest, mut behind) = (self.at, None);
        loop {
            let [length] = self.array()?;
            match length {
                0 => break,
                0xc0.. => {
                    let [low] = self.array()?;
                    behind = behind.or(Some(self.at));
                    self.at = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                    if self.at >= earliest {
                        return None;
                    }
                    earliest = self.at;
                }
                // Kinds of labels that were planned once.
                0x40..0xc0 => return None,
                length => {
                    if !name.is_empty() {
                        name.push(b'.');
                    }
                    name.extend_from_slice(self.take(length.into())?);
                    // On the wire a name has a length in front and an end more.
                    if name.len() + 2 > NAME_BYTES_MAX {
                        return None;
                    }
                }
            }
        }
        self.at = behind.unwrap_or(self.at);
        Some(String::from_utf8_lossy(&name).into_owned())
    }

    fn record(&mut self) -> Option<(String, Data)> {
        let name = self.name()?;
        let kind = self.u16()?;
        let _class_and_ttl = self.take(6)?;
        let length = usize::from(self.u16()?);
        let end = self.at.checked_add(length)?;
        let data = match kind {
            PTR => Data::Ptr(self.name()?),
            SRV => {
                let _priority_and_weight = self.take(4)?;
                let (port, target) = (self.u16()?, self.name()?);
                Data::Srv { port, target }
            }
            A => Data::Address(Ipv4Addr::from(self.array::<4>()?).into()),
            AAAA => Data::Address(Ipv6Addr::from(self.array::<16>()?).into()),
            _ => {
                self.take(length)?;
                Data::Other
            }
        };
        (self.at == end).then_some((name, data))
    }
}

/// A packet that is written.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// The question for records of this type.
    pub(super) fn question(id: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
        let mut writer = Self::begin(id, 0, [1, 0]);
        writer.name(name)?;
        writer.numbers(&[kind, IN]);
        Some(writer.0)
    }

    /// An answer of so many records.
    pub(super) fn answer(records: u16) -> Self {
        Self::begin(0, RESPONSE | AUTHORITATIVE, [0, records])
    }

    fn begin(id: u16, flags: u16, [questions, answers]: [u16; 2]) -> Self {
        let mut writer = Self(Vec::new());
        writer.numbers(&[id, flags, questions, answers, 0, 0]);
        writer
    }

    fn numbers(&mut self, numbers: &[u16]) {
        for number in numbers {
            self.0.extend_from_slice(&number.to_be_bytes());
        }
    }

    /// `None` where a label or the name is too long, or a label is empty.
    fn name(&mut self, name: &str) -> Option<()> {
        let begin = self.0.len();
        for label in name.trim_end_matches('.').split('.') {
            let length = u8::try_from(label.len()).ok()?;
            if label.is_empty() || label.len() > LABEL_BYTES_MAX {
                return None;
            }
            self.0.push(length);
            self.0.extend_from_slice(label.as_bytes());
        }
        self.0.push(0);
        (self.0.len() - begin <= NAME_BYTES_MAX).then_some(())
    }

    fn record(
        &mut self,
        name: &str,
        kind: u16,
        ttl: u32,
        data: impl FnOnce(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.name(name)?;
        self.numbers(&[kind, IN]);
        self.0.extend_from_slice(&ttl.to_be_bytes());
        let begin = self.0.len();
        self.numbers(&[0]);
        data(self)?;
        let length = u16::try_from(self.0.len() - begin - 2).ok()?;
        self.0[begin..begin + 2].copy_from_slice(&length.to_be_bytes());
        Some(())
    }

    pub(super) fn ptr(&mut self, name: &str, ttl: u32, target: &str) -> Option<()> {
        self.record(name, PTR, ttl, |writer| writer.name(target))
    }

    /// `place`: priority, weight and port.
    pub(super) fn srv(&mut self, name: &str, ttl: u32, place: [u16; 3], on: &str) -> Option<()> {
        self.record(name, SRV, ttl, |writer| {
            writer.numbers(&place);
            writer.name(on)
        })
    }

    pub(super) fn address(&mut self, name: &str, ttl: u32, ip: IpAddr) -> Option<()> {
        let kind = if ip.is_ipv4() { A } else { AAAA };
        self.record(name, kind, ttl, |writer| {
            match ip {
                IpAddr::V4(ip) => writer.0.extend_from_slice(&ip.octets()),
                IpAddr::V6(ip) => writer.0.extend_from_slice(&ip.octets()),
            }
            Some(())
        })
    }

    pub(super) fn txt(&mut self, name: &str, ttl: u32, text: &str) -> Option<()> {
        self.record(name, TXT, ttl, |writer| {
            writer.0.push(u8::try_from(text.len()).ok()?);
            writer.0.extend_from_slice(text.as_bytes());
            Some(())
        })
    }

    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// Whether DNS takes such a name.
pub(super) fn fits(name: &str) -> bool {
    Writer(Vec::new()).name(name).is_some()
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use simple_dns::rdata::RData;

    use super::*;

    /// As another reader understands it; `None` where it does not.
    fn understood(bytes: &[u8]) -> Option<Packet> {
        let packet = simple_dns::Packet::parse(bytes).ok()?;
        let plain = |name: &simple_dns::Name<'_>| name.to_string();
        let records = packet.answers.iter().chain(&packet.additional_records);
        let records = records.map(|record| {
            let data = match &record.rdata {
                RData::PTR(ptr) => Data::Ptr(plain(&ptr.0)),
                RData::SRV(srv) => Data::Srv {
                    port: srv.port,
                    target: plain(&srv.target),
                },
                RData::A(a) => Data::Address(Ipv4Addr::from(a.address).into()),
                RData::AAAA(a) => Data::Address(Ipv6Addr::from(a.address).into()),
                _ => Data::Other,
            };
            (plain(&record.name), data)
        });
        let questions = packet.questions.iter();
        Some(Packet {
            is_response: packet.has_flags(simple_dns::PacketFlag::RESPONSE),
            questions: questions
                .map(|question| (plain(&question.qname), question.qtype.into()))
                .collect(),
            records: records.collect(),
        })
    }

    fn answer() -> Vec<u8> {
        let mut writer = Writer::answer(5);
        let (service, instance) = ("_serf_web._tcp.local.", "web1._serf_web._tcp.local.");
        let written = [
            writer.ptr(service, 120, instance),
            writer.srv(instance, 120, [10, 1, 7946], "web1."),
            writer.address("web1.", 120, "10.0.0.4".parse().expect("an address")),
            writer.address("web1.", 120, "fd00::4".parse().expect("an address")),
            writer.txt(instance, 120, "Serf 'web' cluster"),
        ];
        assert_eq!(written, [Some(()); 5]);
        writer.done()
    }

    #[test]
    fn what_is_written_is_read_here_and_elsewhere() {
        let bytes = answer();

        let read = Packet::read(&bytes);

        assert_eq!(read, understood(&bytes));
        assert_eq!(read.map(|packet| packet.records.len()), Some(5));
    }

    #[test]
    fn what_both_readers_take_means_the_same_to_both() {
        let compressed = {
            let mut packet = simple_dns::Packet::parse(&[0; 12]).expect("an empty one");
            let bytes = answer();
            let whole = simple_dns::Packet::parse(&bytes).expect("an answer");
            packet.set_flags(simple_dns::PacketFlag::RESPONSE);
            packet.answers.clone_from(&whole.answers);
            packet.build_bytes_vec_compressed().expect("it is written")
        };
        assert!(compressed.len() < answer().len(), "with pointers");
        let seed = 11;
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let mut both = 0;
        for bytes in [answer(), compressed] {
            assert_eq!(Packet::read(&bytes), understood(&bytes));
            for round in 0..20_000 {
                let mut bytes = bytes.clone();
                for _ in 0..random.random_range(1..4) {
                    let at = random.random_range(0..bytes.len());
                    bytes[at] = random.random();
                }
                // Elsewhere letters that are no host name's are shown escaped.
                let plain = |packet: &Packet| {
                    let shown = format!("{packet:?}");
                    shown.is_ascii() && !shown.contains('\\')
                };
                if let (Some(ours), Some(theirs)) = (Packet::read(&bytes), understood(&bytes))
                    && plain(&ours)
                    && plain(&theirs)
                {
                    assert_eq!(ours, theirs, "round {round} of seed {seed}: {bytes:?}");
                    both += 1;
                }
            }
        }
        assert!(both > 1000, "{both} were taken by both");
    }

    #[test]
    fn a_pointer_leads_back_and_so_ends() {
        let begin = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let asked = |name: &[u8]| {
            let bytes = [&begin[..], name, &[0, 12, 0, 1]].concat();
            Packet::read(&bytes).map(|packet| packet.questions[0].0.clone())
        };

        assert_eq!(asked(b"\x01a\x00"), Some("a".to_owned()));
        // To itself, ahead, and from a label back to its own beginning.
        assert_eq!(asked(b"\xc0\x0c"), None);
        assert_eq!(asked(b"\xc0\x0e"), None);
        assert_eq!(asked(b"\x01a\xc0\x0c"), None);
        assert_eq!(asked(&[0x40, 0]), None);
        assert_eq!(asked(&b"\x3f".repeat(300)), None);
    }

    #[test]
    fn names_are_as_long_as_dns_takes_them() {
        let label = "x".repeat(LABEL_BYTES_MAX);

        assert!(fits(&label));
        assert!(!fits(&format!("{label}x")));
        assert!(!fits("a..b"));
        assert!(!fits(""));
        let long = [label.as_str(); 3].join(".");
        assert!(fits(&format!("{long}.{}", "y".repeat(61))));
        assert!(!fits(&format!("{long}.{}", "y".repeat(62))));
    }
}
