//! Requests that ask something of the member: done, and answered in Serf's words.
//!
//! ```text
//! Request ─▶ Membership ─▶ header with an error or "", and the body that the command has
//! ```
//!
//! The body is there also where the error is set: a client reads it in any case.

use std::net::{IpAddr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::mpsc;

use super::membership::{Joined, Membership, NotSet};
use super::reply;
use super::request::{KeyCommand, Request};
use super::stats;
use crate::gossip::core::io::{Answer, NoAnswer, QueryId, Refused};
use crate::gossip::core::keyring::{Key, KeyError};
use crate::gossip::core::serf::keys::{KeyReport, KeyRequest};

/// What a call came to.
#[derive(Debug)]
pub(super) struct Outcome {
    /// To be sent.
    pub(super) reply: Vec<u8>,
    /// Answers to a query of this client, to be passed on under the request's number.
    pub(super) answers: Option<mpsc::Receiver<Answer>>,
    /// We have left; whoever waits for that is told once the reply is out.
    pub(super) left: bool,
}

impl From<Vec<u8>> for Outcome {
    fn from(reply: Vec<u8>) -> Self {
        Self {
            reply,
            answers: None,
            left: false,
        }
    }
}

/// Serf's port, where an address has none.
const GOSSIP_PORT: u16 = 7946;

/// Answers `query` of another member.
pub(super) async fn respond<M: Membership>(
    membership: M,
    seq: u64,
    query: QueryId,
    payload: Vec<u8>,
) -> Outcome {
    done(seq, membership.respond(query, payload).await)
}

/// Does what `request` asks for; it must be one that is for the member.
pub(super) async fn call<M: Membership>(membership: M, seq: u64, request: Request) -> Outcome {
    match request {
        Request::Event {
            name,
            payload,
            coalesce,
        } => done(seq, membership.user_event(name, payload, coalesce).await),
        Request::ForceLeave { node, prune } => {
            // Serf's answer does not tell whether there was such a member.
            let outcome = match membership.force_leave(node, prune).await {
                Err(Refused::UnknownMember { .. }) => Ok(()),
                outcome => outcome,
            };
            done(seq, outcome)
        }
        Request::Join { existing, replay } => {
            let joined = membership.join(existing, replay).await;
            let mut w = reply::header(seq, &join_error(&joined));
            reply::joined(&mut w, joined.reached);
            w.finish().into()
        }
        Request::Tags { set, delete } => {
            let error = match membership.change_tags(set, delete).await {
                Ok(()) => String::new(),
                Err(NotSet::Refused(refused)) => words(&refused),
                Err(not_kept) => not_kept.to_string(),
            };
            reply::header(seq, &error).finish().into()
        }
        Request::Query(question) => match membership.query(question).await {
            Ok(answers) => Outcome {
                reply: reply::header(seq, "").finish(),
                answers: Some(answers),
                left: false,
            },
            Err(refused) => done(seq, Err(refused)),
        },
        Request::Key(command, text) => keys(membership, seq, Some(command), &text).await,
        Request::ListKeys => keys(membership, seq, None, "").await,
        Request::Stats => {
            let mut w = reply::header(seq, "");
            reply::sections(&mut w, &stats::sections(&membership).await);
            w.finish().into()
        }
        Request::GetCoordinate { node } => {
            let coordinate = membership.coordinate(node).await;
            let mut w = reply::header(seq, "");
            reply::coordinate(&mut w, coordinate.as_ref());
            w.finish().into()
        }
        Request::Leave => {
            membership.leave().await;
            Outcome {
                left: true,
                ..done(seq, Ok(()))
            }
        }
        // The session answers the others itself.
        _ => reply::header(seq, "").finish().into(),
    }
}

fn done(seq: u64, outcome: Result<(), Refused>) -> Outcome {
    let error = outcome.err().map(|refused| words(&refused));
    reply::header(seq, &error.unwrap_or_default())
        .finish()
        .into()
}

async fn keys<M: Membership>(
    membership: M,
    seq: u64,
    command: Option<KeyCommand>,
    text: &str,
) -> Outcome {
    let list = command.is_none();
    let (report, error) = match key_request(command, text) {
        Ok(request) => match membership.keys(request).await {
            Ok(report) => {
                let error = report_error(&report);
                (report, error)
            }
            Err(refused) => (KeyReport::default(), words(&refused)),
        },
        Err(why) => (KeyReport::default(), why),
    };
    let mut w = reply::header(seq, &error);
    reply::keys(&mut w, &report, list);
    w.finish().into()
}

fn key_request(command: Option<KeyCommand>, text: &str) -> Result<KeyRequest, String> {
    let Some(command) = command else {
        return Ok(KeyRequest::List);
    };
    let bytes = STANDARD
        .decode(text)
        .map_err(|_| format!("illegal base64 data at input byte {}", illegal_at(text)))?;
    let key = Key::new(&bytes).map_err(|error| match error {
        KeyError::Length { .. } => "key size must be 16, 24 or 32 bytes".to_owned(),
        error => error.to_string(),
    })?;
    Ok(match command {
        KeyCommand::Install => KeyRequest::Install(key),
        KeyCommand::Use => KeyRequest::Use(key),
        KeyCommand::Remove => KeyRequest::Remove(key),
    })
}

/// Where Go's decoder gives up: at the first letter that is none of base64's, else where it ends too early.
fn illegal_at(text: &str) -> usize {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"+/".contains(&byte);
    let data = text.trim_end_matches('=');
    match data.bytes().position(|byte| !fits(byte)) {
        Some(at) => at,
        None => data.len() / 4 * 4,
    }
}

/// Source: serf `keymanager.go`, `handleKeyRequest`.
fn report_error(report: &KeyReport) -> String {
    let KeyReport {
        nodes,
        errors,
        responses,
        ..
    } = report;
    if *errors > 0 {
        format!("{errors}/{nodes} nodes reported failure")
    } else if responses != nodes {
        format!("{responses}/{nodes} nodes reported success")
    } else {
        String::new()
    }
}

/// An error only where nobody was reached. Source: memberlist `Join`, and multierror's list.
fn join_error(joined: &Joined) -> String {
    if joined.reached > 0 || joined.failures.is_empty() {
        return String::new();
    }
    let each: Vec<String> = joined
        .failures
        .iter()
        .map(|(text, cause)| format!("\t* {}", join_failure(text, cause)))
        .collect();
    let count = match each.len() {
        1 => "1 error".to_owned(),
        more => format!("{more} errors"),
    };
    format!("{count} occurred:\n{}\n\n", each.join("\n"))
}

/// `text` is what the client wrote; the names of the system's causes are the same in Go.
fn join_failure(text: &str, cause: &str) -> String {
    let address = text.parse::<SocketAddr>().ok().or_else(|| {
        let ip = text.parse::<IpAddr>().ok()?;
        Some(SocketAddr::new(ip, GOSSIP_PORT))
    });
    match (address, cause) {
        (Some(address), "connection refused" | "no route to host" | "network unreachable") => {
            format!(
                "Failed to join {}: dial tcp {address}: connect: {}",
                address.ip(),
                cause.replace("network unreachable", "network is unreachable")
            )
        }
        (Some(address), _) => format!("Failed to join {}: {cause}", address.ip()),
        (None, _) => format!("Failed to join {text}: {cause}"),
    }
}

/// As Serf says it.
fn words(refused: &Refused) -> String {
    match refused {
        Refused::TagsTooLong { .. } => {
            "Encoded length of tags exceeds limit of 512 bytes".to_owned()
        }
        Refused::EventTooLong {
            max,
            encoded: false,
            ..
        } => format!("user event exceeds configured limit of {max} bytes before encoding"),
        Refused::EventTooLong {
            max, encoded: true, ..
        } => format!("encoded user event exceeds configured limit of {max} bytes after encoding"),
        Refused::QueryTooLong { max, .. } => format!("query exceeds limit of {max} bytes"),
        // Serf says so of every query.
        Refused::ResponseTooLong { max, .. } => {
            format!("failed to respond to key query: response exceeds limit of {max} bytes")
        }
        Refused::InternalQuery => "Queries cannot contain the '_serf_' prefix".to_owned(),
        Refused::NoAnswer(NoAnswer::Unknown) => NO_QUERY.to_owned(),
        Refused::NoAnswer(why) => format!("failed to respond to key query: {why}"),
        other => other.to_string(),
    }
}

/// There is no query of that number, or it is over.
pub(super) const NO_QUERY: &str = "No pending queries matching ID";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_that_reached_nobody_is_told_as_serf_tells_it() {
        let failed = |texts: &[(&str, &str)]| {
            join_error(&Joined {
                reached: 0,
                failures: texts
                    .iter()
                    .map(|(text, cause)| ((*text).to_owned(), (*cause).to_owned()))
                    .collect(),
            })
        };

        assert_eq!(
            failed(&[("127.0.0.99:7946", "connection refused")]),
            "1 error occurred:\n\t* Failed to join 127.0.0.99: dial tcp 127.0.0.99:7946: connect: connection refused\n\n"
        );
        assert_eq!(
            failed(&[
                ("10.0.0.1", "connection refused"),
                ("web.x", "no such name")
            ]),
            "2 errors occurred:\n\t* Failed to join 10.0.0.1: dial tcp 10.0.0.1:7946: connect: connection refused\n\t* Failed to join web.x: no such name\n\n"
        );
    }

    #[test]
    fn a_join_that_reached_one_of_two_is_a_success() {
        let joined = Joined {
            reached: 1,
            failures: vec![("x".to_owned(), "no".to_owned())],
        };

        assert_eq!(join_error(&joined), "");
    }

    #[test]
    fn a_bad_key_is_refused_before_anybody_is_asked() {
        let why = |text| key_request(Some(KeyCommand::Use), text).expect_err("not a key");

        assert_eq!(why("not base64!"), "illegal base64 data at input byte 3");
        assert_eq!(why("abcde"), "illegal base64 data at input byte 4");
        assert_eq!(why("YWJj"), "key size must be 16, 24 or 32 bytes");
    }

    #[test]
    fn keys_fail_where_a_member_refused_or_was_silent() {
        let report = |errors, responses| {
            report_error(&KeyReport {
                nodes: 3,
                errors,
                responses,
                ..KeyReport::default()
            })
        };

        assert_eq!(report(0, 3), "");
        assert_eq!(report(2, 3), "2/3 nodes reported failure");
        assert_eq!(report(0, 2), "2/3 nodes reported success");
    }
}
