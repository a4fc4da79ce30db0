//! One lazy timer per client connection, and the time as its task sees it.
//!
//! Nearly every wait of a request ends long before its limit, so a timer that is set and
//! cancelled per wait would be most of the timer work. Here a limit that moves later leaves the
//! timer where it is: it fires early, everything that still waits asks again, and it is set anew.
//! The time is read at most once per poll of the task, however many limits are looked at.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::task::Context;
use std::time::Instant;

use tokio::time::Sleep;

use crate::clock;

/// Wakes the task of its connection. Whoever waits asks again at every poll.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    armed: RefCell<Option<Armed>>,
    now: Cell<Option<Instant>>,
}

#[derive(Debug)]
struct Armed {
    sleep: Pin<Box<Sleep>>,
    at: Instant,
    pending: bool,
}

impl Alarm {
    /// The task is polled: time has passed.
    pub(super) fn begin_poll(&self) {
        self.now.set(None);
    }

    /// The time of this poll.
    pub(super) fn now(&self) -> Instant {
        let now = self.now.get().unwrap_or_else(clock::now);
        self.now.set(Some(now));
        now
    }

    /// Has the task polled again at `at`, or before.
    pub(super) fn wake_by(&self, cx: &mut Context<'_>, at: Instant) {
        let mut slot = self.armed.borrow_mut();
        let armed = slot.get_or_insert_with(|| Armed {
            sleep: Box::pin(tokio::time::sleep_until(at.into())),
            at,
            pending: false,
        });
        if armed.pending && armed.at <= at && !armed.sleep.is_elapsed() {
            return;
        }
        // Out of cooperative budget a `Sleep` returns before it has noted whom to wake.
        if !tokio::task::coop::has_budget_remaining() {
            armed.pending = false;
            cx.waker().wake_by_ref();
            return;
        }
        if armed.at != at || armed.sleep.is_elapsed() {
            armed.sleep.as_mut().reset(at.into());
            armed.at = at;
        }
        armed.pending = armed.sleep.as_mut().poll(cx).is_pending();
        if !armed.pending {
            cx.waker().wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;
    use std::time::Duration;

    use super::*;

    async fn wait(alarm: &Alarm, at: Instant) -> Instant {
        poll_fn(|cx| {
            alarm.begin_poll();
            let now = alarm.now();
            if now >= at {
                return Poll::Ready(now);
            }
            alarm.wake_by(cx, at);
            Poll::Pending
        })
        .await
    }

    #[tokio::test]
    async fn it_wakes_for_later_and_for_earlier_limits() {
        let alarm = Alarm::default();
        let start = clock::now();
        let far = start + Duration::from_secs(3600);
        poll_fn(|cx| {
            alarm.wake_by(cx, far);
            Poll::Ready(())
        })
        .await;

        let near = start + Duration::from_millis(5);
        assert!(wait(&alarm, near).await >= near);
        let later = start + Duration::from_millis(12);
        assert!(wait(&alarm, later).await >= later);

        assert!(clock::now() < far);
    }

    #[test]
    fn time_stands_still_within_a_poll() {
        let alarm = Alarm::default();

        let first = alarm.now();
        std::thread::sleep(Duration::from_millis(1));

        assert_eq!(alarm.now(), first);
        alarm.begin_poll();
        assert!(alarm.now() > first);
    }

    #[tokio::test]
    async fn a_limit_that_has_passed_wakes_at_once() {
        let alarm = Alarm::default();
        let mut polls = 0;

        poll_fn(|cx| {
            polls += 1;
            if polls > 2 {
                return Poll::Ready(());
            }
            alarm.wake_by(cx, clock::now());
            Poll::Pending
        })
        .await;

        assert_eq!(polls, 3);
    }
}
