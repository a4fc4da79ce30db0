//! Runs cases: per configuration some lanes, each a subject with a backend of its own, one case at a time.

use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::backend::Backend;
use crate::case::{Case, Protocol, Side};
use crate::client;
use crate::hanging::Hanging;
use crate::outcome::Outcome;
use crate::subject::{Kind, Profile, Subject};

/// Of a case: nothing, or what is wrong.
pub(crate) type Verdict = Result<(), String>;

/// Subjects side by side for most cases.
const LANES: usize = 6;

/// A configuration of subjects, by what a case needs: also what its backend speaks.
pub(crate) type Setup = (Profile, Protocol);

fn setup(case: &Case) -> Setup {
    (case.profile, case.protocol(Side::Backend))
}

/// The cases that `LB_CONFORMANCE` asks for; all without it.
pub(crate) fn chosen(cases: Vec<Case>) -> Vec<Case> {
    let Ok(wanted) = std::env::var("LB_CONFORMANCE") else {
        return cases;
    };
    let chosen = cases.into_iter();
    chosen
        .filter(|case| case.title().contains(&wanted))
        .collect()
}

/// One verdict per case, in their order.
pub(crate) fn all(kind: Kind, cases: &[Case]) -> Vec<Verdict> {
    let verdicts: Vec<Mutex<Verdict>> = cases.iter().map(|_| Mutex::new(Ok(()))).collect();
    std::thread::scope(|scope| {
        let setups = Profile::ALL.iter();
        for own in setups.flat_map(|one| [(*one, Protocol::One), (*one, Protocol::Two)]) {
            let queue: Vec<usize> = (0..cases.len())
                .filter(|index| setup(&cases[*index]) == own)
                .collect();
            let lanes = match own.0 {
                Profile::Plain | Profile::Impatient => LANES,
                Profile::Trusting | Profile::Dark | Profile::Fresh => 1,
            };
            let (queue, next) = (
                std::sync::Arc::new(queue),
                std::sync::Arc::new(AtomicUsize::new(0)),
            );
            for _ in 0..lanes.min(queue.len()) {
                let (queue, next, verdicts) = (queue.clone(), next.clone(), &verdicts);
                scope.spawn(move || {
                    let mut lane = Lane::start(kind, own);
                    let mut before = None;
                    while let Some(index) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let judged = lane.judge(&cases[*index]);
                        if let (true, Some(before)) = (judged.was_dead, before) {
                            let before: &Mutex<Verdict> = &verdicts[before];
                            *before.lock().expect("no panic") = died();
                        }
                        *verdicts[*index].lock().expect("no panic") = judged.verdict;
                        before = Some(*index);
                    }
                });
            }
        }
    });
    let verdicts = verdicts.into_iter();
    let mut verdicts: Vec<Verdict> = verdicts
        .map(|verdict| verdict.into_inner().expect("no panic"))
        .collect();
    if kind == Kind::Ours {
        again(cases, &mut verdicts);
    }
    verdicts
}

/// Judges rules about time once more, one by one: what was too slow may have been this machine. So may the order of what two
/// connections bring.
fn again(cases: &[Case], verdicts: &mut [Verdict]) {
    for (case, verdict) in cases.iter().zip(verdicts) {
        let may_be_wrong = case.profile.is_impatient() || case.races;
        if may_be_wrong && verdict.is_err() {
            *verdict = Lane::start(Kind::Ours, setup(case)).judge(case).verdict;
        }
    }
}

/// A subject, its backend, and one case at a time.
struct Lane {
    kind: Kind,
    setup: Setup,
    backend: Backend,
    /// Where the subject's backend is.
    address: SocketAddr,
    _dark: Option<Hanging>,
    subject: Subject,
}

/// What came of a case.
struct Judged {
    verdict: Verdict,
    /// The subject had died of the case before.
    was_dead: bool,
}

fn died() -> Verdict {
    Err("the subject died".to_owned())
}

impl Lane {
    fn start(kind: Kind, setup: Setup) -> Self {
        let backend = Backend::start();
        let dark = (setup.0 == Profile::Dark).then(Hanging::new);
        let address = dark.as_ref().map_or(backend.address, |dark| dark.address);
        Self {
            kind,
            setup,
            address,
            _dark: dark,
            subject: Subject::start(kind, setup, address),
            backend,
        }
    }

    fn renew(&mut self) {
        self.subject = Subject::start(self.kind, self.setup, self.address);
    }

    fn judge(&mut self, case: &Case) -> Judged {
        if self.setup.0 == Profile::Fresh {
            self.renew();
        }
        let client = case.protocol(Side::Client);
        let mut was_dead = false;
        let stream = loop {
            // Some subjects connect as soon as they are connected to.
            let framed = case.protocol(Side::Backend) == Protocol::Two;
            let greeting = framed.then(|| case.greeting.clone());
            self.backend.begin(case.plays(), greeting);
            match self.subject.connect(client) {
                Ok(stream) => break stream,
                Err(why) if was_dead => {
                    let verdict = Err(why);
                    self.backend.finish(self.subject.patience());
                    return Judged { verdict, was_dead };
                }
                Err(_) => {
                    was_dead = true;
                    self.backend.finish(self.subject.patience());
                    self.renew();
                }
            }
        };
        let verdict = self.play(case, stream);
        Judged { verdict, was_dead }
    }

    fn play(&mut self, case: &Case, stream: TcpStream) -> Verdict {
        let shared = &self.backend.shared;
        let outcome = client::play(case, stream, shared, self.subject.patience());
        let patience = self.subject.patience();
        let seen = self.backend.finish(patience);
        let outcome = Outcome {
            connections: seen.connections,
            requests: seen.requests,
            unframed: seen.unframed,
            ..outcome
        };
        let verdict = case
            .judge(&outcome)
            .map_err(|why| format!("{why}\nPRINTED {}", self.subject.said()));
        match self.subject.is_alive() {
            true => verdict,
            false => died(),
        }
    }
}
