//! What comes in another order than a request and then its answer: pipelines, interim answers, early ones, second
//! tries, many streams of one connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::RngExt;
use tokio::io::AsyncWriteExt;

use super::ends::{
    Answering, Ask, Call, Framing, HOPS, Hop, One, answer, connect, open_two, serve,
};
use super::{
    Got, Pair, asked, assert_echoed, assert_same, each_pair, echo, framing, noise, random, size,
    some_at_a_time,
};
use crate::front;

#[test]
fn pipelined_requests_are_answered_whole_and_in_order() {
    each_pair(&[Hop::Http1, Hop::Http1Tls], &HOPS, |mut pair| {
        let got = Got::default();
        let address = serve(pair.backend, pair.files, echo(&got));
        let front = pair.front(&[address]);
        let mut asks = pair.random(10);
        for ask in &mut asks {
            ask.old = false;
            // An answer that begins before all of its request came ends the connection.
            ask.path = ask.path.replace("streamed", "whole");
        }
        let all: Vec<u8> = asks.iter().flat_map(Ask::wire).collect();
        pair.in_time(async {
            let line = connect(front.address, pair.tls.as_ref()).await;
            let (read, mut write) = tokio::io::split(line);
            let mut one = One::new(read);
            let send = async {
                write.write_all(&all).await.expect("taken");
                write.flush().await.expect("taken");
            };
            let receive = async {
                for ask in &asks {
                    let answer = answer(&mut one).await;
                    assert_echoed(&got, ask, &answer, &pair.what).await;
                }
            };
            tokio::join!(send, receive)
        });
    });
}

#[test]
fn interim_answers_that_fill_what_a_client_takes_come_whole_before_the_final_one() {
    const INTERIMS: usize = 30;
    let hint = |number: usize| format!("{number:04}").repeat(2_000);
    let ones = [Hop::Http1, Hop::Http1Tls];
    each_pair(&ones, &ones, |mut pair| {
        let address = serve(pair.backend, pair.files, move |mut call| {
            Box::pin(async move {
                call.answer.say("HTTP/1.1 100 Continue\r\n\r\n").await;
                let (body, _) = call.body.all().await;
                for number in 0..INTERIMS {
                    let head = "HTTP/1.1 103 Early Hints\r\nlink: ";
                    call.answer
                        .say(&(head.to_owned() + &hint(number) + "\r\n\r\n"))
                        .await;
                }
                let mut out = call.answer.begin(Framing::Chunked).await?;
                out.piece(body).await;
                out.end(None).await
            })
        });
        let front = pair.front(&[address]);
        for size in [1, 20_000, 70_000, 300_000] {
            let what = format!("{}: {size}", pair.what);
            let body = noise(size as u64, size);
            pair.in_time(async {
                let line = connect(front.address, pair.tls.as_ref()).await;
                let (read, mut write) = tokio::io::split(line);
                let mut one = One::new(read);
                let head = format!(
                    "POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: {size}\r\n\r\n"
                );
                write.write_all(head.as_bytes()).await.expect("taken");
                write.flush().await.expect("taken");
                let head = one.head(Framing::None).await;
                assert_eq!(head, Ok(Some("HTTP/1.1 100 Continue".to_owned())), "{what}");
                let send = async {
                    write.write_all(&body).await.expect("taken");
                    write.flush().await.expect("taken");
                };
                let receive = async {
                    for number in 0..INTERIMS {
                        let head = one.head(Framing::None).await.expect("no error");
                        let head = head.expect("a head");
                        let told = head.split(": ").nth(1).unwrap_or_default();
                        assert!(told == hint(number), "{what}: {number}, {} bytes", told.len());
                    }
                    let answer = answer(&mut one).await;
                    assert_eq!((answer.status, &answer.end), (200, &Ok(())), "{what}");
                    assert_same(&answer.body, &body, &what);
                };
                tokio::join!(send, receive)
            });
        }
    });
}

