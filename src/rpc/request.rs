//! Requests, from bytes.
//!
//! ```text
//! [header: map {Command str, Seq uint}] [body: map, for the commands that have one] [header] …
//! ```
//!
//! Header and body are read one after the other, since what a header says may end the session before there is a body.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::announce::Tags;
use crate::gossip::core::io::Question;
use crate::gossip::core::wire::WireError;
use crate::gossip::core::wire::msgpack::Reader;

/// Longest name of a command; `members-filtered` has 16 letters.
const COMMAND_BYTES_MAX: usize = 64;

/// What comes before each request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) command: String,
    pub(super) seq: u64,
}

/// A whole request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Handshake {
        version: i64,
    },
    Auth {
        key: String,
    },
    Event {
        name: String,
        payload: Vec<u8>,
        coalesce: bool,
    },
    ForceLeave {
        node: String,
        prune: bool,
    },
    Join {
        existing: Vec<String>,
        replay: bool,
    },
    Members,
    MembersFiltered(Wanted),
    Tags {
        set: Tags,
        delete: Vec<String>,
    },
    Stream {
        filters: String,
    },
    Monitor {
        level: String,
    },
    Stop {
        stop: u64,
    },
    Query(Question),
    Respond {
        id: u64,
        payload: Vec<u8>,
    },
    Key(KeyCommand, String),
    ListKeys,
    Stats,
    GetCoordinate {
        node: String,
    },
    Leave,
}

/// What to do with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyCommand {
    Install,
    Use,
    Remove,
}

/// Which members: regular expressions that match the whole value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) tags: BTreeMap<String, String>,
    /// Empty: any.
    pub(super) status: String,
    /// Empty: any.
    pub(super) name: String,
}

impl Header {
    /// From the front of `bytes`, with its length. [`WireError::Truncated`]: more bytes may make it good.
    pub(super) fn read(bytes: &[u8]) -> Result<(Self, usize), WireError> {
        let mut r = Reader::new(bytes);
        let mut header = Self::default();
        r.fields(&["Command", "Seq"], |r, name| {
            match name {
                "Command" => header.command = r.string("Command")?,
                "Seq" => header.seq = r.uint()?,
                _ => r.skip()?,
            }
            Ok(())
        })?;
        if header.command.len() > COMMAND_BYTES_MAX {
            return Err(WireError::Field("Command"));
        }
        Ok((header, r.position()))
    }
}

impl Request {
    /// The request of `command` whose body begins `bytes`, with the body's length (0 where there is none); `None`
    /// for a command that nobody knows. [`WireError::Truncated`]: more bytes may make it good.
    pub(super) fn read(command: &str, bytes: &[u8]) -> Result<Option<(Self, usize)>, WireError> {
        let mut r = Reader::new(bytes);
        let Some(request) = body(command, &mut r)? else {
            return Ok(None);
        };
        Ok(Some((request, r.position())))
    }
}

fn body(command: &str, r: &mut Reader<'_>) -> Result<Option<Request>, WireError> {
    Ok(Some(match command {
        "handshake" => {
            let mut version = 0;
            one(r, "Version", |r| r.int().map(|value| version = value))?;
            Request::Handshake { version }
        }
        "auth" => Request::Auth {
            key: one_text(r, "AuthKey")?,
        },
        "event" => event(r)?,
        "force-leave" => force_leave(r)?,
        "join" => join(r)?,
        "members" => Request::Members,
        "members-filtered" => wanted(r)?,
        "tags" => tags(r)?,
        "stream" => Request::Stream {
            filters: one_text(r, "Type")?,
        },
        "monitor" => Request::Monitor {
            level: one_text(r, "LogLevel")?,
        },
        "stop" => {
            let mut stop = 0;
            one(r, "Stop", |r| r.uint().map(|value| stop = value))?;
            Request::Stop { stop }
        }
        "query" => query(r)?,
        "respond" => respond(r)?,
        "install-key" => Request::Key(KeyCommand::Install, one_text(r, "Key")?),
        "use-key" => Request::Key(KeyCommand::Use, one_text(r, "Key")?),
        "remove-key" => Request::Key(KeyCommand::Remove, one_text(r, "Key")?),
        "list-keys" => Request::ListKeys,
        "stats" => Request::Stats,
        "get-coordinate" => Request::GetCoordinate {
            node: one_text(r, "Node")?,
        },
        "leave" => Request::Leave,
        _ => return Ok(None),
    }))
}

