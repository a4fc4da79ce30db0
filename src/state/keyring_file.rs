//! The keys as Serf's `-keyring-file` keeps them: a JSON list, the primary one first.
//!
//! ```text
//! keyring ─▶ FILE.tmp (0600) ─ fsync ─▶ rename, where a link leads
//! ```
//!
//! Read by `crate::config`, since at the start they are settings like others. Serf writes in place; a file of keys that
//! ends in its middle keeps a node out of its cluster.

use std::io;
use std::path::Path;

use super::file;
use crate::gossip::core::keyring::Keyring;

/// Replaces the file.
///
/// # Errors
/// The system's.
pub fn write(path: &Path, keyring: &Keyring) -> io::Result<()> {
    let real = std::fs::canonicalize(path);
    let path = real.as_deref().unwrap_or(path);
    file::replace(path, keyring.to_json().as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const KEYS: &str =
        "[\"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3\",\"tDtuy7Kl/mktI0I4uxaNMixEdCC/vnjmNNEC8BHRjxw=\"]";

    #[test]
    fn a_link_to_the_file_stays_one_and_nobody_else_may_read_the_keys() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, link) = (
            directory.path().join("keyring.json"),
            directory.path().join("link"),
        );
        std::fs::write(&path, "old").expect("written");
        std::os::unix::fs::symlink(&path, &link).expect("linked");
        let keyring = Keyring::parse(KEYS).expect("keys");

        write(&link, &keyring).expect("it is written");

        assert!(link.is_symlink());
        let text = std::fs::read_to_string(&path).expect("text");
        assert_eq!(Keyring::parse(&text).expect("keys"), keyring);
        let mode = std::fs::metadata(&path).expect("there").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }
}
