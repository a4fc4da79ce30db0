//! The one function that turns all opinions about one backend into a verdict.

use std::fmt;

/// A backend's state as shown to operators. `Display` is the word of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Joined, no check has answered yet.
    Unproven,
    /// In.
    Up,
    /// Its checks, connects or node say it is down.
    Down,
    /// No new requests.
    Drain,
    /// Out for maintenance.
    Maint,
    /// Taken out because of real traffic.
    Ejected,
    /// Gossip lost its agent, but it answers: still in.
    Lost,
    /// Can't be used: bad tag, forbidden address.
    Unusable,
    /// Another member owns its address.
    Shadowed,
}

impl State {
    /// All states, in order, for metrics.
    pub const ALL: [Self; 9] = [
        Self::Unproven,
        Self::Up,
        Self::Down,
        Self::Drain,
        Self::Maint,
        Self::Ejected,
        Self::Lost,
        Self::Unusable,
        Self::Shadowed,
    ];
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unproven => "unproven",
            Self::Up => "up",
            Self::Down => "down",
            Self::Drain => "drain",
            Self::Maint => "maint",
            Self::Ejected => "ejected",
            Self::Lost => "lost",
            Self::Unusable => "unusable",
            Self::Shadowed => "shadowed",
        })
    }
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Takes new requests.
    pub in_rotation: bool,
    /// State.
    pub state: State,
    /// For a person: "check http:/ passed", "connection refused by 10.0.0.2:80 (2 checks)", …
    pub reason: String,
    /// Effective weight.
    pub weight: u16,
    /// Tier.
    pub tier: u8,
    /// Backup.
    pub backup: bool,
}
