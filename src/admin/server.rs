//! Connections and paths. Every wait and every count has a limit.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::gone::Gone;
use super::metrics::Numbers;
use super::source::Source;
use super::{api, process};
use crate::clock;
use crate::shutdown::Shutdown;

/// Serves until `shutdown`, then lets answers under way finish for a second.
pub async fn serve<S: Source>(listener: TcpListener, source: Arc<S>, shutdown: Shutdown) {
    serve_within(Limits::default(), listener, source, shutdown).await;
}

/// Every count and every wait of the server.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Operators, a scraper or two, a dashboard: more is a mistake that must not cost memory.
    connections: usize,
    /// Between connecting, or the previous answer, and the end of a request head.
    head: Duration,
    /// A connection is closed after this, so that those who never read can't hold every place.
    life: Duration,
    /// For answers under way when a connection or the server must end.
    stop: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            head: Duration::from_secs(10),
            life: Duration::from_secs(60),
            stop: Duration::from_secs(1),
        }
    }
}

async fn serve_within<S: Source>(
    limits: Limits,
    listener: TcpListener,
    source: Arc<S>,
    mut shutdown: Shutdown,
) {
    let admin = Arc::new(Admin {
        source,
        limits,
        gone: Mutex::default(),
    });
    let room = Arc::new(Semaphore::new(limits.connections));
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.wait() => break,
            (permit, stream, peer) = accept(&listener, &room) => {
                let admin = Arc::clone(&admin);
                let shutdown = shutdown.clone();
                open.spawn(connection(admin, permit, stream, peer, shutdown));
            }
            Some(_) = open.join_next() => {}
        }
    }
    drop(listener);
    let finished = async { while open.join_next().await.is_some() {} };
    // Who is still not done is dropped with the set.
    let _ = tokio::time::timeout(limits.stop, finished).await;
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (OwnedSemaphorePermit, TcpStream, SocketAddr) {
    loop {
        let permit = Arc::clone(room)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, peer)) => return (permit, stream, peer),
            Err(error) => {
                warn!(%error, "the admin server cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection<S: Source>(
    admin: Arc<Admin<S>>,
    _permit: OwnedSemaphorePermit,
    stream: TcpStream,
    peer: SocketAddr,
    mut shutdown: Shutdown,
) {
    let limits = admin.limits;
    let service = service_fn(|request| {
        let admin = Arc::clone(&admin);
        async move { Ok::<_, Infallible>(admin.answer(&request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);

    let mut ended = tokio::select! {
        ended = serving.as_mut() => Some(ended),
        () = shutdown.wait() => None,
        () = tokio::time::sleep(limits.life) => None,
    };
    if ended.is_none() {
        serving.as_mut().graceful_shutdown();
        // Who does not read the answer must not hold the place for ever.
        ended = tokio::time::timeout(limits.stop, serving).await.ok();
    }
    if let Some(Err(error)) = ended {
        debug!(%peer, %error, "an admin connection ended early");
    }
}

#[derive(Debug)]
struct Admin<S> {
    source: Arc<S>,
    limits: Limits,
    gone: Mutex<Gone>,
}

/// Every path, and what the index says of it.
const PATHS: [(&str, &str); 7] = [
    ("/", "this list"),
    ("/healthz", "200 while the process lives"),
    ("/readyz", "200 when it may get traffic, else 503 and why"),
    (
        "/metrics",
        "requests, backends, checks, gossip, process; for Prometheus",
    ),
    (
        "/api/v1/pools",
        "each pool's backends: state, in rotation or not, why, since when",
    ),
    ("/api/v1/members", "everyone known to gossip"),
    (
        "/api/v1/handlers",
        "each event handler: runs, failures, how the last one ended, what it printed",
    ),
];

impl<S: Source> Admin<S> {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        if !PATHS.iter().any(|(known, _)| *known == path) {
            let text = "not found; / lists what there is\n";
            return reply(StatusCode::NOT_FOUND, TEXT, text);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let text = "only GET and HEAD\n";
            let mut refused = reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, text);
            let allowed = HeaderValue::from_static("GET, HEAD");
            refused.headers_mut().insert(ALLOW, allowed);
            return refused;
        }
        let now = clock::now();
        match path {
            "/healthz" => reply(StatusCode::OK, TEXT, "ok\n"),
            "/readyz" => match self.source.ready() {
                Ok(()) => reply(StatusCode::OK, TEXT, "ready\n"),
                Err(why) => reply(
                    StatusCode::SERVICE_UNAVAILABLE,
                    TEXT,
                    format!("not ready: {why}\n"),
                ),
            },
            "/metrics" => reply(StatusCode::OK, METRICS, self.metrics().await),
            "/api/v1/pools" => reply(StatusCode::OK, JSON, api::pools(&self.source.pools(), now)),
            "/api/v1/members" => {
                let members = self.source.members();
                let json = api::members(&self.source.node(), &members, now);
                reply(StatusCode::OK, JSON, json)
            }
            "/api/v1/handlers" => {
                reply(StatusCode::OK, JSON, api::handlers(&self.source.handlers()))
            }
            _ => reply(StatusCode::OK, TEXT, index()),
        }
    }

    async fn metrics(&self) -> String {
        let numbers = Numbers {
            gossip: self.source.gossip().await,
            pools: self.source.pools(),
            requests: self.source.requests(),
            checks: self.source.checks(),
            certificates: self.source.certificates(),
            void_checks: self.source.void_checks(),
            pauses: self.source.pauses(),
            members: self.source.members(),
            process: process::read(),
        };
        let shown = self
            .gone
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .shown(clock::now(), numbers.counted(), &numbers.present());
        numbers.render(&shown)
    }
}

fn index() -> String {
    let mut text = format!("lb {}\n\n", env!("CARGO_PKG_VERSION"));
    for (path, what) in PATHS {
        text.push_str(&format!("{path:<17} {what}\n"));
    }
    text
}

fn reply(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
/// As Prometheus' text exposition format 0.0.4 asks.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Requests here are one line and a few fields.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// After a failed accept, which is mostly a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
