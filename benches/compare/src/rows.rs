//! What is measured, and the bar.
//!
//! Bars are the other's cost over ours, so above 1 is better. HTTP/2 is in clear, for all alike.

use std::time::Duration;

use crate::backend::body_of;
use crate::load::{Pace, Plan};
use crate::proxy::Program;

/// One line of a table.
pub(crate) struct Row {
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) work: Work,
    pub(crate) backends: u16,
    pub(crate) subjects: &'static [Subject],
    pub(crate) log: bool,
    /// Clients speak TLS.
    pub(crate) tls: bool,
    /// Fewer would say nothing about a tail.
    pub(crate) repeats_min: usize,
    pub(crate) bar: Option<Bar>,
}

/// One program in one manner.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Subject {
    pub(crate) label: &'static str,
    pub(crate) program: Program,
    pub(crate) splice: bool,
    pub(crate) workers: usize,
}

/// The least that the other's cost over ours should be.
#[derive(Clone, Copy)]
pub(crate) struct Bar {
    pub(crate) haproxy: f64,
    pub(crate) nginx: f64,
    pub(crate) stretch: Option<f64>,
    pub(crate) splice: Option<f64>,
}

/// What the clients do.
pub(crate) enum Work {
    Closed(&'static str, usize),
    Open(&'static str, usize),
    Connections(&'static str, usize),
    /// HTTP/2: so many connections, of so many requests at a time.
    Streams(&'static str, usize, usize),
    Idle(usize),
    Slow(usize),
}

/// Requests in one run over new connections; the tracking table of a machine is small.
const CONNECTIONS_MAX: u64 = 8000;

impl Work {
    /// The plan of the load; `None` where connections are held.
    pub(crate) fn plan(&self, port: u16, length: Duration, rate: f64) -> Option<Plan> {
        let (path, connections, pace) = match *self {
            Self::Closed(path, connections) => (path, connections, Pace::Closed),
            Self::Open(path, connections) => (path, connections, Pace::Open(rate)),
            Self::Connections(path, many) => (path, many, Pace::Connections(CONNECTIONS_MAX)),
            Self::Streams(..) | Self::Idle(_) | Self::Slow(_) => return None,
        };
        Some(Plan {
            port,
            path,
            body: body_of(path) as u64,
            connections,
            length,
            pace,
            tls: None,
        })
    }
}

const fn one(label: &'static str, program: Program) -> Subject {
    Subject {
        label,
        program,
        splice: false,
        workers: 1,
    }
}

const fn two(label: &'static str, program: Program) -> Subject {
    Subject {
        label,
        program,
        splice: false,
        workers: 2,
    }
}

const LB: Subject = one("lb", Program::Lb);
const NGINX: Subject = one("nginx", Program::Nginx);
const HAPROXY: Subject = one("haproxy", Program::Haproxy);
const ALL: &[Subject] = &[LB, NGINX, HAPROXY];
/// Where one read is a whole request or answer, the floor can be measured too.
const WITH_RELAY: &[Subject] = &[LB, NGINX, HAPROXY, one(FLOOR, Program::Relay)];
/// The floor's name.
pub(crate) const FLOOR: &str = "relay";

const fn bar(haproxy: f64, nginx: f64, stretch: Option<f64>) -> Option<Bar> {
    Some(Bar {
        haproxy,
        nginx,
        stretch,
        splice: None,
    })
}

const PLAIN: Row = Row {
    key: "",
    title: "",
    work: Work::Closed("/1k", 64),
    backends: 3,
    subjects: ALL,
    log: false,
    tls: false,
    repeats_min: 1,
    bar: None,
};

/// In the order of the tables.
pub(crate) const ROWS: &[Row] = &[
    Row {
        key: "1k",
        title: "1 KiB keep-alive",
        subjects: WITH_RELAY,
        bar: bar(1.25, 1.30, Some(1.40)),
        ..PLAIN
    },
    Row {
        key: "500",
        title: "1 KiB, 500 backends",
        subjects: WITH_RELAY,
        backends: 500,
        bar: bar(1.35, 1.75, Some(1.45)),
        ..PLAIN
    },
    Row {
        key: "64k",
        title: "64 KiB",
        work: Work::Closed("/64k", 32),
        bar: bar(1.35, 1.25, Some(1.5)),
        ..PLAIN
    },
    Row {
        key: "1m",
        title: "1 MiB",
        work: Work::Closed("/1m", 16),
        subjects: &[
            LB,
            NGINX,
            HAPROXY,
            Subject {
                splice: true,
                ..one("haproxy splice", Program::Haproxy)
            },
        ],
        bar: Some(Bar {
            haproxy: 1.6,
            nginx: 1.05,
            stretch: Some(2.0),
            splice: Some(1.15),
        }),
        ..PLAIN
    },
    Row {
        key: "connections",
        title: "connection per request, 128 B",
        subjects: WITH_RELAY,
        work: Work::Connections("/", 64),
        bar: bar(1.10, 1.05, Some(1.2)),
        ..PLAIN
    },
    Row {
        key: "h2",
        title: "1 KiB, HTTP/2 clients",
        work: Work::Streams("/1k", 16, 8),
        bar: bar(1.05, 1.5, Some(1.2)),
        ..PLAIN
    },
    Row {
        key: "h2-64k",
        title: "64 KiB, HTTP/2 clients",
        work: Work::Streams("/64k", 16, 4),
        ..PLAIN
    },
    Row {
        key: "log",
        title: "1 KiB, access log on",
        log: true,
        ..PLAIN
    },
    Row {
        key: "open",
        title: "1 KiB at a fixed rate",
        work: Work::Open("/1k", 64),
        repeats_min: 9,
        ..PLAIN
    },
    Row {
        key: "workers",
        title: "1 KiB, one and two workers",
        subjects: &[
            LB,
            two("lb, two", Program::Lb),
            NGINX,
            two("nginx, two", Program::Nginx),
            HAPROXY,
            two("haproxy, two", Program::Haproxy),
        ],
        ..PLAIN
    },
    Row {
        key: "idle1k",
        title: "1,000 idle connections",
        work: Work::Idle(1000),
        ..PLAIN
    },
    Row {
        key: "idle9k",
        title: "9,000 idle connections",
        work: Work::Idle(9000),
        ..PLAIN
    },
    Row {
        key: "tls1k",
        title: "TLS 1.3, 1 KiB keep-alive",
        tls: true,
        bar: bar(1.25, 1.30, Some(1.4)),
        ..PLAIN
    },
    Row {
        key: "tls64k",
        title: "TLS 1.3, 64 KiB",
        work: Work::Closed("/64k", 32),
        tls: true,
        bar: bar(1.30, 1.30, Some(1.45)),
        ..PLAIN
    },
    Row {
        key: "handshakes",
        title: "TLS 1.3 handshake (full) per request, 128 B",
        work: Work::Connections("/", 64),
        tls: true,
        bar: bar(2.2, 2.2, None),
        ..PLAIN
    },
    Row {
        key: "tlsidle1k",
        title: "1,000 idle TLS connections",
        work: Work::Idle(1000),
        tls: true,
        ..PLAIN
    },
    Row {
        key: "slow",
        title: "64 slow readers of 1 MiB",
        work: Work::Slow(64),
        ..PLAIN
    },
];
