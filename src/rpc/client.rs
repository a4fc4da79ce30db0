//! The other side: asks a running member, one request after another, blocking.
//!
//! ```text
//! Client::connect ─▶ handshake, auth ─▶ request ─▶ header, body ─▶ request …
//!                                          └─▶ Records: a header and a record each, until the stream ends
//! ```
//!
//! Made for a command line, where one thread waits for one answer. It speaks to `serf agent` as well.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::{Secret, VERSION};
use crate::announce::Tags;
use crate::gossip::core::serf::coordinate::Coordinate;
use crate::gossip::core::serf::keys::KeyReport;
use crate::gossip::core::wire::WireError;
use crate::gossip::core::wire::msgpack::{Reader, Writer};

mod decode;
mod streams;

#[cfg(test)]
pub(in crate::rpc) use self::decode::coordinate as coordinate_of;
pub use self::decode::{MemberInfo, Notice};
pub use self::streams::Record;

/// Someone waits in front of a terminal.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// For an answer that the member has at hand. As Serf's client.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// For one that it has to get from others: a join tries addresses for seconds each, keys wait for a query.
const ERRAND_MAX: Duration = Duration::from_secs(120);

/// One object of an answer: ten thousand members fit well.
const OBJECT_BYTES_MAX: usize = 16 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there, or it cannot be reached.
    #[error("nobody answers at {address}: {source}")]
    Nobody {
        /// Where.
        address: String,
        /// Cause.
        source: io::Error,
    },
    /// The connection broke, or the answer took too long.
    #[error("no answer from {address}: {source}")]
    Lost {
        /// Where.
        address: String,
        /// Cause.
        source: io::Error,
    },
    /// What came is not this protocol.
    #[error("{address} does not speak Serf's RPC: {source}")]
    Foreign {
        /// Where.
        address: String,
        /// Cause.
        source: WireError,
    },
    /// The member says no.
    #[error("{0}")]
    Refused(String),
}

/// Which members; regular expressions that must match the whole value. Empty: any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// By tag.
    pub tags: BTreeMap<String, String>,
    /// Of the status.
    pub status: String,
    /// Of the name.
    pub name: String,
}

