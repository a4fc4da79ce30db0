//! Bytes over every pair of protocols where kernels take little at once, as on a network: on loopback they take
//! megabytes. Whoever receives is late and slow, so that writes are cut short and have to wait.
//!
//! `LB_NARROW_SEED=SEED` does the same again.

mod ends;
mod relays;
mod turns;

use std::collections::{BTreeMap, HashMap};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use lb::pool::queue;
use lb::proxy::{Routes, Settings};
use lb::tls::certificate::Files;
use lb::tls::client;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use socket2::SockRef;
use tokio_rustls::TlsConnector;

use self::ends::{
    Answer, Ask, Call, Framing, HOPS, Hop, NAME, Served, connect, connector, open_two, serve,
};
use crate::authority::Authority;
use crate::front::{self, Front, spec};
use crate::{DEADLINE, agreed, settings, tls};

/// What is read, sealed, framed or kept at once.
const EDGES: [usize; 4] = [16 << 10, 64 << 10, 256 << 10, 1_000_000];

/// Bytes that kernels take of a front at once; with what they need for themselves, as much again.
const SENT: usize = 6_000;

/// Exchanges at a time.
const AT_ONCE: usize = 4;

fn dice() -> ChaCha8Rng {
    let given = std::env::var("LB_NARROW_SEED").ok();
    let seed = given.map_or_else(
        || lb::clock::random().random(),
        |seed| seed.parse().expect("a number"),
    );
    println!("LB_NARROW_SEED={seed}");
    ChaCha8Rng::seed_from_u64(seed)
}

/// Bytes that repeat nowhere.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut noise);
    noise
}

/// A byte, around each edge, and anything.
fn sizes(dice: &mut ChaCha8Rng) -> Vec<usize> {
    let edges = EDGES.iter().flat_map(|edge| [edge - 1, *edge, edge + 1]);
    let mut sizes: Vec<usize> = edges.chain([1]).collect();
    sizes.extend((0..3).map(|_| dice.random_range(2..400_000)));
    sizes
}

/// Where what came is not what was sent.
fn compared(got: &[u8], sent: &[u8]) -> Result<(), String> {
    let same = got.iter().zip(sent).take_while(|(got, sent)| got == sent);
    match got == sent {
        true => Ok(()),
        false => Err(format!(
            "{} bytes for {}, of which the first {} are right",
            got.len(),
            sent.len(),
            same.count()
        )),
    }
}

fn assert_same(got: &[u8], sent: &[u8], what: &str) {
    compared(got, sent).unwrap_or_else(|why| panic!("{what}: {why}"));
}

/// A front of one worker that speaks `hop` to clients.
fn listening(authority: &Authority, hop: Hop) -> Settings {
    match hop {
        Hop::Http1 | Hop::Http2 => front::settings(),
        Hop::Http1Tls => settings(tls(vec![authority.issue("a", &[NAME])])),
        Hop::Http2Tls => settings(agreed::both(authority)),
    }
}

/// Before backends that speak `hop`.
fn before(authority: &Authority, settings: Settings, hop: Hop, backends: &[SocketAddr]) -> Front {
    let specs = backends.iter().map(|address| {
        let mut spec = spec(*address, 1, false);
        spec.proto = Some(hop.proto());
        spec
    });
    let trusting = client::Settings {
        ca: Some(authority.file()),
        server_name: Some(NAME.to_owned()),
        ..client::Settings::default()
    };
    let client = client::Client::load(trusting).unwrap_or_else(|problems| panic!("{problems:?}"));
    let client = Arc::new(client);
    let limits = queue::Settings::default();
    let mut front = Front::routed(settings, specs.collect(), limits, None, |pools| Routes {
        pools,
        tls: BTreeMap::from([("web".into(), client)]),
    });
    front.all_up();
    slim(front.address);
    front
}

/// Has the kernel take less at once of what a front sends to its clients: its listening sockets' buffer is that of all
/// connections. Where no process may copy its own descriptors (a container's rules may say so) tests see less.
fn slim(front: SocketAddr) {
    let own = pidfd_open(getpid(), PidfdFlags::empty());
    let fds = std::fs::read_dir("/proc/self/fd").expect("Linux");
    let numbers = fds.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let copies = numbers.filter_map(|number| {
        let own = own.as_ref().ok()?;
        pidfd_getfd(own, number, PidfdGetfdFlags::empty()).ok()
    });
    for fd in copies {
        let socket = SockRef::from(&fd);
        let local = socket.local_addr().ok().and_then(|local| local.as_socket());
        if local == Some(front) {
            socket.set_send_buffer_size(SENT).expect("a socket");
        }
    }
}

