//! From configuration to pool plans: all that can fail, before anything is committed.
//!
//! ```text
//! Cluster ──resolve static backends──▶ Spec ─┐
//! interfaces ──networks, own addresses──▶ Trust ├──▶ PoolPlan
//! ```

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::secure::Checks;
use crate::announce::State;
use crate::config::Cluster;
use crate::discovery::Trust;
use crate::health::secure::Secure;
use crate::network::Network;
use crate::pool::registry::StaticBackend;
use crate::pool::spec::{Spec, Standing, UpstreamId};

/// One pool with what only the wiring knows of it.
#[derive(Clone, Debug)]
pub(super) struct PoolPlan {
    /// As configured.
    pub(super) cluster: Cluster,
    /// Backends of flags and file, resolved.
    pub(super) statics: Vec<Spec>,
    /// Which gossip addresses may be backends.
    pub(super) trust: Trust,
    /// Who makes checks over TLS.
    pub(super) secure: Arc<dyn Secure>,
}

/// A static backend whose name leads nowhere.
#[derive(Debug, thiserror::Error)]
#[error("backend {address:?} of pool {pool}: {cause}; give an address that resolves, as HOST:PORT")]
pub(super) struct Unresolved {
    /// As configured.
    pub(super) address: String,
    /// Pool.
    pub(super) pool: String,
    /// Resolver's words.
    pub(super) cause: String,
}

/// The static backends of each of `clusters`, in order.
///
/// # Errors
/// [`Unresolved`] for the first one that has no address.
pub(super) async fn statics(
    clusters: &[Cluster],
    listeners: &[SocketAddr],
) -> Result<Vec<Vec<Spec>>, Unresolved> {
    let own = own_addresses(&interfaces(), listeners);
    let mut statics = Vec::with_capacity(clusters.len());
    for cluster in clusters {
        let mut specs = Vec::with_capacity(cluster.pool.backends.len());
        for backend in &cluster.pool.backends {
            let mut spec = static_spec(&cluster.pool.name, backend).await?;
            if is_own(spec.address, &own, listeners) {
                spec.unusable =
                    Some("it is our own listener: requests would go in circles".to_owned());
            }
            specs.push(spec);
        }
        statics.push(specs);
    }
    Ok(statics)
}

/// Plans for `clusters` with their `statics`, in order; can't fail.
pub(super) fn plans(
    clusters: &[Cluster],
    statics: Vec<Vec<Spec>>,
    gossip: SocketAddr,
    listeners: &[SocketAddr],
) -> Vec<PoolPlan> {
    let interfaces = interfaces();
    let own = own_addresses(&interfaces, listeners);
    let plan = |(cluster, statics): (&Cluster, Vec<Spec>)| {
        let networks = match cluster.backend_networks.as_slice() {
            [] => network_of(&interfaces, gossip.ip()).into_iter().collect(),
            given => given.to_vec(),
        };
        let trust = Trust {
            networks,
            loopback: gossip.ip().is_loopback(),
            own: own.clone(),
        };
        PoolPlan {
            secure: Arc::new(Checks(cluster.tls.clone())),
            cluster: cluster.clone(),
            statics,
            trust,
        }
    };
    clusters.iter().zip(statics).map(plan).collect()
}

/// A wildcard listener has every loopback address, of which the interfaces show one.
fn is_own(address: SocketAddr, own: &[SocketAddr], listeners: &[SocketAddr]) -> bool {
    let wildcard = |listener: &&SocketAddr| {
        listener.ip().is_unspecified() && listener.port() == address.port()
    };
    let looped = address.ip().is_loopback() && listeners.iter().any(|each| wildcard(&each));
    own.contains(&address) || looped
}

