//! Bytes of queries, of their answers, and of what is relayed.
//!
//! ```text
//! query     [4][map]     filters are opaque here: [filter type: u8][msgpack]
//! response  [5][map]
//! relay     [9][{DestAddr {IP, Port, Zone}, DestName}][serf message]
//! ```

use super::super::WireError;
use super::super::message::WireAddr;
use super::super::msgpack::{Reader, Writer};
use super::{QUERY, QUERY_RESPONSE, Query, QueryResponse, RELAY, Relay, list, nil_if_empty};

impl Query {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::message(QUERY);
        w.map(11);
        w.key("Addr");
        w.raw(&self.addr.octets);
        w.key("Filters");
        if self.filters.is_empty() {
            w.nil();
        } else {
            w.array(self.filters.len());
            self.filters.iter().for_each(|filter| w.raw(filter));
        }
        w.key("Flags");
        w.uint(self.flags.into());
        w.key("ID");
        w.uint(self.id.into());
        w.key("LTime");
        w.uint(self.ltime);
        w.key("Name");
        w.raw(self.name.as_bytes());
        w.key("Payload");
        w.raw_or_nil(nil_if_empty(&self.payload));
        w.key("Port");
        w.uint(self.addr.port.into());
        w.key("RelayFactor");
        w.uint(self.relay_factor.into());
        w.key("SourceNode");
        w.raw(self.source_node.as_bytes());
        w.key("Timeout");
        w.int(self.timeout_ns);
        w.finish()
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let declared = [
            "LTime",
            "ID",
            "Addr",
            "Port",
            "SourceNode",
            "Filters",
            "Flags",
            "RelayFactor",
            "Timeout",
            "Name",
            "Payload",
        ];
        let mut query = Self {
            ltime: 0,
            id: 0,
            addr: WireAddr {
                octets: Vec::new(),
                port: 0,
            },
            source_node: String::new(),
            filters: Vec::new(),
            flags: 0,
            relay_factor: 0,
            timeout_ns: 0,
            name: String::new(),
            payload: Vec::new(),
        };
        r.fields(&declared, |r, field| {
            match field {
                "LTime" => query.ltime = r.uint()?,
                "ID" => query.id = r.uint_as("ID")?,
                "Addr" => query.addr.octets = r.bytes()?,
                "Port" => query.addr.port = r.uint_as("Port")?,
                "SourceNode" => query.source_node = r.string("SourceNode")?,
                "Filters" => query.filters = list(r, Reader::bytes)?,
                "Flags" => query.flags = r.uint_as("Flags")?,
                "RelayFactor" => query.relay_factor = r.uint_as("RelayFactor")?,
                "Timeout" => query.timeout_ns = r.int()?,
                "Name" => query.name = r.string("Name")?,
                "Payload" => query.payload = r.bytes()?,
                _ => r.skip()?,
            }
            Ok(())
        })?;
        Ok(query)
    }
}

impl QueryResponse {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::message(QUERY_RESPONSE);
        w.map(5);
        w.key("Flags");
        w.uint(self.flags.into());
        w.key("From");
        w.raw(self.from.as_bytes());
        w.key("ID");
        w.uint(self.id.into());
        w.key("LTime");
        w.uint(self.ltime);
        w.key("Payload");
        w.raw_or_nil(self.payload.as_deref());
        w.finish()
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let declared = ["LTime", "ID", "From", "Flags", "Payload"];
        let (mut ltime, mut id, mut from) = (0, 0, String::new());
        let (mut flags, mut payload) = (0, None);
        r.fields(&declared, |r, field| {
            match field {
                "LTime" => ltime = r.uint()?,
                "ID" => id = r.uint_as("ID")?,
                "From" => from = r.string("From")?,
                "Flags" => flags = r.uint_as("Flags")?,
                "Payload" => payload = r.raw()?.map(<[u8]>::to_vec),
                _ => r.skip()?,
            }
            Ok(())
        })?;
        Ok(Self {
            ltime,
            id,
            from,
            flags,
            payload,
        })
    }
}

impl Relay {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::message(RELAY);
        w.map(2);
        w.key("DestAddr");
        w.map(3);
        w.key("IP");
        w.raw(&self.dest.octets);
        w.key("Port");
        w.uint(self.dest.port.into());
        w.key("Zone");
        w.raw(b"");
        w.key("DestName");
        w.raw(self.dest_name.as_bytes());
        w.append(&self.body);
        w.finish()
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let (mut octets, mut port, mut dest_name) = (Vec::new(), 0, String::new());
        r.fields(&["DestAddr", "DestName"], |r, field| {
            match field {
                "DestAddr" => r.fields(&["IP", "Port", "Zone"], |r, field| {
                    match field {
                        "IP" => octets = r.bytes()?,
                        "Port" => port = r.uint_as("Port")?,
                        _ => r.skip()?,
                    }
                    Ok(())
                })?,
                "DestName" => dest_name = r.string("DestName")?,
                _ => r.skip()?,
            }
            Ok(())
        })?;
        let dest = WireAddr { octets, port };
        if dest.socket().is_none() {
            return Err(WireError::Field("DestAddr"));
        }
        let body = r.rest().to_vec();
        if body.is_empty() {
            return Err(WireError::Truncated);
        }
        Ok(Self {
            dest,
            dest_name,
            body,
        })
    }
}