/// What a backend got, by path.
#[derive(Clone, Default)]
struct Got(Arc<Mutex<HashMap<String, Vec<u8>>>>);

impl Got {
    /// Once a backend has all of it.
    async fn whole(&self, path: &str) -> Vec<u8> {
        let begun = lb::clock::now();
        loop {
            if let Some(whole) = self.0.lock().unwrap().remove(path) {
                return whole;
            }
            assert!(begun.elapsed() < DEADLINE, "no backend got all of {path}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Answers with what it gets, as the path says: whole or piece by piece as it comes, framed so or so.
fn echo(got: &Got) -> impl Fn(Call) -> Served + Send + Sync + 'static {
    let got = got.clone();
    move |call| {
        let got = got.clone();
        Box::pin(async move {
            let Call {
                path,
                mut body,
                answer,
            } = call;
            let framing = framing(&path);
            let mut all = Vec::new();
            let mut out;
            if path.contains("streamed") {
                out = answer.begin(framing).await?;
                while let Some(piece) = body.piece().await.ok()? {
                    all.extend_from_slice(&piece);
                    out.piece(piece).await;
                }
            } else {
                let end;
                (all, end) = body.all().await;
                end.ok()?;
                out = answer.begin(framing).await?;
                out.piece(all.clone()).await;
            }
            got.0.lock().unwrap().insert(path, all);
            out.end((framing == Framing::Chunked).then_some("42")).await
        })
    }
}

/// Of the answer to `/SIZE/FRAMING/…`.
fn framing(path: &str) -> Framing {
    match path.split('/').nth(2) {
        Some("sized") => Framing::Sized(size(path)),
        Some("chunked") => Framing::Chunked,
        _ => Framing::UntilClose,
    }
}

fn size(path: &str) -> usize {
    let word = path.split('/').nth(1);
    word.and_then(|word| word.parse().ok()).expect("a size")
}

/// A request with a body of its own for [`echo`], framed so or so.
fn random(dice: &mut ChaCha8Rng, number: usize, size: usize) -> Ask {
    let framing = ["sized", "chunked", "to-the-end"][dice.random_range(0..3)];
    let how = ["whole", "streamed"][dice.random_range(0..2)];
    let old = dice.random_range(0..3) == 0;
    Ask {
        method: ["POST", "PUT"][dice.random_range(0..2)],
        path: format!("/{size}/{framing}/{how}/{number}"),
        body: noise(dice.random(), size).into(),
        framing: match old || dice.random() {
            true => Framing::Sized(size),
            false => Framing::Chunked,
        },
        old,
    }
}

/// Asks over a connection of its own.
async fn asked(front: SocketAddr, hop: Hop, tls: Option<&TlsConnector>, ask: &Ask) -> Answer {
    let asked = async {
        let line = connect(front, tls).await;
        match hop.is_two() {
            true => ask.by_two(open_two(line).await).await,
            false => ask.by_one(line).await,
        }
    };
    let limited = tokio::time::timeout(DEADLINE, asked).await;
    limited.unwrap_or_else(|_| panic!("nothing moves: {}", ask.path))
}

/// Runs all of `todo`, some at a time.
async fn some_at_a_time(todo: impl IntoIterator<Item = impl Future<Output = ()>>) {
    let mut waiting = todo.into_iter();
    let mut under_way = Vec::new();
    poll_fn(|cx| {
        loop {
            let room = AT_ONCE - under_way.len();
            under_way.extend(waiting.by_ref().take(room).map(Box::pin));
            let before = under_way.len();
            under_way.retain_mut(|one| one.as_mut().poll(cx).is_pending());
            match under_way.len() {
                0 if before == 0 => return Poll::Ready(()),
                left if left == before => return Poll::Pending,
                _ => {}
            }
        }
    })
    .await;
}

/// A protocol of clients, and one of backends.
struct Pair<'p> {
    authority: &'p Authority,
    files: &'p Files,
    client: Hop,
    backend: Hop,
    settings: Option<Settings>,
    tls: Option<TlsConnector>,
    dice: ChaCha8Rng,
    what: String,
}

/// Whether it holds for all pairs of these.
fn each_pair(clients: &[Hop], backends: &[Hop], holds: impl Fn(Pair<'_>) + Sync) {
    let mut dice = dice();
    let authority = Authority::new();
    let files = authority.issue("b", &[NAME]);
    for client in clients {
        thread::scope(|scope| {
            for backend in backends {
                let pair = Pair {
                    authority: &authority,
                    files: &files,
                    client: *client,
                    backend: *backend,
                    settings: Some(listening(&authority, *client)),
                    tls: connector(&authority, *client),
                    dice: ChaCha8Rng::seed_from_u64(dice.random()),
                    what: format!("{client:?} to {backend:?}"),
                };
                scope.spawn(|| holds(pair));
            }
        });
    }
}

impl Pair<'_> {
    fn front(&mut self, backends: &[SocketAddr]) -> Front {
        let settings = self.settings.take().expect("one front");
        before(self.authority, settings, self.backend, backends)
    }

    fn asked(&self, front: &Front, ask: &Ask) -> Answer {
        front::run(asked(front.address, self.client, self.tls.as_ref(), ask))
    }

    fn in_time<T>(&self, future: impl Future<Output = T>) -> T {
        let limited = front::run(async { tokio::time::timeout(DEADLINE, future).await });
        limited.unwrap_or_else(|_| panic!("nothing moves: {}", self.what))
    }

    /// Requests with bodies of theirs, none of them very large.
    fn random(&mut self, count: usize) -> Vec<Ask> {
        let mut sizes = sizes(&mut self.dice);
        let mut one = |number| {
            let at = self.dice.random_range(0..sizes.len());
            random(&mut self.dice, number, sizes.swap_remove(at).min(300_000))
        };
        (0..count).map(&mut one).collect()
    }
}

/// An echo, both ways.
async fn assert_echoed(got: &Got, ask: &Ask, answer: &Answer, what: &str) {
    let what = format!("{what}, {}", ask.told());
    let told = String::from_utf8_lossy(&answer.body[..answer.body.len().min(100)]);
    assert_eq!(answer.status, 200, "{what}: {told:?}, {:?}", answer.end);
    assert_same(
        &got.whole(&ask.path).await,
        &ask.body,
        &format!("up, {what}"),
    );
    let what = format!("down, {what}: {:?}", answer.end);
    assert_same(&answer.body, &ask.body, &what);
    assert_eq!(answer.end, Ok(()), "{what}");
}

fn bodies_go_both_ways(client: Hop) {
    each_pair(&[client], &HOPS, |mut pair| {
        let got = Got::default();
        let address = serve(pair.backend, pair.files, echo(&got));
        let front = pair.front(&[address]);
        let sizes = sizes(&mut pair.dice);
        let asks: Vec<Ask> = (0..)
            .zip(sizes)
            .map(|(number, size)| random(&mut pair.dice, number, size))
            .collect();
        let (pair, got, front) = (&pair, &got, front.address);
        front::run(some_at_a_time(asks.iter().map(|ask| async move {
            let answer = asked(front, pair.client, pair.tls.as_ref(), ask).await;
            assert_echoed(got, ask, &answer, &pair.what).await;
            let told = pair.backend.is_two() && !ask.is_old(pair.client);
            if told && framing(&ask.path) == Framing::Chunked {
                assert_eq!(
                    answer.trailers,
                    "x-sum: 42",
                    "{}, {}",
                    pair.what,
                    ask.told()
                );
            }
        })));
    });
}

#[test]
fn from_clients_of_http_1_and_back() {
    bodies_go_both_ways(Hop::Http1);
}

#[test]
fn from_clients_of_http_1_within_tls_and_back() {
    bodies_go_both_ways(Hop::Http1Tls);
}

#[test]
fn from_clients_of_http_2_and_back() {
    bodies_go_both_ways(Hop::Http2);
}

#[test]
fn from_clients_of_http_2_within_tls_and_back() {
    bodies_go_both_ways(Hop::Http2Tls);
}
