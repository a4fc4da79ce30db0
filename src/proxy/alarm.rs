//! One lazy timer per client connection.
//!
//! Nearly every wait of a request ends long before its limit, so a timer that is set and
//! cancelled per wait would be most of the timer work. Here a limit that moves later leaves the
//! timer where it is: it fires early, everything that still waits asks again, and it is set anew.

use std::cell::Cell;
use std::pin::Pin;
use std::task::Context;
use std::time::Instant;

use tokio::time::Sleep;

/// Wakes the task of its connection. Whoever waits asks again at every poll.
#[derive(Default)]
pub(super) struct Alarm(Cell<Option<Box<Armed>>>);

#[derive(Debug)]
struct Armed {
    sleep: Pin<Box<Sleep>>,
    at: Instant,
    pending: bool,
}

impl Alarm {
    /// Nobody waits by it for now: frees a timer that has fired, or is another task's.
    pub(super) fn rest(&self) {
        let armed = self.0.take();
        self.0
            .set(armed.filter(|armed| armed.pending && !armed.sleep.is_elapsed()));
    }

    /// It was set.
    pub(super) fn has_timer(&mut self) -> bool {
        self.0.get_mut().is_some()
    }

    /// For another task, which sets it anew.
    pub(super) fn hand_over(mut self) -> Self {
        if let Some(armed) = self.0.get_mut() {
            armed.pending = false;
        }
        self
    }

    /// Has the task polled again at `at`, or before.
    pub(super) fn wake_by(&self, cx: &mut Context<'_>, at: Instant) {
        let armed = self.0.take();
        let mut armed = armed.unwrap_or_else(|| {
            Box::new(Armed {
                sleep: Box::pin(tokio::time::sleep_until(at.into())),
                at,
                pending: false,
            })
        });
        armed.wake_by(cx, at);
        self.0.set(Some(armed));
    }
}

impl Armed {
    fn wake_by(&mut self, cx: &mut Context<'_>, at: Instant) {
        if self.pending && self.at <= at && !self.sleep.is_elapsed() {
            return;
        }
        // Out of cooperative budget a `Sleep` returns before it has noted whom to wake.
        if !tokio::task::coop::has_budget_remaining() {
            self.pending = false;
            cx.waker().wake_by_ref();
            return;
        }
        // One that is early, and was another task's, stays where it is too.
        if self.at > at || self.sleep.is_elapsed() {
            self.sleep.as_mut().reset(at.into());
            self.at = at;
        }
        self.pending = self.sleep.as_mut().poll(cx).is_pending();
        if !self.pending {
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
    use crate::clock;

    fn is_set(alarm: &Alarm) -> bool {
        let armed = alarm.0.take();
        let is_set = armed.is_some();
        alarm.0.set(armed);
        is_set
    }

    async fn wait(alarm: &Alarm, at: Instant) -> Instant {
        poll_fn(|cx| {
            let now = clock::now();
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

    #[tokio::test]
    async fn only_a_fired_timer_is_freed() {
        let alarm = Alarm::default();
        let at = clock::now() + Duration::from_millis(5);
        poll_fn(|cx| {
            alarm.wake_by(cx, at);
            Poll::Ready(())
        })
        .await;

        alarm.rest();
        assert!(is_set(&alarm));

        wait(&alarm, at).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        alarm.rest();
        assert!(!is_set(&alarm));
    }

    #[tokio::test]
    async fn one_that_was_another_tasks_wakes_the_next() {
        let alarm = Alarm::default();
        let start = clock::now();
        let first = async {
            poll_fn(|cx| {
                alarm.wake_by(cx, start + Duration::from_millis(5));
                Poll::Ready(())
            })
            .await;
            alarm
        };
        let alarm = tokio::task::LocalSet::new()
            .run_until(first)
            .await
            .hand_over();

        let at = start + Duration::from_millis(12);

        assert!(wait(&alarm, at).await >= at);
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
