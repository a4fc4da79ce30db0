//! One check: connect, ask, judge the answer.
//!
//! ```text
//! 0 ──dial──▶ no SYN-ACK: dial anew each tenth of the timeout ──connected──▶ ask
//!                                                   four tenths later, no answer: dial and ask once more
//! ```
//!
//! A lost packet costs TCP a second (SYN) or a fifth of one (data): a single connection would make of it a failed
//! check, half of the time when a quarter of all packets is lost each way. So it is one in twenty-five.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::Settings;
use super::http2::{self, Means, What};
use super::page::{self, Rest, Unanswered};
use super::secure::{Duplex, Secured};
use crate::announce::CheckSpec;
use crate::proxy_header;

/// How long a body is awaited after its head: what is not there by then is a stream.
const BODY_WAIT: Duration = Duration::from_millis(50);

/// Of a check's timeout: a dial without an answer is repeated after one share.
const SHARES: u32 = 10;

/// Shares until a question without an answer is repeated: a slow server shall not be asked ten times.
const PATIENCE: u32 = 4;

/// What one check saw.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// For a person, in both cases.
    pub(super) result: Result<String, String>,
    /// It failed because nothing came back in time.
    pub(super) timed_out: bool,
    /// A packet of it was lost on the way: a later dial was answered before an earlier one.
    pub(super) lost: bool,
}

/// Makes one check, within `settings.timeout`. Dropping the future closes its connection.
///
/// `secured`: for checks over TLS.
pub(super) async fn check(
    address: SocketAddr,
    check: &CheckSpec,
    http2: Option<Means>,
    settings: &Settings,
    secured: Option<&Secured>,
) -> Seen {
    let dialling = Dialling {
        patience: settings.timeout / SHARES,
        header: settings.send_proxy.map(proxy_header::own),
        lost: AtomicBool::new(false),
    };
    let question = |what, secured| Question {
        what,
        http2,
        host: settings.host.as_deref(),
        secured,
    };
    let asked = async {
        match check {
            CheckSpec::None => Ok(Answer::Plain("no check")),
            CheckSpec::Tcp { port } => {
                dialling.connect(address, *port).await?;
                Ok(Answer::Plain("connected"))
            }
            CheckSpec::Http { port, path } => {
                inquire(
                    &dialling,
                    address,
                    *port,
                    &question(What::Page(path.clone()), None),
                )
                .await
            }
            CheckSpec::Https { port, path } if secured.is_some() => {
                inquire(
                    &dialling,
                    address,
                    *port,
                    &question(What::Page(path.clone()), secured),
                )
                .await
            }
            CheckSpec::Https { .. } => {
                Err("https checks are made by fronts only; use http: or tcp:".to_owned())
            }
            CheckSpec::Grpc { .. } if http2.is_none() => {
                Err("grpc checks are made by fronts only".to_owned())
            }
            CheckSpec::Grpc { service } => {
                let secured = secured.filter(|_| http2.is_some_and(|means| means.tls));
                let question = question(What::Service(service.clone()), secured);
                inquire(&dialling, address, None, &question).await
            }
        }
    };
    let answer = timeout(settings.timeout, asked).await;
    let lost = dialling.lost.into_inner();
    let Ok(answer) = answer else {
        let limit = humantime::format_duration(settings.timeout);
        return Seen {
            result: Err(format!("no answer within {limit}")),
            timed_out: true,
            lost,
        };
    };
    let result = match answer {
        Ok(Answer::Plain(seen)) => Ok(seen.to_owned()),
        Ok(Answer::Told(seen)) => Ok(seen),
        Ok(Answer::Http(status, rest)) => {
            // The status has decided, so neither a body cut short, nor a slow one, nor a long one matters.
            let _ = timeout(BODY_WAIT, rest.finish()).await;
            judge(status)
        }
        Err(reason) => Err(reason),
    };
    Seen {
        result,
        timed_out: false,
        lost,
    }
}

/// What came back.
enum Answer {
    Plain(&'static str),
    Told(String),
    Http(u16, Rest),
}

/// What is asked for.
struct Question<'q> {
    what: What,
    /// How to ask over HTTP/2, where that is spoken.
    http2: Option<Means>,
    /// `None`: the address.
    host: Option<&'q str>,
    /// Over TLS.
    secured: Option<&'q Secured>,
}

