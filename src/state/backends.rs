//! `backends.json`: what a front knew of its pools.
//!
//! ```text
//! {"version":1,"machine":"…","pools":{"web":[{"node":"web1","address":"10.0.0.1:80","weight":1,…}]}}
//! ```
//!
//! What a node said of its own state is not kept: only who is ready is saved at all.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Saved;
use crate::announce::State;
use crate::pool::spec::{Spec, Standing, UpstreamId};

const VERSION: u32 = 1;

/// As announced weights.
const WEIGHTS: std::ops::RangeInclusive<u16> = 1..=1000;

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    machine: Option<String>,
    pools: BTreeMap<String, Vec<Backend>>,
}

#[derive(Serialize, Deserialize)]
struct Backend {
    node: String,
    address: SocketAddr,
    weight: u16,
    tier: u8,
    backup: bool,
    /// `None`: the pool's.
    check: Option<String>,
    /// `None`: the pool's.
    proto: Option<String>,
    joined: u64,
}

pub(super) fn text(saved: &Saved<BTreeMap<String, Vec<Spec>>>) -> String {
    let backend = |spec: &Spec| Backend {
        node: spec.id.node.to_string(),
        address: spec.address,
        weight: spec.weight,
        tier: spec.tier,
        backup: spec.backup,
        check: spec.check.as_ref().map(ToString::to_string),
        proto: spec.proto.as_ref().map(ToString::to_string),
        joined: spec.joined,
    };
    let pools = saved
        .content
        .iter()
        .map(|(pool, specs)| (pool.clone(), specs.iter().map(backend).collect()))
        .collect();
    let document = Document {
        version: VERSION,
        machine: saved.machine.clone(),
        pools,
    };
    let mut text = serde_json::to_string_pretty(&document)
        .expect("texts and numbers under texts can be written as JSON");
    text.push('\n');
    text
}

pub(super) fn parse(text: &str) -> Result<Saved<BTreeMap<String, Vec<Spec>>>, String> {
    let document: Document = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if document.version != VERSION {
        return Err(format!("version {} is not known", document.version));
    }
    let mut content: BTreeMap<String, Vec<Spec>> = BTreeMap::new();
    for (pool, backends) in document.pools {
        let specs = backends
            .into_iter()
            .map(|backend| spec(&pool, backend))
            .collect::<Result<_, _>>()?;
        content.insert(pool, specs);
    }
    Ok(Saved {
        machine: document.machine,
        content,
    })
}

fn spec(pool: &str, backend: Backend) -> Result<Spec, String> {
    let Backend { node, address, .. } = &backend;
    let wrong = |what: &str| Err(format!("backend {node:?} at {address}: {what}"));
    if address.port() == 0 {
        return wrong("port 0");
    }
    if !WEIGHTS.contains(&backend.weight) {
        return wrong(&format!("weight {}", backend.weight));
    }
    let check = match backend.check.as_deref().map(str::parse) {
        Some(Err(_)) => return wrong("its check can't be read"),
        Some(Ok(check)) => Some(check),
        None => None,
    };
    let proto = match backend.proto.as_deref().map(str::parse) {
        Some(Err(_)) => return wrong("its protocol can't be read"),
        Some(Ok(proto)) => Some(proto),
        None => None,
    };
    Ok(Spec {
        id: UpstreamId {
            node: node.as_str().into(),
            service: pool.into(),
        },
        address: *address,
        weight: backend.weight,
        tier: backend.tier,
        backup: backend.backup,
        check,
        proto,
        announced: State::Ready,
        standing: Standing::Saved,
        joined: backend.joined,
        unusable: None,
        warnings: Vec::new(),
    })
}
