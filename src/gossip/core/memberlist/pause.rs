//! We may be the sick one: after a pause of ours nobody is blamed for what we did not hear.
//!
//! ```text
//! a timer is far too late ─▶ slept ─┬─▶ the probe under way starts over
//!                                   ├─▶ suspicions are extended by the pause
//!                                   └─▶ awareness rises, nothing is counted
//! ```
//!
//! Go's memberlist does nothing of the kind: a stopped process that is continued declares its suspects dead at once.

use std::time::{Duration, Instant};

use super::{Delegate, Memberlist, Timer};

/// Timers later than this, or than their period if that is longer, were not waited for but slept through.
pub(crate) const PAUSE_MIN: Duration = Duration::from_millis(200);

impl Memberlist {
    /// We slept for `pause`, until `now`.
    pub(crate) fn slept(&mut self, now: Instant, pause: Duration, delegate: &mut dyn Delegate) {
        self.stats.pauses += 1;
        self.awareness.apply(1);
        let mut suspects = Vec::new();
        let accused = self.nodes.iter().filter(|node| node.suspicion.is_some());
        let accused: Vec<String> = accused.map(|node| node.name.to_string()).collect();
        for name in accused {
            let Some(suspicion) = self
                .nodes
                .get_mut(&name)
                .and_then(|node| node.suspicion.as_mut())
            else {
                continue;
            };
            suspicion.extend(pause);
            self.timers
                .set(Timer::Suspicion(name.clone()), suspicion.deadline());
            suspects.push(name);
        }
        self.restart_probe(now, delegate);
        self.forget_asked();
        tracing::warn!(?pause, ?suspects, "we slept; nobody is blamed for it");
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::gossip::core::io::Config;
    use crate::gossip::core::member::Status;
    use crate::gossip::core::node::Node;
    use crate::gossip::core::timing::{Profile, Timing};
    use crate::gossip::core::wire::message::{Accusation, Alive, Message, WireAddr};

    const OTHER: ([u8; 4], u16) = ([10, 0, 0, 2], 7946);

    /// A node that knows another, and a clock turned by hand.
    struct World {
        now: Instant,
        node: Node,
    }

    impl World {
        fn new() -> Self {
            let now = crate::clock::now();
            let config = Config {
                claim: true,
                name: "us".to_owned(),
                advertise: SocketAddr::from(([10, 0, 0, 1], 7946)),
                tags: Default::default(),
                timing: Timing::of(Profile::Lan),
                compress: false,
                keyring: None,
            };
            let random = ChaCha8Rng::seed_from_u64(1);
            let node = Node::new(config, now, random).expect("no tags");
            let mut world = Self { now, node };
            world.hear(&Message::Alive(Alive {
                incarnation: 1,
                node: "other".to_owned(),
                addr: WireAddr::of(SocketAddr::from(OTHER)),
                meta: vec![],
                vsn: [1, 5, 2, 2, 5, 4],
            }));
            world
        }

        fn hear(&mut self, message: &Message) {
            let from = SocketAddr::from(OTHER);
            self.node.handle_packet(self.now, from, &message.encode());
        }

        fn accuse(&mut self) {
            self.hear(&Message::Suspect(Accusation {
                incarnation: 1,
                node: "other".to_owned(),
                from: "third".to_owned(),
            }));
        }

        /// Lives through `span`, every timer in time.
        fn live(&mut self, span: Duration) {
            let end = self.now + span;
            while let Some(due) = self.node.poll_timeout().filter(|due| *due <= end) {
                self.now = self.now.max(due);
                self.node.handle_timeout(self.now);
                while self.node.poll_transmit().is_some() {}
            }
            self.now = end;
        }

        fn sleep(&mut self, span: Duration) {
            self.now += span;
            self.node.handle_timeout(self.now);
        }

        fn status(&self) -> Status {
            self.node.members().by_name["other"].status
        }

        fn is_suspect(&self) -> bool {
            self.node.members().by_name["other"].suspect
        }
    }

    #[test]
    fn a_suspicion_is_extended_by_our_pause_and_runs_out_in_the_end() {
        let mut world = World::new();
        world.accuse();
        world.live(Duration::from_secs(2));

        world.sleep(Duration::from_secs(60));
        assert_eq!(world.status(), Status::Alive);
        assert_eq!(world.node.stats().pauses, 1);
        assert!(world.node.stats().health_score >= 1);

        // Two of its four seconds were left.
        world.live(Duration::from_millis(1500));
        assert_eq!(world.status(), Status::Alive);
        world.live(Duration::from_millis(1000));
        assert_eq!(world.status(), Status::Failed);
    }

    #[test]
    fn a_probe_that_we_slept_through_starts_over_and_accuses_nobody_at_once() {
        let mut world = World::new();
        while world.node.stats().probes == 0 {
            world.live(Duration::from_millis(10));
        }

        world.sleep(Duration::from_secs(60));
        assert!(!world.is_suspect());
        assert_eq!(world.node.stats().probes_failed, 0);

        // Now it has had its chance. One doubts oneself first: the probe takes twice its time.
        world.live(Duration::from_secs(3));
        assert!(world.is_suspect());
    }

    #[test]
    fn the_ack_that_lay_in_our_socket_while_we_slept_counts() {
        let mut world = World::new();
        let seq_no = loop {
            world.now += Duration::from_millis(10);
            world.node.handle_timeout(world.now);
            let sent = std::iter::from_fn(|| world.node.poll_transmit());
            let ping = sent
                .flat_map(|transmit| crate::gossip::core::wire::packet::open(&transmit.packet))
                .find_map(|message| match message {
                    Ok(Message::Ping(ping)) => Some(ping.seq_no),
                    _ => None,
                });
            if let Some(seq_no) = ping {
                break seq_no;
            }
        };

        world.now += Duration::from_secs(60);
        world.hear(&Message::Ack(crate::gossip::core::wire::message::Ack {
            seq_no,
            payload: None,
        }));
        world.node.handle_timeout(world.now);

        assert_eq!(world.node.poll_ack(), Some(("other".to_owned(), world.now)));
        assert_eq!(world.node.stats().pauses, 1);
        assert!(!world.is_suspect());
    }

    #[test]
    fn a_timer_that_is_a_little_late_is_no_pause() {
        let mut world = World::new();
        for _ in 0..100 {
            world.now += Duration::from_millis(190);
            world.node.handle_timeout(world.now);
        }

        assert_eq!(world.node.stats().pauses, 0);
    }
}
