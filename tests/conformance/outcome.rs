//! What came of a case: what the client read, how its connection ended, what the backend received.

use std::time::Duration;

use crate::wire::Message;

/// How the client's connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It did not, as far as the case waited.
    Open,
    /// By a plain end.
    InOrder,
    /// By a reset.
    Reset,
}

/// Everything a check may ask.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// 1xx responses.
    pub(crate) interim: Vec<Message>,
    /// Final responses.
    pub(crate) responses: Vec<Message>,
    /// Why what the client read is no HTTP.
    pub(crate) garbage: Option<String>,
    /// Everything the client read.
    pub(crate) read: Vec<u8>,
    /// How its connection ended.
    pub(crate) ended: Ended,
    /// Whether one more request on this connection was answered.
    pub(crate) probe: Option<bool>,
    /// From the client's last step to the end of its reading.
    pub(crate) took: Duration,
    /// A wait that was in vain.
    pub(crate) stuck: Option<String>,
    /// What the backend received, per connection.
    pub(crate) connections: Vec<Vec<u8>>,
    /// Whole requests that it received, each with the number of its connection.
    pub(crate) requests: Vec<(usize, Message)>,
    /// Why something that it received is no HTTP.
    pub(crate) unframed: Option<String>,
}

impl Outcome {
    /// The first final response.
    pub(crate) fn response(&self) -> Result<&Message, String> {
        let first = self.responses.first();
        first.ok_or_else(|| match &self.garbage {
            Some(why) => format!("no response: {why}"),
            None => format!("no response, {:?}", self.ended),
        })
    }

    /// The first whole request that the backend received.
    pub(crate) fn request(&self) -> Result<&Message, String> {
        let first = self.requests.first();
        first.map(|(_, request)| request).ok_or_else(|| {
            let raw: Vec<_> = self.connections.iter().map(|c| show(c)).collect();
            let answer = self.responses.first().map(|answer| answer.start.clone());
            format!("the backend received {raw:?}; the client {answer:?}")
        })
    }

    /// All that the backend received.
    pub(crate) fn received(&self) -> Vec<u8> {
        self.connections.concat()
    }
}

/// Bytes for a person, cut where long.
pub(crate) fn show(bytes: &[u8]) -> String {
    let text: String = bytes
        .iter()
        .take(300)
        .flat_map(|byte| std::ascii::escape_default(*byte))
        .map(char::from)
        .collect();
    match bytes.len() > 300 {
        true => format!("{text}… ({} bytes)", bytes.len()),
        false => text,
    }
}
