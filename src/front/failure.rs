//! Why a front does not start, in one line, and its exit code.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use super::plan::Unresolved;
use crate::gossip::driver::{NameTaken, StartError};
use crate::{membership, proxy, rpc, state};

/// What went wrong, with what to do about it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{source}{hint}", hint = hint(source))]
    Proxy {
        #[from]
        source: proxy::BindError,
    },
    #[error("admin cannot listen on {address}: {source}; choose another with --admin")]
    Admin {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("{0}; let this user write there, or choose another with --access-log")]
    Access(#[from] proxy::access::OpenError),
    #[error(transparent)]
    Rpc(#[from] rpc::BindError),
    #[error(transparent)]
    Gossip(#[from] StartError),
    #[error("{}", membership::taken(&.0.name, .0.holder))]
    Name(NameTaken),
    #[error(transparent)]
    State(#[from] state::Busy),
    #[error(transparent)]
    Snapshot(#[from] state::snapshot::Unusable),
    #[error(transparent)]
    Backend(#[from] Unresolved),
    #[error(transparent)]
    Upgrade(#[from] super::upgrade::Unfit),
    #[error("{what} cannot be started: {source}")]
    System {
        what: &'static str,
        source: io::Error,
    },
}

impl Failure {
    /// 2 where the same command would fail again, 1 where a restart may help.
    pub(super) fn exit_code(&self) -> ExitCode {
        let again = match self {
            Self::Proxy { source } => !matches!(source, proxy::BindError::Busy { .. }),
            Self::Admin { source, .. } => source.kind() != io::ErrorKind::AddrInUse,
            Self::Name(_) => return ExitCode::from(NAME_CONFLICT),
            Self::Access(error) => matches!(error, proxy::access::OpenError::File { .. }),
            Self::Rpc(error) => error.is_configuration(),
            Self::Snapshot(_) => true,
            Self::Gossip(error) => membership::is_configuration(error),
            Self::Upgrade(_) => true,
            // A name server that does not answer yet is the usual cause.
            Self::Backend(_) | Self::State(_) | Self::System { .. } => false,
        };
        ExitCode::from(if again { USAGE } else { FAILED })
    }
}

fn hint(error: &proxy::BindError) -> String {
    match error {
        proxy::BindError::Denied { .. } => {
            let program = std::env::current_exe()
                .map_or_else(|_| "lb".to_owned(), |path| path.display().to_string());
            format!(
                "; allow it once with `sudo setcap cap_net_bind_service=+ep {program}`, or choose another port: --listen :8080"
            )
        }
        proxy::BindError::Busy { address, .. } => {
            format!(
                "; stop it, or choose another port: --listen :{}",
                address.port().wrapping_add(8000)
            )
        }
        proxy::BindError::Stray { .. } => {
            "; give the socket unit FileDescriptorName= with a listener's name, or a listener that address".to_owned()
        }
        proxy::BindError::Other { .. } => {
            "; choose an address of this machine with --listen".to_owned()
        }
    }
}

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const NAME_CONFLICT: u8 = 4;