async fn static_spec(pool: &str, backend: &StaticBackend) -> Result<Spec, Unresolved> {
    let unresolved = |cause: String| Unresolved {
        address: backend.address.clone(),
        pool: pool.to_owned(),
        cause,
    };
    let found = tokio::time::timeout(RESOLVE_MAX, tokio::net::lookup_host(&backend.address)).await;
    let address = match found {
        Err(_) => {
            return Err(unresolved(format!(
                "no name server answered within {RESOLVE_MAX:?}"
            )));
        }
        Ok(Err(error)) => return Err(unresolved(error.to_string())),
        Ok(Ok(mut addresses)) => addresses
            .next()
            .ok_or_else(|| unresolved("the name has no address".to_owned()))?,
    };
    Ok(Spec {
        id: UpstreamId {
            node: backend.address.as_str().into(),
            service: pool.into(),
        },
        address,
        weight: backend.weight,
        tier: backend.tier,
        backup: backend.backup,
        check: None,
        proto: None,
        announced: State::Ready,
        standing: Standing::Static,
        joined: 0,
        unusable: None,
        warnings: Vec::new(),
    })
}

/// Every local address with the length of its network's prefix.
fn interfaces() -> Vec<(IpAddr, u8)> {
    let found = if_addrs::get_if_addrs().unwrap_or_default();
    found
        .into_iter()
        .map(|interface| match interface.addr {
            if_addrs::IfAddr::V4(v4) => (IpAddr::V4(v4.ip), v4.prefixlen),
            if_addrs::IfAddr::V6(v6) => (IpAddr::V6(v6.ip), v6.prefixlen),
        })
        .collect()
}

/// The network of the interface that carries `address`; none behind a translated address.
fn network_of(interfaces: &[(IpAddr, u8)], address: IpAddr) -> Option<Network> {
    // 127.0.0.2 is on no interface by that name, but 127.0.0.1/8 covers it.
    let exact = interfaces.iter().find(|(ip, _)| *ip == address);
    let covering = || {
        interfaces.iter().find(|(ip, prefix)| {
            Network {
                base: *ip,
                prefix: *prefix,
            }
            .contains(address)
        })
    };
    let (base, prefix) = exact.or_else(covering)?;
    Some(Network {
        base: *base,
        prefix: *prefix,
    })
}

/// Where requests would come back to ourselves: a wildcard listener listens on every local address.
fn own_addresses(interfaces: &[(IpAddr, u8)], listeners: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut own = Vec::new();
    for listener in listeners {
        if listener.ip().is_unspecified() {
            own.extend(
                interfaces
                    .iter()
                    .map(|(ip, _)| SocketAddr::new(*ip, listener.port())),
            );
        } else {
            own.push(*listener);
        }
    }
    own
}

/// A name server that takes longer holds up a start or a reload for nothing.
const RESOLVE_MAX: std::time::Duration = std::time::Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Vec<(IpAddr, u8)> {
        vec![
            ("127.0.0.1".parse().unwrap(), 8),
            ("10.0.0.5".parse().unwrap(), 24),
        ]
    }

    #[test]
    fn the_gossip_interface_gives_the_network() {
        let network = network_of(&local(), "10.0.0.5".parse().unwrap()).unwrap();

        assert!(network.contains("10.0.0.9".parse().unwrap()));
        assert!(!network.contains("10.0.1.9".parse().unwrap()));
    }

    #[test]
    fn any_loopback_address_is_on_the_loopback_network() {
        let network = network_of(&local(), "127.0.0.7".parse().unwrap()).unwrap();

        assert!(network.contains("127.9.9.9".parse().unwrap()));
    }

    #[test]
    fn a_translated_address_limits_nothing() {
        assert_eq!(network_of(&local(), "198.51.100.1".parse().unwrap()), None);
    }

    #[test]
    fn a_static_backend_that_is_our_own_listener_is_told_apart() {
        let listeners = ["[::]:80".parse().unwrap()];
        let own = own_addresses(&local(), &listeners);

        for ours in ["127.0.0.1:80", "127.0.0.9:80", "10.0.0.5:80"] {
            assert!(is_own(ours.parse().unwrap(), &own, &listeners), "{ours}");
        }
        for other in ["127.0.0.1:81", "10.0.0.6:80"] {
            assert!(!is_own(other.parse().unwrap(), &own, &listeners), "{other}");
        }
    }

    #[test]
    fn a_wildcard_listener_owns_every_local_address() {
        let own = own_addresses(
            &local(),
            &[
                "[::]:80".parse().unwrap(),
                "127.0.0.1:9901".parse().unwrap(),
            ],
        );

        assert_eq!(
            own,
            ["127.0.0.1:80", "10.0.0.5:80", "127.0.0.1:9901"].map(|text| text.parse().unwrap())
        );
    }
}
