//! Answers that go on: to a query until it is done, of a monitor until the member ends.

use super::{Client, ClientError, ERRAND_MAX, Notice, decode, decode_header, pairs, texts};
use crate::gossip::core::io::{Answer, Question};

/// What a stream or a monitor tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// An event.
    Event(Notice),
    /// A line of the log.
    Log(String),
    /// Something was missed; the member says what.
    Missed(String),
}

impl Client {
    /// Asks a query, and calls `each` with every answer but the last, which says that it is done.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn query(
        &mut self,
        question: &Question,
        mut started: impl FnMut(),
        mut each: impl FnMut(Answer),
    ) -> Result<(), ClientError> {
        let wait = question.timeout.unwrap_or_default();
        self.patience(ERRAND_MAX + wait)?;
        let seq = self.ask("query", |w| {
            w.map(7);
            w.key("FilterNodes");
            texts(w, &question.nodes);
            w.key("FilterTags");
            pairs(w, &question.tags);
            w.key("Name");
            w.str(&question.name);
            w.key("Payload");
            w.bin_or_nil(&question.payload);
            w.key("RelayFactor");
            w.uint(question.relay_factor.into());
            w.key("RequestAck");
            w.bool(question.wants_ack);
            w.key("Timeout");
            w.uint(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX >> 1));
        })?;
        self.header_of(seq)?.ok()?;
        started();
        loop {
            self.header_of(seq)?.ok()?;
            match self.object(decode::answer)? {
                Answer::Done => return Ok(()),
                answer => each(answer),
            }
        }
    }

    /// Streams all events and the log up to `level` to `each`, for ever.
    ///
    /// # Errors
    /// [`ClientError::Lost`] when the member ends.
    pub fn monitor(
        &mut self,
        level: &str,
        mut each: impl FnMut(Record),
    ) -> Result<(), ClientError> {
        let events = self.ask("stream", |w| {
            w.map(1);
            w.key("Type");
            w.str("*");
        })?;
        self.header_of(events)?.ok()?;
        let lines = self.ask("monitor", |w| {
            w.map(1);
            w.key("LogLevel");
            w.str(level);
        })?;
        self.forever()?;
        let mut started = false;
        loop {
            let header = self.object(decode_header)?;
            if header.seq == lines && !started {
                // Only now it is known whether there will be lines; events may have come before.
                header.ok()?;
                started = true;
            } else if header.seq == lines {
                each(Record::Log(self.object(decode::line)?));
            } else {
                let notice = self.object(decode::notice)?;
                each(match header.error.as_str() {
                    "" => Record::Event(notice),
                    _ => Record::Missed(header.error),
                });
            }
        }
    }
}