/// How one check dials.
struct Dialling {
    /// How long a dial is left alone before the next one.
    patience: Duration,
    /// What the service wants to hear first. What is asked on a port of its own is not the service.
    header: Option<&'static [u8]>,
    /// See [`Seen::lost`].
    lost: AtomicBool,
}

impl Dialling {
    /// A connection from the first of several dials that is answered, if only by a refusal.
    async fn connect(
        &self,
        mut address: SocketAddr,
        port: Option<u16>,
    ) -> Result<TcpStream, String> {
        if let Some(port) = port {
            address.set_port(port);
        }
        let mut dials = Vec::new();
        loop {
            dials.push(Box::pin(TcpStream::connect(address)));
            let first = poll_fn(|cx| {
                let mut done = dials
                    .iter_mut()
                    .map(|dial| dial.as_mut().poll(cx))
                    .enumerate();
                let first = done.find(|(_, polled)| polled.is_ready());
                first.map_or(Poll::Pending, |(which, polled)| {
                    polled.map(|stream| (which, stream))
                })
            });
            if let Ok((which, stream)) = timeout(self.patience, first).await {
                // On a line that is merely long, the first dial is answered first.
                if which > 0 {
                    self.lost.store(true, Ordering::Relaxed);
                }
                let mut stream = stream.map_err(|error| plain(&error))?;
                if let (Some(header), None) = (self.header, port) {
                    let said = stream.write_all(header).await;
                    said.map_err(|error| plain(&error))?;
                }
                return Ok(stream);
            }
        }
    }
}

/// Asks, and once more on another connection when the answer takes long.
async fn inquire(
    dialling: &Dialling,
    address: SocketAddr,
    port: Option<u16>,
    question: &Question<'_>,
) -> Result<Answer, String> {
    let stream = dialling.connect(address, port).await?;
    let again = async {
        sleep(PATIENCE * dialling.patience).await;
        ask(dialling.connect(address, port).await?, question).await
    };
    tokio::select! {
        answer = ask(stream, question) => answer,
        answer = again => answer,
    }
}

/// One GET on a connection of its own, up to the answer's head.
async fn ask(stream: TcpStream, question: &Question<'_>) -> Result<Answer, String> {
    let usual = if question.secured.is_some() { 443 } else { 80 };
    let host = match question.host {
        Some(host) => host.to_owned(),
        None => authority(stream.peer_addr().map_err(|error| plain(&error))?, usual),
    };
    let (what, http2) = (question.what.clone(), question.http2);
    let stream: Box<dyn Duplex> = match question.secured {
        None => Box::new(stream),
        Some(secured) => {
            let shaking = secured.by.shake(stream, &secured.name, http2.is_some());
            shaking.await?
        }
    };
    let path = match (http2, what) {
        (Some(means), what) => {
            let tls = question.secured.is_some();
            let asked = (means.ask)(http2::Question {
                stream,
                tls,
                host,
                what,
            });
            return asked.await.map(Answer::Told);
        }
        (None, What::Page(path)) => path,
        (None, What::Service(_)) => return Err("grpc checks are made by fronts only".to_owned()),
    };
    // What is checked comes from tags and files, whose readers refuse the like; one that forgot to would let a tag write requests.
    if host.contains(char::is_control) || path.contains(char::is_control) {
        return Err("the check cannot be sent: a control character is in it".to_owned());
    }
    let answer = page::get(stream, &host, &path).await;
    answer
        .map(|(status, rest)| Answer::Http(status, rest))
        .map_err(|error| match error {
            Unanswered::Io(error) => plain(&error),
            error => error.to_string(),
        })
}

/// What a status says about a service.
///
/// # Errors
/// It fails; in a person's words.
pub fn judge(status: u16) -> Result<String, String> {
    match status {
        code @ 400..=404 => Ok(format!("{code}: is the check path right?")),
        code @ ..500 => Ok(code.to_string()),
        code => Err(format!("answered {code}")),
    }
}

/// As a browser writes it: without the port where it is the `usual` one.
fn authority(address: SocketAddr, usual: u16) -> String {
    match (address.ip(), address.port()) {
        (std::net::IpAddr::V4(ip), port) if port == usual => ip.to_string(),
        (std::net::IpAddr::V6(ip), port) if port == usual => format!("[{ip}]"),
        (std::net::IpAddr::V4(ip), port) => format!("{ip}:{port}"),
        (std::net::IpAddr::V6(ip), port) => format!("[{ip}]:{port}"),
    }
}

/// "connection refused" rather than "Connection refused (os error 111)".
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