/// What to do with the keys of all members; keys in base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyChange<'k> {
    /// Add.
    Install(&'k str),
    /// Seal with.
    Use(&'k str),
    /// Remove.
    Remove(&'k str),
    /// Tell which there are.
    List,
}

/// A connection to a member, greeted and allowed in.
#[derive(Debug)]
pub struct Client {
    address: String,
    stream: TcpStream,
    seq: u64,
    input: Vec<u8>,
}

/// A header of an answer.
#[derive(Debug, Default)]
struct Header {
    seq: u64,
    error: String,
}

impl Client {
    /// Connects to `address` (HOST:PORT), and says who it is where `auth` is given.
    ///
    /// # Errors
    /// [`ClientError::Nobody`] where there is no connection.
    pub fn connect(address: &str, auth: Option<&Secret>) -> Result<Self, ClientError> {
        let stream = dial(address).map_err(|source| ClientError::Nobody {
            address: address.to_owned(),
            source,
        })?;
        let mut client = Self {
            address: address.to_owned(),
            stream,
            seq: 0,
            input: Vec::new(),
        };
        client.command("handshake", |w| {
            w.map(1);
            w.key("Version");
            w.int(VERSION);
        })?;
        if let Some(secret) = auth {
            client.text("auth", "AuthKey", secret.expose())?;
        }
        Ok(client)
    }

    /// The members that pass.
    ///
    /// # Errors
    /// [`ClientError`], as of all that follow.
    pub fn members(&mut self, filter: &Filter) -> Result<Vec<MemberInfo>, ClientError> {
        self.command("members-filtered", |w| {
            w.map(3);
            w.key("Name");
            w.str(&filter.name);
            w.key("Status");
            w.str(&filter.status);
            w.key("Tags");
            pairs(w, &filter.tags);
        })?;
        self.object(decode::members)
    }

    /// Joins through `addresses`; how many answered.
    ///
    /// # Errors
    /// [`ClientError::Refused`] where none did.
    pub fn join(&mut self, addresses: &[String], replay: bool) -> Result<u64, ClientError> {
        self.patience(ERRAND_MAX)?;
        let seq = self.ask("join", |w| {
            w.map(2);
            w.key("Existing");
            texts(w, addresses);
            w.key("Replay");
            w.bool(replay);
        })?;
        let header = self.header_of(seq)?;
        let reached = self.object(decode::reached)?;
        header.ok()?;
        Ok(reached)
    }

    /// Leaves the cluster; returns when that is done.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn leave(&mut self) -> Result<(), ClientError> {
        self.patience(ERRAND_MAX)?;
        self.bare("leave")
    }

    /// Turns a failed member into a left one.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn force_leave(&mut self, node: &str, prune: bool) -> Result<(), ClientError> {
        self.patience(ERRAND_MAX)?;
        self.command("force-leave", |w| {
            w.map(2);
            w.key("Node");
            w.str(node);
            w.key("Prune");
            w.bool(prune);
        })
    }

    /// Sends a user event.
    ///
    /// # Errors
    /// [`ClientError::Refused`] where it is too long.
    pub fn event(&mut self, name: &str, payload: &[u8], coalesce: bool) -> Result<(), ClientError> {
        self.command("event", |w| {
            w.map(3);
            w.key("Coalesce");
            w.bool(coalesce);
            w.key("Name");
            w.str(name);
            w.key("Payload");
            w.bin_or_nil(payload);
        })
    }

    /// Changes the member's own tags.
    ///
    /// # Errors
    /// [`ClientError::Refused`] where they do not fit.
    pub fn change_tags(&mut self, set: &Tags, delete: &[String]) -> Result<(), ClientError> {
        self.command("tags", |w| {
            w.map(2);
            w.key("DeleteTags");
            texts(w, delete);
            w.key("Tags");
            pairs(w, set);
        })
    }

    /// Looks at or changes the keys of all members. The report comes with the reason for which it is no success.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn keys(
        &mut self,
        change: KeyChange<'_>,
    ) -> Result<(KeyReport, Option<String>), ClientError> {
        self.patience(ERRAND_MAX)?;
        let (command, key) = match change {
            KeyChange::Install(key) => ("install-key", Some(key)),
            KeyChange::Use(key) => ("use-key", Some(key)),
            KeyChange::Remove(key) => ("remove-key", Some(key)),
            KeyChange::List => ("list-keys", None),
        };
        let seq = self.ask(command, |w| {
            if let Some(key) = key {
                w.map(1);
                w.key("Key");
                w.str(key);
            }
        })?;
        let header = self.header_of(seq)?;
        header.allowed()?;
        let report = self.object(decode::keys)?;
        Ok((report, Some(header.error).filter(|error| !error.is_empty())))
    }

    /// What the member tells of itself, in sections.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn stats(&mut self) -> Result<BTreeMap<String, BTreeMap<String, String>>, ClientError> {
        self.bare("stats")?;
        self.object(decode::sections)
    }

    /// Where `node` is in the network, if the member knows.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn coordinate(&mut self, node: &str) -> Result<Option<Coordinate>, ClientError> {
        self.text("get-coordinate", "Node", node)?;
        self.object(decode::coordinate)
    }

    /// A command whose answer is a header alone, or is followed by a body of [`Self::object`].
    fn command(
        &mut self,
        command: &str,
        body: impl FnOnce(&mut Writer),
    ) -> Result<(), ClientError> {
        let seq = self.ask(command, body)?;
        self.header_of(seq)?.ok()
    }

    fn bare(&mut self, command: &str) -> Result<(), ClientError> {
        self.command(command, |_| {})
    }

    fn text(&mut self, command: &str, field: &str, text: &str) -> Result<(), ClientError> {
        self.command(command, |w| {
            w.map(1);
            w.key(field);
            w.str(text);
        })
    }

    /// Sends; the request's number.
    fn ask(&mut self, command: &str, body: impl FnOnce(&mut Writer)) -> Result<u64, ClientError> {
        self.seq += 1;
        let mut w = Writer::default();
        w.map(2);
        w.key("Command");
        w.str(command);
        w.key("Seq");
        w.uint(self.seq);
        body(&mut w);
        let sent = self.stream.write_all(&w.finish());
        sent.map_err(|source| self.lost(source))?;
        Ok(self.seq)
    }

    /// The next header, which must be of `seq`.
    fn header_of(&mut self, seq: u64) -> Result<Header, ClientError> {
        let header = self.object(decode_header)?;
        if header.seq == seq {
            return Ok(header);
        }
        Err(ClientError::Foreign {
            address: self.address.clone(),
            source: WireError::Field("Seq"),
        })
    }

    /// The next object, read from the stream as far as it is needed.
    fn object<T>(
        &mut self,
        decode: fn(&mut Reader<'_>) -> Result<T, WireError>,
    ) -> Result<T, ClientError> {
        loop {
            let mut r = Reader::new(&self.input);
            match decode(&mut r) {
                Ok(object) => {
                    let taken = r.position();
                    self.input.drain(..taken);
                    return Ok(object);
                }
                Err(WireError::Truncated) if self.input.len() < OBJECT_BYTES_MAX => {
                    let wanted = r.wanted();
                    self.read(wanted)?;
                }
                Err(source) => {
                    return Err(ClientError::Foreign {
                        address: self.address.clone(),
                        source,
                    });
                }
            }
        }
    }

    /// Until there are `wanted` bytes.
    fn read(&mut self, wanted: usize) -> Result<(), ClientError> {
        let mut piece = [0; 16 << 10];
        while self.input.len() < wanted {
            let read = match self.stream.read(&mut piece) {
                Ok(0) => Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "it closed the connection",
                )),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    Err(io::Error::new(io::ErrorKind::TimedOut, "it takes too long"))
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome,
            };
            match read {
                Ok(bytes) => self.input.extend(&piece[..bytes]),
                Err(source) => return Err(self.lost(source)),
            }
        }
        Ok(())
    }

    fn patience(&mut self, wait: Duration) -> Result<(), ClientError> {
        let set = self.stream.set_read_timeout(Some(wait));
        set.map_err(|source| self.lost(source))
    }

    fn forever(&mut self) -> Result<(), ClientError> {
        let set = self.stream.set_read_timeout(None);
        set.map_err(|source| self.lost(source))
    }

    fn lost(&self, source: io::Error) -> ClientError {
        ClientError::Lost {
            address: self.address.clone(),
            source,
        }
    }
}