/// A struct of one field.
fn one<'a>(
    r: &mut Reader<'a>,
    field: &'static str,
    mut read: impl FnMut(&mut Reader<'a>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    r.fields(
        &[field],
        |r, name| {
            if name == field { read(r) } else { r.skip() }
        },
    )
}

fn one_text(r: &mut Reader<'_>, field: &'static str) -> Result<String, WireError> {
    let mut text = String::new();
    one(r, field, |r| r.string(field).map(|value| text = value))?;
    Ok(text)
}

fn event(r: &mut Reader<'_>) -> Result<Request, WireError> {
    let (mut event, mut body, mut cc) = (String::new(), Vec::new(), false);
    r.fields(&["Name", "Payload", "Coalesce"], |r, name| {
        match name {
            "Name" => event = r.string("Name")?,
            "Payload" => body = r.bytes()?,
            "Coalesce" => cc = r.bool()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(Request::Event {
        name: event,
        payload: body,
        coalesce: cc,
    })
}

fn force_leave(r: &mut Reader<'_>) -> Result<Request, WireError> {
    let (mut node, mut prune) = (String::new(), false);
    r.fields(&["Node", "Prune"], |r, name| {
        match name {
            "Node" => node = r.string("Node")?,
            "Prune" => prune = r.bool()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(Request::ForceLeave { node, prune })
}

fn join(r: &mut Reader<'_>) -> Result<Request, WireError> {
    let (mut existing, mut replay) = (Vec::new(), false);
    r.fields(&["Existing", "Replay"], |r, name| {
        match name {
            "Existing" => existing = texts(r, "Existing")?,
            "Replay" => replay = r.bool()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(Request::Join { existing, replay })
}

fn wanted(r: &mut Reader<'_>) -> Result<Request, WireError> {
    let mut wanted = Wanted::default();
    r.fields(&["Tags", "Status", "Name"], |r, name| {
        match name {
            "Tags" => wanted.tags = pairs(r, "Tags")?,
            "Status" => wanted.status = r.string("Status")?,
            "Name" => wanted.name = r.string("Name")?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(Request::MembersFiltered(wanted))
}

fn tags(r: &mut Reader<'_>) -> Result<Request, WireError> {
    let (mut set, mut delete) = (Tags::new(), Vec::new());
    r.fields(&["Tags", "DeleteTags"], |r, name| {
        match name {
            "Tags" => set = pairs(r, "Tags")?,
            "DeleteTags" => delete = texts(r, "DeleteTags")?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(Request::Tags { set, delete })
}

fn query(r: &mut Reader<'_>) -> Result<Request, WireError> {
    let mut asked = Question::default();
    const FIELDS: &[&str] = &[
        "FilterNodes",
        "FilterTags",
        "RequestAck",
        "RelayFactor",
        "Timeout",
        "Name",
        "Payload",
    ];
    r.fields(FIELDS, |r, name| {
        match name {
            "FilterNodes" => asked.nodes = texts(r, "FilterNodes")?,
            "FilterTags" => asked.tags = pairs(r, "FilterTags")?,
            "RequestAck" => asked.wants_ack = r.bool()?,
            "RelayFactor" => asked.relay_factor = r.uint_as("RelayFactor")?,
            "Timeout" => {
                // Zero is the default; a negative one is over at once in Serf, and no use to anybody.
                let nanoseconds = u64::try_from(r.int()?).unwrap_or_default();
                asked.timeout = (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds));
            }
            "Name" => asked.name = r.string("Name")?,
            "Payload" => asked.payload = r.bytes()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(Request::Query(asked))
}

fn respond(r: &mut Reader<'_>) -> Result<Request, WireError> {
    let (mut id, mut payload) = (0, Vec::new());
    r.fields(&["ID", "Payload"], |r, name| {
        match name {
            "ID" => id = r.uint()?,
            "Payload" => payload = r.bytes()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(Request::Respond { id, payload })
}

fn texts(r: &mut Reader<'_>, field: &'static str) -> Result<Vec<String>, WireError> {
    let items = r.array()?.unwrap_or_default();
    let mut texts = Vec::new();
    for _ in 0..items {
        texts.push(r.string(field)?);
    }
    Ok(texts)
}

fn pairs(r: &mut Reader<'_>, field: &'static str) -> Result<BTreeMap<String, String>, WireError> {
    let mut pairs = BTreeMap::new();
    for _ in 0..r.map()? {
        let name = r.string(field)?;
        pairs.insert(name, r.string(field)?);
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests;
