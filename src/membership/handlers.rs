//! From what gossip tells to what event handlers are told, and their answers back.
//!
//! ```text
//! Handle::coalesced ─▶ Notice ─▶ wanted? ─▶ Occasion ─▶ Handlers
//! Handle::respond ◀── output of a script for a query ◀──┘
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tracing::warn;

use crate::gossip::core::io::Event;
use crate::gossip::core::serf::coalesce::{Change, Notice};
use crate::gossip::driver::Handle;
use crate::handlers::{Answer, Handlers, Kind, Occasion, Settings, Who};
use crate::task;

/// Handlers that are told of what happens, until this is dropped.
#[derive(Debug)]
pub struct Attendance(JoinHandle<()>);

impl Drop for Attendance {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// From now on `handlers` are told; nobody listens where `settings` name none.
pub fn attend(gossip: &Handle, handlers: &Handlers, settings: &Settings) -> Option<Attendance> {
    if settings.specs.is_empty() {
        return None;
    }
    let notices = gossip.coalesced();
    let telling = tell(notices, gossip.clone(), handlers.clone());
    Some(Attendance(task::spawn(telling)))
}

/// Once gossip has ended: returns when handlers have been told of all that happened and their scripts have ended,
/// or after a while. What runs then is killed with the program.
pub async fn last_scripts(attendance: Option<Attendance>, handlers: &Handlers) {
    let over = async {
        if let Some(mut attendance) = attendance {
            let _ = (&mut attendance.0).await;
        }
        handlers.idle().await;
    };
    let _ = tokio::time::timeout(LAST_SCRIPTS_MAX, over).await;
}

/// How long the end of a program waits for event handlers.
const LAST_SCRIPTS_MAX: Duration = Duration::from_secs(5);

/// Whom scripts run for: our name and tags as they are now.
pub fn who(gossip: &Handle) -> Who {
    let name = gossip.name();
    let members = Arc::clone(&gossip.members().borrow());
    let own = members.by_name.get(&name);
    Who {
        tags: own.map(|own| own.tags.decode()).unwrap_or_default(),
        name: name.to_string(),
    }
}

async fn tell(mut notices: broadcast::Receiver<Arc<Notice>>, gossip: Handle, handlers: Handlers) {
    loop {
        match notices.recv().await {
            Ok(notice) => {
                if let Some(occasion) = occasion(&notice, &gossip, &handlers) {
                    handlers.deliver(occasion);
                }
            }
            Err(RecvError::Lagged(missed)) => {
                warn!(missed, "more happened than event handlers could be told")
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// What happened, if any handler wants to know.
fn occasion(notice: &Notice, gossip: &Handle, handlers: &Handlers) -> Option<Occasion> {
    match notice {
        Notice::Members { change, members } => {
            let kind = kind(*change);
            let members = members.iter().map(|member| &**member);
            handlers
                .want(kind, "")
                .then(|| Occasion::members(kind, members))
        }
        Notice::Event(event) => match &**event {
            Event::User {
                ltime,
                name,
                payload,
                ..
            } => handlers
                .want(Kind::User, name)
                .then(|| Occasion::user(name, *ltime, payload)),
            Event::Query {
                id,
                ltime,
                name,
                payload,
                ..
            } => handlers.want(Kind::Query, name).then(|| {
                let (gossip, name, id) = (gossip.clone(), name.clone(), *id);
                let query = name.clone();
                let answer: Answer = Arc::new(move |payload| {
                    let (gossip, name) = (gossip.clone(), name.clone());
                    task::spawn(async move {
                        if let Err(refused) = gossip.respond(id, payload).await {
                            warn!("the query {name:?} is not answered: {refused}");
                        }
                    });
                });
                Occasion::query(&query, *ltime, payload, answer)
            }),
            _ => None,
        },
    }
}

fn kind(change: Change) -> Kind {
    match change {
        Change::Joined => Kind::MemberJoin,
        Change::Left => Kind::MemberLeave,
        Change::Failed => Kind::MemberFailed,
        Change::Updated => Kind::MemberUpdate,
        Change::Reaped => Kind::MemberReap,
    }
}
