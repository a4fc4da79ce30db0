//! IP networks: whom a setting means.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A CIDR network, `10.0.0.0/8`; a bare address is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Base address.
    pub base: IpAddr,
    /// Prefix length in bits.
    pub prefix: u8,
}

/// A text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadNetwork {
    /// No address before the slash.
    #[error("{0:?} is not a network; write it like 10.0.0.0/8")]
    Address(String),
    /// The part after the slash.
    #[error("{text:?} has no usable prefix length; 0 to {bits} bits fit")]
    Prefix {
        /// The whole text.
        text: String,
        /// Bits of the address.
        bits: u8,
    },
    /// Bits are set behind the prefix, so one of the two is a mistake.
    #[error("{text:?} has bits set behind its prefix; the network is {meant}")]
    Host {
        /// The whole text.
        text: String,
        /// The network that it lies in.
        meant: Network,
    },
}

impl Network {
    /// Whether `ip` lies in it; an IPv4-mapped address is an IPv4 address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let base = self.base.to_canonical();
        base.is_ipv4() == ip.is_ipv4() && masked(ip, self.prefix) == masked(base, self.prefix)
    }
}

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let (ip, prefix) = match text.split_once('/') {
            Some((ip, prefix)) => (ip, Some(prefix)),
            None => (text, None),
        };
        let base: IpAddr = ip
            .parse()
            .map_err(|_| BadNetwork::Address(text.to_owned()))?;
        let bits = if base.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(prefix) => prefix
                .parse()
                .ok()
                .filter(|prefix| *prefix <= bits)
                .ok_or_else(|| BadNetwork::Prefix {
                    text: text.to_owned(),
                    bits,
                })?,
        };
        let meant = Self {
            base: masked(base, prefix),
            prefix,
        };
        if meant.base != base {
            let text = text.to_owned();
            return Err(BadNetwork::Host { text, meant });
        }
        Ok(meant)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", masked(self.base, self.prefix), self.prefix)
    }
}

/// `ip` with the bits behind the prefix cleared.
fn masked(ip: IpAddr, prefix: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX
                .checked_shl(32_u32.saturating_sub(prefix.into()))
                .unwrap_or(0);
            IpAddr::V4((ip.to_bits() & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX
                .checked_shl(128_u32.saturating_sub(prefix.into()))
                .unwrap_or(0);
            IpAddr::V6((ip.to_bits() & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_parsed_and_shown_alike() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "10.1.2.3/32", "fd00::/8", "::/0"] {
            let network: Network = text.parse().unwrap();
            assert_eq!(network.to_string(), text);
            assert!(network.contains(network.base));
        }
        assert_eq!("10.0.0.1".parse::<Network>().unwrap().prefix, 32);
    }

    #[test]
    fn the_network_of_an_interface_contains_its_neighbours() {
        let of_interface = Network {
            base: "10.0.3.7".parse().unwrap(),
            prefix: 24,
        };

        assert!(of_interface.contains("10.0.3.200".parse().unwrap()));
        assert!(!of_interface.contains("10.0.4.7".parse().unwrap()));
        assert!(!of_interface.contains("::1".parse().unwrap()));
        assert_eq!(of_interface.to_string(), "10.0.3.0/24");
    }

    #[test]
    fn what_is_no_network_is_refused_with_what_was_meant() {
        for (text, said) in [
            ("", "\"\" is not a network; write it like 10.0.0.0/8"),
            (
                "ten/8",
                "\"ten/8\" is not a network; write it like 10.0.0.0/8",
            ),
            (
                "10.0.0.0/33",
                "\"10.0.0.0/33\" has no usable prefix length; 0 to 32 bits fit",
            ),
            (
                "::/",
                "\"::/\" has no usable prefix length; 0 to 128 bits fit",
            ),
            (
                "10.1.0.0/8",
                "\"10.1.0.0/8\" has bits set behind its prefix; the network is 10.0.0.0/8",
            ),
        ] {
            let error = text.parse::<Network>().unwrap_err();
            assert_eq!(error.to_string(), said);
        }
    }
}
