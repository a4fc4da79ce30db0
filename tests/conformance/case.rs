//! One case: what is sent from both ends, and what must come of it.
//!
//! ```text
//! Case::client(rule, section, version, fact)  .send(…)  .answer(…)  .refused(&[400])
//!      ::backend                               steps      plays      checks
//! ```

use std::fmt;
use std::time::Duration;

use crate::answers;
use crate::backend::{Act, Play, When};
use crate::client::Step;
use crate::frames;
use crate::outcome::{Ended, Outcome, show};
use crate::subject::Profile;
use crate::two;
use crate::wire::Message;

/// Whose message a case varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// What a client sends.
    Client,
    /// What a backend sends.
    Backend,
}

/// The version of the varied message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// HTTP/1.0.
    V10,
    /// HTTP/1.1.
    V11,
    /// HTTP/2.
    V20,
}

/// What is spoken on one side of the subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.
    One,
    /// HTTP/2.
    Two,
}

/// What a rule is held to.
pub(crate) const CELLS: [(Side, Version); 6] = [
    (Side::Client, Version::V10),
    (Side::Client, Version::V11),
    (Side::Client, Version::V20),
    (Side::Backend, Version::V10),
    (Side::Backend, Version::V11),
    (Side::Backend, Version::V20),
];

/// Both of HTTP/1, for cases that are the same in both.
pub(crate) const BOTH: [Version; 2] = [Version::V10, Version::V11];

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::V10 => "HTTP/1.0",
            Self::V11 => "HTTP/1.1",
            Self::V20 => "HTTP/2",
        })
    }
}

type Check = Box<dyn Fn(&Outcome) -> Result<(), String> + Send + Sync>;

/// One line of the table.
pub(crate) struct Case {
    /// As in `rules`.
    pub(crate) rule: &'static str,
    /// Where it is written.
    pub(crate) section: &'static str,
    pub(crate) side: Side,
    pub(crate) version: Version,
    /// The fact.
    pub(crate) name: String,
    /// How the subject is configured.
    pub(crate) profile: Profile,
    pub(crate) steps: Vec<Step>,
    pub(crate) plays: Vec<Play>,
    /// What a backend says to a preface of HTTP/2; its settings, with nothing in them, where nothing is said.
    pub(crate) greeting: Vec<u8>,
    /// Methods of the requests that responses are awaited for.
    pub(crate) methods: Vec<&'static str>,
    /// The end of the connection is awaited.
    pub(crate) end: bool,
    /// One more request on the same connection.
    pub(crate) probe: bool,
    /// What two connections bring may come in the other order, and the verdict then says nothing.
    pub(crate) races: bool,
    checks: Vec<Check>,
}

impl Case {
    fn new(rule: &'static str, section: &'static str, version: Version, side: Side) -> Self {
        Self {
            rule,
            section,
            side,
            version,
            name: String::new(),
            profile: Profile::Plain,
            steps: Vec::new(),
            plays: Vec::new(),
            greeting: frames::settings(&[]),
            methods: vec!["GET"],
            end: false,
            probe: false,
            races: false,
            checks: Vec::new(),
        }
    }

    /// A client does this.
    pub(crate) fn client(
        rule: &'static str,
        section: &'static str,
        version: Version,
        name: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            ..Self::new(rule, section, version, Side::Client)
        }
    }

    /// A backend does this; the client sends a plain GET unless the case says otherwise.
    pub(crate) fn backend(
        rule: &'static str,
        section: &'static str,
        version: Version,
        name: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            ..Self::new(rule, section, version, Side::Backend)
        }
    }

    /// Rule, cell and fact.
    pub(crate) fn title(&self) -> String {
        let Self {
            rule,
            section,
            side,
            version,
            name,
            ..
        } = self;
        format!("{rule} · {side:?} {version} · {name} ({section})")
    }

    /// What is spoken on this side; on the other one it is HTTP/1.
    pub(crate) fn protocol(&self, side: Side) -> Protocol {
        match self.side == side && self.version == Version::V20 {
            true => Protocol::Two,
            false => Protocol::One,
        }
    }

    /// What the client sends first where nothing is said.
    pub(crate) fn steps(&self) -> Vec<Step> {
        match self.steps.is_empty() {
            true if self.protocol(Side::Client) == Protocol::Two => vec![Step::Send(two::get("/"))],
            true => vec![Step::Send(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n".to_vec())],
            false => self.steps.clone(),
        }
    }

    /// What the backend does where nothing is said: it reads everything and says "ok".
    pub(crate) fn plays(&self) -> Vec<Play> {
        match self.plays.is_empty() {
            true if self.protocol(Side::Backend) == Protocol::Two => {
                vec![answer(answers::text("ok"))]
            }
            true => vec![answer(OK)],
            false => self.plays.clone(),
        }
    }

    /// Every reason why the outcome is wrong.
    pub(crate) fn judge(&self, outcome: &Outcome) -> Result<(), String> {
        let mut wrong: Vec<String> = outcome.stuck.iter().cloned().collect();
        if let Some(why) = &outcome.unframed {
            wrong.push(format!("the backend received something unframed: {why}"));
        }
        if let Some(why) = &outcome.garbage {
            wrong.push(format!("the client read {why}"));
        }
        if outcome.responses.len() > self.methods.len() {
            wrong.push("the client read a response that it did not ask for".to_owned());
        }
        let failed = self.checks.iter().filter_map(|check| check(outcome).err());
        wrong.extend(failed);
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(wrong.join("; ")),
        }
    }
}

