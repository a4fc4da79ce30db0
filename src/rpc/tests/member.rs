//! A member made of values: it answers as told, and keeps what it was asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc};

use crate::announce::Tags;
use crate::clock;
use crate::gossip::core::io::{Answer, Event, NoAnswer, QueryId, Question, Refused, Stats};
use crate::gossip::core::member::{Member, Members, Status};
use crate::gossip::core::serf::coalesce::Notice;
use crate::gossip::core::serf::coordinate::Coordinate;
use crate::gossip::core::serf::keys::{KeyReport, KeyRequest};
use crate::gossip::core::serf::tags::Encoded;
use crate::rpc::membership::{Joined, Membership, NotSet};
use crate::rpc::session::Limits;
use crate::rpc::{Secret, Server, Settings};
use crate::shutdown;

/// What the member says, and what it was asked.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) members: Arc<Members>,
    pub(super) tags: Tags,
    pub(super) stats: Stats,
    pub(super) coordinates: BTreeMap<String, Coordinate>,
    pub(super) joined: Joined,
    pub(super) answers: Vec<Answer>,
    pub(super) keys: Result<KeyReport, Refused>,
    pub(super) responded: Vec<(QueryId, Vec<u8>)>,
    pub(super) events: Vec<(String, Vec<u8>, bool)>,
    pub(super) left: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Actor {
    pub(super) script: Arc<Mutex<Script>>,
    pub(super) notices: broadcast::Sender<Arc<Notice>>,
}

pub(super) fn member(name: &str, ip: [u8; 4], tags: &[(&str, &str)]) -> Arc<Member> {
    let tags: Tags = tags
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Arc::new(Member {
        name: name.into(),
        address: SocketAddr::from((ip, 7946)),
        tags: Encoded::of(&tags),
        status: Status::Alive,
        suspect: false,
        incarnation: 1,
        joined: 1,
        since: clock::now(),
        versions: [1, 5, 2, 2, 5, 5],
    })
}

impl Actor {
    pub(super) fn new(members: Vec<Arc<Member>>) -> Self {
        let script = Script {
            members: Arc::new(Members {
                generation: 1,
                by_name: members.into_iter().collect(),
            }),
            tags: Tags::new(),
            stats: Stats::default(),
            coordinates: BTreeMap::new(),
            joined: Joined::default(),
            answers: Vec::new(),
            keys: Ok(KeyReport::default()),
            responded: Vec::new(),
            events: Vec::new(),
            left: false,
        };
        Self {
            script: Arc::new(Mutex::new(script)),
            notices: broadcast::channel(64).0,
        }
    }

    pub(super) fn with<T>(&self, read: impl FnOnce(&mut Script) -> T) -> T {
        read(&mut self.script.lock().expect("no panic"))
    }

    pub(super) fn tell(&self, notice: Notice) {
        self.notices
            .send(Arc::new(notice))
            .expect("somebody listens");
    }

    /// A server for it, and its address. It ends with the trigger.
    pub(super) async fn serve(
        &self,
        auth: Option<&str>,
        limits: Limits,
    ) -> (SocketAddr, Server, shutdown::Trigger) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let settings = Settings {
            listen: Some(address),
            given: true,
            auth: auth.map(Secret::new),
        };
        let (trigger, shutdown) = shutdown::channel();
        let server = Server::start_within(limits, listener, &settings, self.clone(), shutdown);
        (address, server, trigger)
    }
}

/// A query that can be answered for a minute.
pub(super) fn query(ltime: u64, name: &str, payload: &[u8]) -> Notice {
    Notice::Event(Arc::new(Event::Query {
        id: QueryId { ltime, id: 7 },
        ltime,
        name: name.to_owned(),
        payload: payload.to_vec(),
        from: "a2".to_owned(),
        deadline: clock::now() + Duration::from_secs(60),
    }))
}

pub(super) fn user(ltime: u64, name: &str, payload: &[u8]) -> Notice {
    Notice::Event(Arc::new(Event::User {
        ltime,
        name: name.to_owned(),
        payload: payload.to_vec(),
        coalesce: false,
    }))
}

impl Membership for Actor {
    fn name(&self) -> Arc<str> {
        "a1".into()
    }

    fn members(&self) -> Arc<Members> {
        self.with(|script| Arc::clone(&script.members))
    }

    fn notices(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.notices.subscribe()
    }

    fn event_handlers(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    async fn join(&self, _: Vec<String>, _: bool) -> Joined {
        self.with(|script| script.joined.clone())
    }

    async fn leave(&self) {
        self.with(|script| script.left = true);
    }

    async fn force_leave(&self, name: String, _: bool) -> Result<(), Refused> {
        Err(Refused::UnknownMember { name })
    }

    async fn change_tags(&self, set: Tags, delete: Vec<String>) -> Result<(), NotSet> {
        let bytes: usize = set
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if bytes > 512 {
            return Err(Refused::TagsTooLong { bytes }.into());
        }
        self.with(|script| {
            script.tags.retain(|name, _| !delete.contains(name));
            script.tags.extend(set);
        });
        Ok(())
    }

    async fn user_event(
        &self,
        name: String,
        payload: Vec<u8>,
        coalesce: bool,
    ) -> Result<(), Refused> {
        let bytes = name.len() + payload.len();
        if bytes > 512 {
            return Err(Refused::EventTooLong {
                bytes,
                max: 512,
                encoded: false,
            });
        }
        self.with(|script| script.events.push((name, payload, coalesce)));
        Ok(())
    }

    async fn query(&self, question: Question) -> Result<mpsc::Receiver<Answer>, Refused> {
        if question.name.starts_with("_serf_") && question.name != "_serf_ping" {
            return Err(Refused::InternalQuery);
        }
        if question.payload.len() > 1000 {
            return Err(Refused::QueryTooLong {
                bytes: question.payload.len(),
                max: 1024,
            });
        }
        let answers = self.with(|script| script.answers.clone());
        let (sender, receiver) = mpsc::channel(answers.len().max(1));
        for answer in answers {
            sender.try_send(answer).expect("room");
        }
        Ok(receiver)
    }

    async fn respond(&self, query: QueryId, payload: Vec<u8>) -> Result<(), Refused> {
        self.with(|script| {
            if script.responded.iter().any(|(known, _)| *known == query) {
                return Err(Refused::NoAnswer(NoAnswer::Sent));
            }
            script.responded.push((query, payload));
            Ok(())
        })
    }

    async fn keys(&self, _: KeyRequest) -> Result<KeyReport, Refused> {
        self.with(|script| script.keys.clone())
    }

    async fn coordinate(&self, node: String) -> Option<Coordinate> {
        self.with(|script| script.coordinates.get(&node).cloned())
    }

    async fn stats(&self) -> Stats {
        self.with(|script| script.stats.clone())
    }
}
