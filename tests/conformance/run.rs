//! Runs cases: per configuration some lanes, each a subject with a backend of its own, one case at a time.

use std::net::SocketAddr;
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
                    let backend = Backend::start();
                    let (address, _dark) = way(own.0, &backend);
                    let mut subject = Subject::start(kind, own, address);
                    while let Some(index) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if own.0 == Profile::Fresh {
                            subject = Subject::start(kind, own, address);
                        }
                        let verdict = one(&cases[*index], &mut subject, &backend);
                        *verdicts[*index].lock().expect("no panic") = verdict;
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

/// Where the subject's backend is, and what is to be kept for as long.
fn way(profile: Profile, backend: &Backend) -> (SocketAddr, Option<Hanging>) {
    match profile {
        Profile::Dark => {
            let hanging = Hanging::new();
            (hanging.address, Some(hanging))
        }
        _ => (backend.address, None),
    }
}

/// Judges rules about time once more, one by one: what was too slow may have been this machine.
fn again(cases: &[Case], verdicts: &mut [Verdict]) {
    for (case, verdict) in cases.iter().zip(verdicts) {
        if case.profile.is_impatient() && verdict.is_err() {
            let backend = Backend::start();
            let (address, _dark) = way(case.profile, &backend);
            let mut subject = Subject::start(Kind::Ours, setup(case), address);
            *verdict = one(case, &mut subject, &backend);
        }
    }
}

fn one(case: &Case, subject: &mut Subject, backend: &Backend) -> Verdict {
    let address = subject.ready(case.protocol(Side::Client))?;
    backend.begin(case.plays(), case.greeting.clone());
    let outcome = client::play(case, address, &backend.shared, subject.patience());
    let seen = backend.finish();
    let outcome = Outcome {
        connections: seen.connections,
        requests: seen.requests,
        unframed: seen.unframed,
        ..outcome
    };
    let verdict = case.judge(&outcome);
    match subject.is_alive() {
        true => verdict,
        false => Err("the subject died".to_owned()),
    }
}
