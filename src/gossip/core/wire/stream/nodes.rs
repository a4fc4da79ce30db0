//! The nodes of a push/pull, which stay the bytes that came.
//!
//! ```text
//! stream ─▶ Decoder checks each node ─▶ PushNodes (bytes) ─▶ one PushNodeRef at a time ─▶ node table
//! ```
//!
//! As messages the nodes of a cluster take several times the memory of the table that they end in, and all of it at
//! once; an agent would keep that much for good.

use std::borrow::Cow;
use std::fmt;

use super::super::WireError;
use super::super::message::{WireAddr, versions};
use super::super::msgpack::{Reader, Writer};

/// A node as listed in a push/pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushNode {
    /// Name.
    pub name: String,
    /// Where.
    pub addr: WireAddr,
    /// Encoded tags.
    pub meta: Vec<u8>,
    /// Incarnation.
    pub incarnation: u32,
    /// 0 alive, 1 suspect, 2 dead, 3 left.
    pub state: u8,
    /// Versions; `None` when not six bytes.
    pub vsn: Option<[u8; 6]>,
}

/// The same, lent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushNodeRef<'a> {
    /// Name.
    pub name: &'a str,
    /// Address: 4 or 16 octets, if it is one.
    pub octets: Cow<'a, [u8]>,
    /// Port.
    pub port: u16,
    /// Encoded tags.
    pub meta: &'a [u8],
    /// Incarnation.
    pub incarnation: u32,
    /// 0 alive, 1 suspect, 2 dead, 3 left.
    pub state: u8,
    /// Versions; `None` when not six bytes.
    pub vsn: Option<[u8; 6]>,
}

/// Any number of nodes, in list order.
#[derive(Clone, Default)]
pub struct PushNodes {
    /// One encoded node after the other, every one of them well formed.
    bytes: Vec<u8>,
    /// How many of them have a name that is UTF-8.
    readable: usize,
}

impl PushNodes {
    /// `bytes` must hold whole nodes and nothing else, `readable` of them with a readable name.
    pub(super) fn checked(mut bytes: Vec<u8>, readable: usize) -> Self {
        bytes.shrink_to_fit();
        Self { bytes, readable }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.readable
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.readable == 0
    }

    /// All that have a readable name.
    pub fn iter(&self) -> impl Iterator<Item = PushNodeRef<'_>> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            while !rest.is_empty() {
                let r = &mut Reader::new(rest);
                let node = PushNodeRef::read(r).ok()?;
                rest = r.rest();
                if node.is_some() {
                    return node;
                }
            }
            None
        })
    }
}

impl FromIterator<PushNode> for PushNodes {
    fn from_iter<I: IntoIterator<Item = PushNode>>(nodes: I) -> Self {
        let mut w = Writer::default();
        let mut readable = 0;
        for node in nodes {
            node.lend().write(&mut w);
            readable += 1;
        }
        Self::checked(w.finish(), readable)
    }
}

impl fmt::Debug for PushNodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for PushNodes {
    /// By what they say: there is more than one way to write a node.
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for PushNodes {}

impl PushNode {
    /// Lends its fields.
    pub fn lend(&self) -> PushNodeRef<'_> {
        PushNodeRef {
            name: &self.name,
            octets: Cow::Borrowed(&self.addr.octets),
            port: self.addr.port,
            meta: &self.meta,
            incarnation: self.incarnation,
            state: self.state,
            vsn: self.vsn,
        }
    }
}

impl<'a> PushNodeRef<'a> {
    /// A copy of its own.
    pub fn to_node(&self) -> PushNode {
        PushNode {
            name: self.name.to_owned(),
            addr: self.addr(),
            meta: self.meta.to_vec(),
            incarnation: self.incarnation,
            state: self.state,
            vsn: self.vsn,
        }
    }

    /// Where.
    pub fn addr(&self) -> WireAddr {
        WireAddr {
            octets: self.octets.to_vec(),
            port: self.port,
        }
    }

    /// `None` for a node whose name is not UTF-8: it is left out, since refusing the whole list for one odd
    /// member would keep us out of its cluster.
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Option<Self>, WireError> {
        let declared = [
            "Name",
            "Addr",
            "Port",
            "Meta",
            "Incarnation",
            "State",
            "Vsn",
        ];
        let (mut name, mut octets, mut port, mut meta) = (&[][..], &[][..], 0, &[][..]);
        let (mut incarnation, mut state, mut vsn) = (0, 0, None);
        r.fields(&declared, |r, field| {
            match field {
                "Name" => name = r.raw()?.unwrap_or_default(),
                "Addr" => octets = r.raw()?.unwrap_or_default(),
                "Port" => port = r.uint_as("Port")?,
                "Meta" => meta = r.raw()?.unwrap_or_default(),
                "Incarnation" => incarnation = r.uint_as("Incarnation")?,
                "State" => state = r.uint_as("State")?,
                "Vsn" => vsn = versions(r)?,
                _ => r.skip()?,
            }
            Ok(())
        })?;
        Ok(std::str::from_utf8(name).ok().map(|name| Self {
            name,
            octets: Cow::Borrowed(octets),
            port,
            meta,
            incarnation,
            state,
            vsn,
        }))
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.map(7);
        w.key("Addr");
        w.raw(&self.octets);
        w.key("Incarnation");
        w.uint(self.incarnation.into());
        w.key("Meta");
        w.raw(self.meta);
        w.key("Name");
        w.raw(self.name.as_bytes());
        w.key("Port");
        w.uint(self.port.into());
        w.key("State");
        w.uint(self.state.into());
        w.key("Vsn");
        w.raw_or_nil(self.vsn.as_ref().map(|vsn| &vsn[..]));
    }
}