/// What is sent.
impl Case {
    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    pub(crate) fn send(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.step(Step::Send(bytes.into()))
    }

    pub(crate) fn await_backend(self, needle: &'static str) -> Self {
        self.step(Step::AwaitBackend(needle))
    }

    pub(crate) fn await_client(self, needle: &'static str) -> Self {
        self.step(Step::AwaitClient(needle))
    }

    pub(crate) fn await_plays(self, count: usize) -> Self {
        self.step(Step::AwaitPlays(count))
    }

    pub(crate) fn pause(self, time: Duration) -> Self {
        self.step(Step::Pause(time))
    }

    pub(crate) fn half_close(self) -> Self {
        self.step(Step::HalfClose)
    }

    pub(crate) fn reset(self) -> Self {
        self.step(Step::Reset)
    }

    pub(crate) fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// The outcome hangs on an order of two connections that the kernel does not warrant.
    pub(crate) fn races(mut self) -> Self {
        self.races = true;
        self
    }

    pub(crate) fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Methods of the requests, for the responses to come.
    pub(crate) fn methods(mut self, methods: &[&'static str]) -> Self {
        self.methods = methods.to_vec();
        self
    }

    /// The backend reads a whole request and sends this.
    pub(crate) fn answer(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.play(answer(bytes))
    }

    /// The same in HTTP/2, and the subject has read all of it before the play counts as done.
    pub(crate) fn answer_read(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.acts(When::Whole, [Act::Send(bytes.into()), Act::AwaitPing])
    }

    /// The same, and closes.
    pub(crate) fn answer_close(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.play(Play {
            when: When::Whole,
            acts: vec![Act::Send(bytes.into()), Act::Close],
        })
    }

    pub(crate) fn greeting(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.greeting = bytes.into();
        self
    }

    pub(crate) fn play(mut self, play: Play) -> Self {
        self.plays.push(play);
        self
    }

    pub(crate) fn acts(self, when: When, acts: impl Into<Vec<Act>>) -> Self {
        self.play(Play {
            when,
            acts: acts.into(),
        })
    }
}

/// What must come of it.
impl Case {
    /// Holds the outcome to a fact; `what` says it.
    pub(crate) fn holds(
        self,
        what: &'static str,
        fact: impl Fn(&Outcome) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.check(move |outcome| match fact(outcome) {
            true => Ok(()),
            false => Err(format!(
                "not so: {what}; the client read {:?}, the backend {:?}",
                show(&outcome.read),
                show(&outcome.received())
            )),
        })
    }

    pub(crate) fn check(
        mut self,
        check: impl Fn(&Outcome) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.checks.push(Box::new(check));
        self
    }

    /// The first response has one of these.
    pub(crate) fn status(self, statuses: &'static [u16]) -> Self {
        self.check(move |outcome| {
            let response = outcome.response()?;
            match statuses.contains(&response.status()) {
                true => Ok(()),
                false => Err(format!("{:?}, not one of {statuses:?}", response.start)),
            }
        })
    }

    /// The connection ends.
    pub(crate) fn closed(mut self) -> Self {
        self.end = true;
        self
    }

