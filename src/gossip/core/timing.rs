//! Timing profiles, as memberlist's `config.go` and Serf's `config.go` have them.

use std::time::Duration;

/// Which set of constants.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// One data centre. The default.
    #[default]
    Lan,
    /// Across data centres.
    Wan,
    /// Loopback.
    Local,
}

/// Every interval and multiplier of a member.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// Between two probes.
    pub probe_interval: Duration,
    /// Until a direct ack is missed and indirect probes go out.
    pub probe_timeout: Duration,
    /// How many members are asked to probe on our behalf.
    pub indirect_checks: usize,
    /// See `suspicion`.
    pub suspicion_mult: u32,
    /// See `suspicion`.
    pub suspicion_max_timeout_mult: u32,
    /// Transmissions of a broadcast: `retransmit_mult × ceil(log10(n + 1))`.
    pub retransmit_mult: u32,
    /// Between two gossip ticks.
    pub gossip_interval: Duration,
    /// Members gossiped to per tick.
    pub gossip_nodes: usize,
    /// How long the dead are still told what we say of them.
    pub gossip_to_the_dead: Duration,
    /// Between two full exchanges, before scaling by cluster size.
    pub push_pull_interval: Duration,
    /// Deadline of one stream.
    pub stream_timeout: Duration,
    /// Awareness runs from 0 to this less one.
    pub awareness_max: u32,
    /// Bytes of a packet before encryption overhead.
    pub packet_bytes: usize,
    /// How long `leave` waits for a broadcast to be spread.
    pub broadcast_timeout: Duration,
    /// How long a leaving member stays up after its last broadcast.
    pub leave_propagate_delay: Duration,
    /// Between two runs of the reaper.
    pub reap_interval: Duration,
    /// Between two tries to reach a failed member.
    pub reconnect_interval: Duration,
    /// Between two questions to those who failed lately; `None`: as Serf, which asks nobody.
    pub recall_interval: Option<Duration>,
    /// How long a failed member is kept.
    pub reconnect_timeout: Duration,
    /// How long a left member is kept.
    pub tombstone_timeout: Duration,
    /// How long an intent for an unknown name is kept.
    pub recent_intent_timeout: Duration,
    /// From then on a process is running, and our name taken is no reason to end it.
    pub starting: Duration,
}

impl Timing {
    /// The constants of `profile`.
    ///
    /// Source: memberlist `DefaultLANConfig`, `DefaultWANConfig`, `DefaultLocalConfig`; serf `DefaultConfig`.
    pub fn of(profile: Profile) -> Self {
        let lan = Self {
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_millis(500),
            indirect_checks: 3,
            suspicion_mult: 4,
            suspicion_max_timeout_mult: 6,
            retransmit_mult: 4,
            gossip_interval: Duration::from_millis(200),
            gossip_nodes: 3,
            gossip_to_the_dead: Duration::from_secs(30),
            push_pull_interval: Duration::from_secs(30),
            stream_timeout: Duration::from_secs(10),
            awareness_max: 8,
            packet_bytes: 1400,
            broadcast_timeout: Duration::from_secs(5),
            leave_propagate_delay: Duration::from_secs(1),
            reap_interval: Duration::from_secs(15),
            reconnect_interval: Duration::from_secs(30),
            recall_interval: Some(Duration::from_secs(1)),
            reconnect_timeout: Duration::from_secs(24 * 3600),
            tombstone_timeout: Duration::from_secs(24 * 3600),
            recent_intent_timeout: Duration::from_secs(300),
            starting: Duration::from_secs(10),
        };
        match profile {
            Profile::Lan => lan,
            Profile::Wan => Self {
                probe_interval: Duration::from_secs(5),
                probe_timeout: Duration::from_secs(3),
                suspicion_mult: 6,
                gossip_interval: Duration::from_millis(500),
                gossip_nodes: 4,
                gossip_to_the_dead: Duration::from_secs(60),
                push_pull_interval: Duration::from_secs(60),
                recall_interval: Some(Duration::from_secs(5)),
                stream_timeout: Duration::from_secs(30),
                ..lan
            },
            Profile::Local => Self {
                probe_timeout: Duration::from_millis(200),
                indirect_checks: 1,
                suspicion_mult: 3,
                retransmit_mult: 2,
                gossip_interval: Duration::from_millis(100),
                gossip_to_the_dead: Duration::from_secs(15),
                push_pull_interval: Duration::from_secs(15),
                stream_timeout: Duration::from_secs(1),
                ..lan
            },
        }
    }
}
