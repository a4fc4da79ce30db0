//! The keys of encrypted gossip: from a file or a variable, never from argv, never shown.
//!
//! ```text
//! --encrypt-key-file, LB_ENCRYPT_KEY_FILE, [gossip] encrypt_key_file ─▶ path ─read─┐
//! LB_ENCRYPT_KEY ──────────────────────────────────────────────────────▶ text ────┴─▶ Keyring
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;

use super::document::Found;
use super::error::cause;
use super::parse;
use super::sources::Sources;
use crate::gossip::core::keyring::Keyring;

/// More than hundreds of keys; so that a device or a wrong file is not read to its end.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Others may read it.
const WORLD_READABLE: u32 = 0o004;

/// The way out of most faults.
const FIX: &str = "write one base64 key a line, of 16, 24 or 32 bytes, as `serf keygen` makes them";

/// What was said about keys.
#[derive(Debug)]
pub(super) enum Keys {
    /// Nothing.
    None,
    /// A ring.
    Ring(Keyring),
    /// Something that can't be used; the fault is noted.
    Faulty,
}

impl Keys {
    pub(super) fn ring(self) -> Option<Keyring> {
        match self {
            Self::Ring(keyring) => Some(keyring),
            Self::None | Self::Faulty => None,
        }
    }
}

/// Reads the file that wins, or the variable with the key itself.
pub(super) fn read(sources: &Sources<'_>, given: &Option<String>, file: Option<Found>) -> Keys {
    let in_file = file.is_some();
    let path = sources.scalar("encrypt-key-file", given, file, parse::text);
    let key = sources.variable("encrypt-key");
    let path_variable = sources.variable("encrypt-key-file");
    if let (Some(key), Some(path), None) = (&key, &path_variable, given) {
        sources.conflict(format!("{} and {} are both set; drop one", key.at, path.at));
        return Keys::Faulty;
    }
    // Flag over environment over file, as everywhere; a key in the environment belongs to the middle.
    if given.is_none()
        && let Some(key) = key
    {
        return match Keyring::parse(&key.text) {
            Ok(keyring) => Keys::Ring(keyring),
            Err(error) => {
                sources
                    .faults
                    .value(&key.at, "…", format!("{error}; {FIX}"));
                Keys::Faulty
            }
        };
    }
    let Some(path) = path else {
        let said = given.is_some() || in_file || path_variable.is_some();
        return if said { Keys::Faulty } else { Keys::None };
    };
    match of_file(&path.value) {
        Ok((keyring, world_readable)) => {
            if world_readable {
                sources.warn(format!(
                    "{}: everyone on this machine can read {}; chmod 600 it",
                    path.at, path.value
                ));
            }
            Keys::Ring(keyring)
        }
        Err(why) => {
            sources.refuse(&path, why);
            Keys::Faulty
        }
    }
}

/// The keys of a file, and whether everyone can read it.
fn of_file(path: &str) -> Result<(Keyring, bool), String> {
    let (text, mode) = text_of(path).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "permission denied; let the user that runs this read it".to_owned()
        }
        io::ErrorKind::IsADirectory => format!("is no file; {FIX}"),
        _ => format!("{}; {FIX}", cause(&error)),
    })?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("is too large for a file of keys; {FIX}"));
    }
    let keyring = Keyring::parse(&text).map_err(|error| format!("{error}; {FIX}"))?;
    Ok((keyring, mode & WORLD_READABLE != 0))
}

fn text_of(path: &str) -> io::Result<(String, u32)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    Ok((text, metadata.permissions().mode()))
}