    /// The connection ends, and not by a reset.
    pub(crate) fn closed_in_order(self) -> Self {
        self.closed().check(|outcome| match outcome.ended {
            Ended::InOrder => Ok(()),
            other => Err(format!("the connection ended: {other:?}")),
        })
    }

    /// The connection takes one more request.
    pub(crate) fn open(mut self) -> Self {
        self.probe = true;
        self.check(|outcome| match outcome.probe {
            Some(true) => Ok(()),
            _ => Err("the connection takes no further request".to_owned()),
        })
    }

    /// Answered with one of these, closed, and no byte of it reached the backend.
    pub(crate) fn refused(self, statuses: &'static [u16]) -> Self {
        self.status(statuses).closed().unseen()
    }

    /// Answered with one of these, and no byte of it reached the backend. It is well framed, so its connection may go on.
    pub(crate) fn rejected(self, statuses: &'static [u16]) -> Self {
        self.status(statuses).unseen()
    }

    /// The backend received nothing.
    pub(crate) fn unseen(self) -> Self {
        self.check(|outcome| match outcome.received() {
            received if received.is_empty() => Ok(()),
            received => Err(format!("the backend received {:?}", show(&received))),
        })
    }

    /// No message of HTTP/2: a reset stream, an end of the connection or a 4xx, and no byte of it reached the backend.
    pub(crate) fn malformed(self) -> Self {
        self.unseen().check(|outcome| {
            let answers = outcome.responses.iter();
            let mut wrong = answers.filter(|answer| !matches!(answer.status(), 0 | 400..500));
            match wrong.next() {
                None => Ok(()),
                Some(answer) => Err(format!("answered: {}", answer.start)),
            }
        })
    }

    /// Answered with one of these, closed, and the backend never saw the request end.
    pub(crate) fn never_whole(self, statuses: &'static [u16]) -> Self {
        self.status(statuses).closed().requests(0)
    }

    /// The backend received so many whole requests.
    pub(crate) fn requests(self, count: usize) -> Self {
        self.check(move |outcome| match outcome.requests.len() {
            seen if seen == count => Ok(()),
            seen => Err(format!(
                "the backend received {seen} whole requests, not {count}: {:?}",
                show(&outcome.received())
            )),
        })
    }

    /// A whole response with this body.
    pub(crate) fn delivers(self, body: &'static str) -> Self {
        self.check(move |outcome| {
            let response = outcome.response()?;
            match response.complete && response.status() < 400 && response.text() == body {
                true => Ok(()),
                false => Err(format!("the client read {:?}", show(&outcome.read))),
            }
        })
    }

    /// A 502, or a body that is seen as cut: never a whole one.
    pub(crate) fn broken(self) -> Self {
        self.check(|outcome| {
            let cut = outcome.responses.is_empty() && outcome.ended != Ended::Open;
            match outcome.responses.first() {
                Some(response) if response.complete && response.status() != 502 => {
                    Err(format!("seen as whole: {:?}", show(&outcome.read)))
                }
                Some(_) => Ok(()),
                None if cut => Ok(()),
                None => Err("no response".to_owned()),
            }
        })
    }

    /// Holds the first request that the backend received to a fact.
    pub(crate) fn request(
        self,
        what: &'static str,
        fact: impl Fn(&Message) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.check(move |outcome| {
            let request = outcome.request()?;
            match fact(request) {
                true => Ok(()),
                false => Err(format!("not so: {what}; {:?}", brief(request))),
            }
        })
    }

    /// Holds the first response that the client received to a fact.
    pub(crate) fn response(
        self,
        what: &'static str,
        fact: impl Fn(&Message) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.check(move |outcome| {
            let response = outcome.response()?;
            match fact(response) {
                true => Ok(()),
                false => Err(format!("not so: {what}; {:?}", brief(response))),
            }
        })
    }
}

fn brief(message: &Message) -> String {
    let fields = message.fields.iter();
    let fields: Vec<String> = fields
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    format!(
        "{} | {} | {}",
        message.start,
        fields.join(" | "),
        show(&message.body)
    )
}

/// The answer of a backend that is asked nothing special.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Reads a whole request and sends this.
pub(crate) fn answer(bytes: impl Into<Vec<u8>>) -> Play {
    Play {
        when: When::Whole,
        acts: vec![Act::Send(bytes.into())],
    }
}

/// A name for odd bytes.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", show(text.as_bytes()))
}