impl Header {
    fn ok(self) -> Result<(), ClientError> {
        match self.error.as_str() {
            "" => Ok(()),
            _ => Err(ClientError::Refused(self.error)),
        }
    }

    /// No body follows these, whatever the command.
    fn allowed(&self) -> Result<(), ClientError> {
        match self.error.as_str() {
            "Authentication required" | "Handshake required" | "Unsupported command" => {
                Err(ClientError::Refused(self.error.clone()))
            }
            _ => Ok(()),
        }
    }
}

fn decode_header(r: &mut Reader<'_>) -> Result<Header, WireError> {
    let mut header = Header::default();
    r.fields(&["Seq", "Error"], |r, name| {
        match name {
            "Seq" => header.seq = r.uint()?,
            "Error" => header.error = r.string("Error")?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(header)
}

/// The first of a name's addresses that answers.
fn dial(address: &str) -> io::Result<TcpStream> {
    let mut last = None;
    for address in address.to_socket_addrs()? {
        match connect(address) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, CONNECT_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn texts(w: &mut Writer, texts: &[String]) {
    if texts.is_empty() {
        return w.nil();
    }
    w.array(texts.len());
    for text in texts {
        w.str(text);
    }
}

fn pairs(w: &mut Writer, pairs: &BTreeMap<String, String>) {
    w.map(pairs.len());
    for (name, value) in pairs {
        w.str(name);
        w.str(value);
    }
}
