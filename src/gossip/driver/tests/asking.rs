//! Events, queries and notices, on real loopback sockets.

use super::*;
use crate::gossip::core::io::{Answer, NoAnswer, QueryId, Question};
use crate::gossip::core::serf::coalesce::Change;

const LONG: Duration = Duration::from_secs(30);

async fn pair() -> (Handle, Handle) {
    let one = started("one", "127.0.0.1:0", &[]).await;
    let seed = one.advertised().address.to_string();
    let two = started("two", "127.0.0.1:0", &[&seed]).await;
    sees(&one, "two", Status::Alive).await;
    sees(&two, "one", Status::Alive).await;
    (one, two)
}

fn uptime(timeout: Duration) -> Question {
    Question {
        name: "uptime".to_owned(),
        wants_ack: true,
        timeout: Some(timeout),
        ..Question::default()
    }
}

/// The next query that `handle` is asked.
async fn asked(events: &mut broadcast::Receiver<Arc<Event>>) -> QueryId {
    let query = async {
        loop {
            if let Event::Query { id, .. } = &*events.recv().await.expect("gossip runs") {
                return *id;
            }
        }
    };
    tokio::time::timeout(LONG, query)
        .await
        .expect("it is asked")
}

#[tokio::test]
async fn a_question_gets_its_answers_and_then_done_at_the_deadline() {
    let (one, two) = pair().await;
    let mut events = two.events();
    let begun = clock::now();
    let timeout = Duration::from_secs(4);
    let mut answers = one.query(uptime(timeout)).await.expect("it may ask");

    let id = asked(&mut events).await;
    assert_eq!(two.respond(id, b"1 day".to_vec()).await, Ok(()));
    assert_eq!(
        two.respond(id, Vec::new()).await,
        Err(Refused::NoAnswer(NoAnswer::Sent))
    );
    let (mut acks, mut responses) = (Vec::new(), Vec::new());
    loop {
        let answer = tokio::time::timeout(LONG, answers.recv()).await;
        match answer.expect("a deadline").expect("done comes last") {
            Answer::Ack { from } => acks.push(from),
            Answer::Response { from, payload } => responses.push((from, payload)),
            Answer::Done => break,
        }
    }
    assert!(begun.elapsed() >= timeout, "{:?}", begun.elapsed());
    acks.sort();
    assert_eq!(acks, ["one", "two"]);
    assert_eq!(responses, [("two".to_owned(), b"1 day".to_vec())]);
    assert_eq!(answers.recv().await, None);
}

#[tokio::test]
async fn done_comes_to_whoever_reads_nothing_until_then() {
    let one = started("one", "127.0.0.1:0", &[]).await;
    let mut answers = one
        .query(uptime(Duration::from_millis(100)))
        .await
        .expect("it may ask");
    drop(one.query(uptime(Duration::from_millis(50))).await);
    tokio::time::sleep(Duration::from_millis(300)).await;

    let next = tokio::time::timeout(LONG, answers.recv()).await;
    assert_eq!(
        next,
        Ok(Some(Answer::Ack {
            from: "one".to_owned()
        }))
    );
    let next = tokio::time::timeout(LONG, answers.recv()).await;
    assert_eq!(next, Ok(Some(Answer::Done)));
}

#[tokio::test]
async fn notices_are_few_and_cost_nothing_without_a_listener() {
    let one = started("one", "127.0.0.1:0", &[]).await;
    let seed = one.advertised().address.to_string();
    assert_eq!(one.user_event("before", Vec::new(), true).await, Ok(()));
    let mut notices = one.coalesced();
    let two = started("two", "127.0.0.1:0", &[&seed]).await;
    let three = started("three", "127.0.0.1:0", &[&seed]).await;
    let mut heard = async || {
        let next = tokio::time::timeout(LONG, notices.recv()).await;
        Arc::unwrap_or_clone(next.expect("a notice").expect("gossip runs"))
    };

    // On a busy machine one may be thought failed meanwhile, and come back.
    let mut joined = std::collections::BTreeSet::new();
    while !(joined.contains("two") && joined.contains("three")) {
        if let Notice::Members {
            change: Change::Joined,
            members,
        } = heard().await
        {
            joined.extend(members.iter().map(|member| member.name.to_string()));
        }
    }
    two.user_event("deploy", b"v1".to_vec(), false)
        .await
        .expect("it is short");
    loop {
        if let Notice::Event(event) = heard().await {
            assert!(matches!(&*event, Event::User { name, .. } if name == "deploy"));
            break;
        }
    }
    drop((two, three));
    drop(notices);
    assert!(
        !one.coalesced.is_open(),
        "the channel went with its last listener"
    );
}

#[tokio::test]
async fn once_gossip_has_ended_every_call_says_so() {
    let one = started("one", "127.0.0.1:0", &[]).await;
    let mut before = one.coalesced();
    one.leave().await;

    assert_eq!(
        one.user_event("deploy", Vec::new(), false).await,
        Err(Refused::Leaving)
    );
    let asked = one.query(uptime(Duration::from_secs(1))).await;
    assert_eq!(asked.err(), Some(Refused::Leaving));
    let id = QueryId { ltime: 1, id: 1 };
    assert_eq!(one.respond(id, Vec::new()).await, Err(Refused::Leaving));
    assert_eq!(one.coordinate("one").await, None);
    let ended = Err(broadcast::error::RecvError::Closed);
    assert_eq!(one.coalesced().recv().await, ended);
    loop {
        // What was still to be told is told first.
        if before.recv().await == ended {
            break;
        }
    }
}