/// Its backend has taken some of the request, and takes no more before it has said all.
#[test]
fn an_answer_that_is_over_before_its_request_arrives_whole() {
    const UP: usize = 600_000;
    each_pair(&HOPS, &HOPS, |mut pair| {
        let address = serve(pair.backend, pair.files, |mut call| {
            Box::pin(async move {
                let _ = call.body.piece().await;
                let size = size(&call.path);
                let mut out = call.answer.begin(framing(&call.path)).await?;
                out.piece(noise(size as u64, size)).await;
                let end = out.end(None).await;
                let _ = call.body.all().await;
                end
            })
        });
        let front = pair.front(&[address]);
        for size in [2, 65_537, 400_000] {
            let ask = Ask {
                body: noise(1, UP).into(),
                framing: Framing::Sized(UP),
                ..random(&mut pair.dice, 0, size)
            };
            let what = format!("{}, {}", pair.what, ask.told());
            let answer = pair.asked(&front, &ask);
            assert_eq!(answer.status, 200, "{what}: {:?}", answer.end);
            let what = format!("{what}: {:?}", answer.end);
            assert_same(&answer.body, &noise(size as u64, size), &what);
            assert_eq!(answer.end, Ok(()), "{what}");
        }
    });
}

/// A backend that dies when it has half of a body.
fn dying(pair: &Pair<'_>, deaths: Arc<AtomicUsize>) -> SocketAddr {
    serve(pair.backend, pair.files, move |mut call: Call| {
        let deaths = deaths.clone();
        Box::pin(async move {
            let mut left = size(&call.path) / 2;
            while left > 0 {
                left = left.saturating_sub(call.body.piece().await.ok()??.len());
            }
            deaths.fetch_add(1, Ordering::SeqCst);
            if let Answering::Two(respond) = &mut call.answer {
                respond.send_reset(h2::Reason::INTERNAL_ERROR);
            }
            None
        })
    })
}

#[test]
fn a_second_try_gets_all_of_a_body_that_the_first_got_half_of() {
    each_pair(&HOPS, &HOPS, |mut pair| {
        let (got, deaths) = (Got::default(), Arc::default());
        let sound = serve(pair.backend, pair.files, echo(&got));
        let dying = dying(&pair, Arc::clone(&deaths));
        if let Some(settings) = &mut pair.settings {
            settings.limits.replay_bytes = 1 << 20;
        }
        let front = pair.front(&[dying, sound]);
        // Every other one has to be tried twice.
        for (number, size) in (0..).zip([30_000, 65_537, 65_537, 400_000]) {
            let mut ask = random(&mut pair.dice, number, size);
            ask.method = "PUT";
            let answer = pair.asked(&front, &ask);
            front::run(assert_echoed(&got, &ask, &answer, &pair.what));
        }
        assert!(deaths.load(Ordering::SeqCst) >= 2, "{}", pair.what);
    });
}

#[test]
fn streams_of_one_connection_that_takes_little_all_come_whole() {
    each_pair(&[Hop::Http2, Hop::Http2Tls], &HOPS, |mut pair| {
        let got = Got::default();
        let address = serve(pair.backend, pair.files, echo(&got));
        let front = pair.front(&[address]);
        let asks = pair.random(12);
        pair.in_time(async {
            let line = connect(front.address, pair.tls.as_ref()).await;
            let sender = open_two(line).await;
            let mut under_way = Vec::new();
            for ask in asks {
                let (sender, got, what) = (sender.clone(), got.clone(), pair.what.clone());
                under_way.push(tokio::spawn(async move {
                    let answer = ask.by_two(sender).await;
                    assert_echoed(&got, &ask, &answer, &what).await;
                }));
            }
            for one in under_way {
                one.await.expect("as it should be");
            }
        });
    });
}

/// That only its connection's end says: within TLS by a word of its own, for which a kernel may have no room just then.
#[test]
fn an_answer_to_the_end_of_its_connection_is_told_from_one_that_was_cut() {
    each_pair(&[Hop::Http1Tls], &[Hop::Http1], |mut pair| {
        let got = Got::default();
        let address = serve(pair.backend, pair.files, echo(&got));
        let front = pair.front(&[address]);
        let asks: Vec<Ask> = (0..80)
            .map(|number| {
                let size = pair.dice.random_range(5_000..60_000);
                Ask {
                    old: true,
                    framing: Framing::Sized(size),
                    path: format!("/{size}/to-the-end/whole/{number}"),
                    ..random(&mut pair.dice, number, size)
                }
            })
            .collect();
        let (pair, got, front) = (&pair, &got, front.address);
        front::run(some_at_a_time(asks.iter().map(|ask| async move {
            let answer = asked(front, pair.client, pair.tls.as_ref(), ask).await;
            assert_echoed(got, ask, &answer, &pair.what).await;
        })));
    });
}
