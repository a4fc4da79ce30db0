//! The RPC's address and its secret.
//!
//! ```text
//! --rpc-addr, LB_RPC_ADDR, [gossip] rpc_addr ───────────────────▶ address, and whether it was asked for
//! --rpc-auth-key-file, LB_RPC_AUTH_KEY_FILE, rpc_auth_key_file ─▶ path ─read─┐
//! LB_RPC_AUTH_KEY ──────────────────────────────────────────────▶ text ──────┴─▶ Secret
//! ```
//!
//! Whoever may use the RPC can make this member leave, change its tags, and run the scripts of every node that
//! answers queries. So only loopback is served without a secret.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use super::defaults;
use super::document::Table;
use super::error::{At, cause};
use super::flags::Common;
use super::parse;
use super::sources::{Sources, Valued};
use crate::rpc::{Secret, Settings};

/// Nobody types more, and a device or a wrong file is not read to its end.
const SECRET_BYTES_MAX: u64 = 4096;

/// Others may read it.
const WORLD_READABLE: u32 = 0o004;

/// Reads what `table`, which is `[gossip]`, and the other sources say.
pub(super) fn read(sources: &Sources<'_>, flags: &Common, table: &mut Table<'_>) -> Settings {
    let address = sources.scalar(
        "rpc-addr",
        &flags.rpc_addr,
        table.text("rpc_addr"),
        super::address::rpc,
    );
    let auth = auth(sources, flags, table);
    let Some(address) = address else {
        return Settings {
            auth: auth.ok().flatten(),
            ..defaults::rpc()
        };
    };
    if let (Some(listen), Ok(None)) = (address.value, &auth)
        && !listen.ip().is_loopback()
    {
        sources.refuse(
            &address,
            "lets whoever reaches it command this member and the whole cluster; give --rpc-auth-key-file FILE, or bind it to 127.0.0.1",
        );
    }
    Settings {
        listen: address.value,
        given: is_asked_for(&address),
        auth: auth.ok().flatten(),
    }
}

/// A sample file that writes the default out does not insist on it.
fn is_asked_for(address: &Valued<Option<SocketAddr>>) -> bool {
    matches!(address.at, At::Flag(_) | At::Variable(_)) || address.value != defaults::rpc().listen
}

/// The secret, if there is one; `Err` where it can't be read, which is noted.
fn auth(
    sources: &Sources<'_>,
    flags: &Common,
    table: &mut Table<'_>,
) -> Result<Option<Secret>, ()> {
    let file = table.text("rpc_auth_key_file");
    let given = &flags.rpc_auth_key_file;
    let in_file = file.is_some();
    let path = sources.scalar("rpc-auth-key-file", given, file, parse::text);
    let secret = sources.variable("rpc-auth-key");
    let path_variable = sources.variable("rpc-auth-key-file");
    if let (Some(secret), Some(path), None) = (&secret, &path_variable, given) {
        sources.conflict(format!(
            "{} and {} are both set; drop one",
            secret.at, path.at
        ));
        return Err(());
    }
    // Flag over environment over file, as everywhere.
    if given.is_none()
        && let Some(secret) = secret
    {
        return Ok(Some(Secret::new(secret.text)));
    }
    let Some(path) = path else {
        let said = given.is_some() || in_file || path_variable.is_some();
        return if said { Err(()) } else { Ok(None) };
    };
    match of_file(&path.value) {
        Ok((secret, world_readable)) => {
            if world_readable {
                sources.warn(format!(
                    "{}: everyone on this machine can read {}; chmod 600 it",
                    path.at, path.value
                ));
            }
            Ok(Some(secret))
        }
        Err(why) => {
            sources.refuse(&path, why);
            Err(())
        }
    }
}

/// The secret of a file, and whether everyone can read that.
pub(super) fn of_file(path: &str) -> Result<(Secret, bool), String> {
    let metadata = fs::metadata(path).map_err(|error| cause(&error))?;
    if !metadata.is_file() || metadata.len() > SECRET_BYTES_MAX {
        return Err("is no file with a secret in it; write one line".to_owned());
    }
    let text = fs::read_to_string(path).map_err(|error| cause(&error))?;
    // An editor ends a line; the secret has none.
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err("is empty; write the secret into it, as one line".to_owned()),
        secret if secret.contains('\n') => {
            Err("has several lines; write the secret as one line".to_owned())
        }
        secret => Ok((
            Secret::new(secret),
            metadata.permissions().mode() & WORLD_READABLE != 0,
        )),
    }
}
