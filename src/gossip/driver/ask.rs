//! Events and queries of this program's own, key operations, coordinates: the handle's side and the owner's.
//!
//! ```text
//! Handle::query ─▶ Node::query ─▶ poll_answer ─▶ the asker's channel … Done
//! Handle::keys  ─▶ Node::keys  ─▶ the same, added up by KeyTally in the caller's task
//! ```

use std::collections::BTreeMap;

use tokio::sync::{mpsc, oneshot};

use super::{Command, Handle};
use crate::clock;
use crate::gossip::core::io::{Answer, QueryId, Question, Refused};
use crate::gossip::core::member::Status;
use crate::gossip::core::node::Node;
use crate::gossip::core::serf::coordinate::Coordinate;
use crate::gossip::core::serf::keys::{KeyReport, KeyRequest, KeyTally};

/// Answers that a slow asker may lag behind; more are dropped, as Serf does. The channel grows as it is filled.
const ANSWERS_MAX: usize = 4096;

/// What the owner is asked to do.
#[derive(Debug)]
pub(super) enum Ask {
    UserEvent {
        name: String,
        payload: Vec<u8>,
        coalesce: bool,
        reply: oneshot::Sender<Result<(), Refused>>,
    },
    Query {
        question: Question,
        reply: oneshot::Sender<Result<mpsc::Receiver<Answer>, Refused>>,
    },
    Respond {
        query: QueryId,
        payload: Vec<u8>,
        reply: oneshot::Sender<Result<(), Refused>>,
    },
    Keys {
        request: KeyRequest,
        reply: oneshot::Sender<Result<(usize, mpsc::Receiver<Answer>), Refused>>,
    },
    Coordinate {
        node: String,
        reply: oneshot::Sender<Option<Coordinate>>,
    },
}

impl Handle {
    /// A user event to everyone, ourselves included. With `coalesce` only the newest of those with this name is told
    /// to scripts and streams that would otherwise be told of several within seconds.
    ///
    /// # Errors
    /// [`Refused::EventTooLong`]; [`Refused::Leaving`] also once gossip has ended.
    pub async fn user_event(
        &self,
        name: &str,
        payload: Vec<u8>,
        coalesce: bool,
    ) -> Result<(), Refused> {
        let name = name.to_owned();
        self.put(|reply| Ask::UserEvent {
            name,
            payload,
            coalesce,
            reply,
        })
        .await
    }

    /// Asks everyone whom it is for, ourselves included. The receiver gets each ack and response as they come, then
    /// [`Answer::Done`] at the deadline, never earlier; it ends without
    /// that only when gossip does.
    ///
    /// # Errors
    /// [`Refused::QueryTooLong`], [`Refused::InternalQuery`], [`Refused::TooManyQueries`];
    /// [`Refused::Leaving`] also once gossip has ended.
    pub async fn query(&self, question: Question) -> Result<mpsc::Receiver<Answer>, Refused> {
        self.put(|reply| Ask::Query { question, reply }).await
    }

    /// Answers a query that came as [`Event::Query`](crate::gossip::core::io::Event::Query); once, until its deadline.
    ///
    /// # Errors
    /// [`Refused::ResponseTooLong`], [`Refused::NoAnswer`]; [`Refused::Leaving`] once gossip has ended.
    pub async fn respond(&self, query: QueryId, payload: Vec<u8>) -> Result<(), Refused> {
        self.put(|reply| Ask::Respond {
            query,
            payload,
            reply,
        })
        .await
    }

    /// Looks at or changes the keyrings of all members. Returns when all have answered, or at the query's deadline.
    ///
    /// # Errors
    /// [`Refused::TooManyQueries`]; [`Refused::Leaving`] also once gossip has ended. That a member refused is in the report.
    pub async fn keys(&self, request: KeyRequest) -> Result<KeyReport, Refused> {
        let (nodes, mut answers) = self.put(|reply| Ask::Keys { request, reply }).await?;
        let mut tally = KeyTally::new(nodes);
        while let Some(answer) = answers.recv().await {
            if tally.add(&answer) {
                break;
            }
        }
        Ok(tally.report())
    }

    /// Where `node` is in the network, if it is us, or a member that we have pinged.
    pub async fn coordinate(&self, node: &str) -> Option<Coordinate> {
        let node = node.to_owned();
        self.ask(|reply| Command::Ask(Ask::Coordinate { node, reply }))
            .await
            .flatten()
    }

    async fn put<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<Result<T, Refused>>) -> Ask,
    ) -> Result<T, Refused> {
        self.ask(|reply| Command::Ask(ask(reply)))
            .await
            .unwrap_or(Err(Refused::Leaving))
    }
}

/// Who waits for answers of one query.
#[derive(Debug)]
struct Asker {
    answers: mpsc::Sender<Answer>,
    /// The place that is kept for [`Answer::Done`].
    done: mpsc::OwnedPermit<Answer>,
}

/// Queries of ours that are open.
#[derive(Debug, Default)]
pub(super) struct Asking(BTreeMap<QueryId, Asker>);

impl Asking {
    /// Does it; a caller that went away needs no answer.
    pub(super) fn obey(&mut self, node: &mut Node, ask: Ask) {
        let now = clock::now();
        match ask {
            Ask::UserEvent {
                name,
                payload,
                coalesce,
                reply,
            } => {
                let sent = node.user_event(now, &name, payload, coalesce);
                let _ = reply.send(sent.map(|_| ()));
            }
            Ask::Query { question, reply } => {
                let asked = node.query(now, question);
                let _ = reply.send(asked.map(|id| self.open(id)));
            }
            Ask::Respond {
                query,
                payload,
                reply,
            } => {
                let _ = reply.send(node.respond(now, query, payload));
            }
            Ask::Keys { request, reply } => {
                let asked = node.keys(now, &request);
                let nodes = node.members().count(Status::Alive);
                let _ = reply.send(asked.map(|id| (nodes, self.open(id))));
            }
            Ask::Coordinate { node: name, reply } => {
                let _ = reply.send(node.coordinate(&name));
            }
        }
    }

    fn open(&mut self, id: QueryId) -> mpsc::Receiver<Answer> {
        let (answers, heard) = mpsc::channel(ANSWERS_MAX);
        if let Ok(done) = answers.clone().try_reserve_owned() {
            self.0.insert(id, Asker { answers, done });
        }
        heard
    }

    /// Passes on what came back.
    pub(super) fn deliver(&mut self, node: &mut Node) {
        while let Some((id, answer)) = node.poll_answer() {
            if answer == Answer::Done {
                if let Some(asker) = self.0.remove(&id) {
                    asker.done.send(Answer::Done);
                }
            } else if let Some(asker) = self.0.get(&id) {
                // Who reads no more, or too slowly, misses it.
                let _ = asker.answers.try_send(answer);
            }
        }
    }
}
