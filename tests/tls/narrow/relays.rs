//! Relays and tunnels: whatever is said either way arrives, and so does each end by itself.

use std::future::Future;

use lb::proxy::Mode;
use rand::RngExt;
use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::sync::{mpsc, oneshot};

use super::ends::{Framing, Hop, Incoming, Line, NAME, One, connect, connector, listen};
use super::{before, compared, dice, listening, noise, sizes, some_at_a_time};
use crate::DEADLINE;
use crate::authority::Authority;
use crate::front;

const UPGRADE: &str = "connection: upgrade\r\nupgrade: websocket\r\n\r\n";

/// Who speaks first; the other one speaks once it has heard all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Client,
    Backend,
    Both,
}

const FIRST: [First; 3] = [First::Client, First::Backend, First::Both];

/// One connection. Its first line tells all of it to a backend.
#[derive(Clone, Copy, Debug)]
struct Plan {
    seed: u64,
    up: usize,
    down: usize,
    first: First,
}

impl Plan {
    fn line(&self) -> String {
        let first = self.first as usize;
        format!("{} {} {} {first}\n", self.seed, self.up, self.down)
    }

    fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        Some(Self {
            seed: words.next()?.parse().ok()?,
            up: words.next()?.parse().ok()?,
            down: words.next()?.parse().ok()?,
            first: FIRST[words.next()?.parse::<usize>().ok()?],
        })
    }

    fn up(&self) -> Vec<u8> {
        noise(self.seed, self.up)
    }

    fn down(&self) -> Vec<u8> {
        noise(!self.seed, self.down)
    }
}

/// Says all, and that it was all.
async fn say(mut write: WriteHalf<Line>, bytes: Vec<u8>) -> Result<(), String> {
    let said = async {
        write.write_all(&bytes).await?;
        write.shutdown().await
    };
    let said: std::io::Result<()> = said.await;
    said.map_err(|error| format!("not all was taken: {error}"))
}

/// Hears all, and an end in order.
async fn hear(mut one: One, expected: Vec<u8>) -> Result<(), String> {
    one.all_from_here();
    let (got, end) = Incoming::One(one).all().await;
    compared(&got, &expected).map_err(|why| format!("{why}; {end:?}"))?;
    end
}

async fn in_turn(
    first: bool,
    both: bool,
    say: impl Future<Output = Result<(), String>>,
    hear: impl Future<Output = Result<(), String>>,
) -> Result<(), String> {
    let (said, heard) = match (both, first) {
        (true, _) => tokio::join!(say, hear),
        (false, true) => (say.await, hear.await),
        (false, false) => {
            let heard = hear.await;
            (say.await, heard)
        }
    };
    heard.and(said)
}

/// A backend's side.
async fn backend(line: Line, tunnel: bool) -> Result<(), String> {
    let (read, mut write) = tokio::io::split(line);
    let mut one = One::new(read);
    if tunnel {
        one.head(Framing::None).await?.ok_or("no request")?;
        let agreed = format!("HTTP/1.1 101 Switching Protocols\r\n{UPGRADE}");
        let said = write.write_all(agreed.as_bytes()).await;
        said.map_err(|error| error.to_string())?;
    }
    let line = one.until(b"\n").await?.ok_or("no first line")?;
    let plan = Plan::read(&line).ok_or("not the first line")?;
    let (say, hear) = (say(write, plan.down()), hear(one, plan.up()));
    let first = plan.first;
    in_turn(first == First::Backend, first == First::Both, say, hear).await
}

/// A client's side.
async fn client(line: Line, plan: Plan, tunnel: bool) -> Result<(), String> {
    let (read, mut write) = tokio::io::split(line);
    let mut one = One::new(read);
    let first = plan.first;
    if !tunnel {
        let says = [plan.line().into_bytes(), plan.up()].concat();
        if first != First::Backend {
            let (say, hear) = (say(write, says), hear(one, plan.down()));
            return in_turn(first == First::Client, first == First::Both, say, hear).await;
        }
        let said = write.write_all(plan.line().as_bytes()).await;
        said.map_err(|error| error.to_string())?;
        let (say, hear) = (say(write, plan.up()), hear(one, plan.down()));
        return in_turn(false, false, say, hear).await;
    }
    let (agrees, agreed) = oneshot::channel();
    let hear = async {
        match one.head(Framing::None).await? {
            Some(head) if head.contains(" 101 ") => drop(agrees.send(())),
            other => return Err(format!("no tunnel: {other:?}")),
        }
        hear(one, plan.down()).await
    };
    let say = async {
        // What is said in there need not wait until it is agreed; who ends before has left.
        let begins = format!("GET / HTTP/1.1\r\nhost: t\r\n{UPGRADE}{}", plan.line());
        let (now, then) = match first {
            First::Backend => (Vec::new(), plan.up()),
            First::Client | First::Both => (plan.up(), Vec::new()),
        };
        let now = [begins.into_bytes(), now].concat();
        let said = write.write_all(&now).await;
        said.map_err(|error| error.to_string())?;
        agreed.await.map_err(|_| "no tunnel".to_owned())?;
        say(write, then).await
    };
    in_turn(false, true, say, hear).await
}

fn relayed(tunnel: bool) {
    let mut dice = dice();
    let authority = Authority::new();
    let files = authority.issue("b", &[NAME]);
    for to in [Hop::Http1, Hop::Http1Tls] {
        let (tell, mut told) = mpsc::unbounded_channel();
        let address = listen(to, &files, move |line| {
            let tell = tell.clone();
            Box::pin(async move { drop(tell.send(backend(line, tunnel).await)) })
        });
        for from in [Hop::Http1, Hop::Http1Tls] {
            let mut settings = listening(&authority, from);
            if !tunnel {
                settings.listeners[0].mode = Mode::Tcp;
            }
            let front = before(&authority, settings, to, &[address]);
            let passed_on = !tunnel && !from.is_secured();
            let tls = connector(&authority, if passed_on { to } else { from });
            let mut downs = sizes(&mut dice);
            let plans: Vec<Plan> = sizes(&mut dice)
                .into_iter()
                .map(|up| Plan {
                    seed: dice.random(),
                    up,
                    down: downs.swap_remove(dice.random_range(0..downs.len())),
                    first: FIRST[dice.random_range(0..FIRST.len())],
                })
                .collect();
            let (front, tls) = (front.address, tls.as_ref());
            let joined = plans.iter().map(|plan| async move {
                let joined = async { client(connect(front, tls).await, *plan, tunnel).await };
                let joined = tokio::time::timeout(DEADLINE, joined).await;
                assert_eq!(joined, Ok(Ok(())), "{from:?} to {to:?}, {plan:?}");
            });
            front::run(async {
                some_at_a_time(joined).await;
                for _ in &plans {
                    let ended = tokio::time::timeout(DEADLINE, told.recv()).await;
                    assert_eq!(ended, Ok(Some(Ok(()))), "a backend, {from:?} to {to:?}");
                }
            });
        }
    }
}

#[test]
fn relayed_bytes_arrive_either_way_and_so_do_both_ends() {
    relayed(false);
}

#[test]
fn tunnelled_bytes_arrive_either_way_and_so_do_both_ends() {
    relayed(true);
}
