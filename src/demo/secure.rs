//! A certificate for the demo's own name, and the file that has the front use it.
//!
//! Nobody signed it but itself: `curl -k` takes it, a browser after a warning. All of it ends with the demo.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rand::RngExt;

use crate::clock;

/// A directory with certificate, key and configuration; gone with this.
#[derive(Debug)]
pub(super) struct Secure {
    directory: PathBuf,
    /// Where https is.
    pub(super) address: SocketAddr,
}

impl Secure {
    /// For a front on `address`.
    pub(super) fn new(address: SocketAddr) -> io::Result<Self> {
        let number: u64 = clock::random().random();
        let directory = std::env::temp_dir().join(format!("lb-demo-{number:016x}"));
        // Fails where somebody else has put something there.
        DirBuilder::new().mode(0o700).create(&directory)?;
        let secure = Self { directory, address };
        let names = vec!["localhost".to_owned(), address.ip().to_string()];
        let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
        secure.write("cert.pem", &made.cert.pem())?;
        secure.write("key.pem", &made.signing_key.serialize_pem())?;
        secure.write("lb.toml", &secure.config())?;
        Ok(secure)
    }

    /// What the front is started with.
    pub(super) fn config_file(&self) -> PathBuf {
        self.directory.join("lb.toml")
    }

    fn config(&self) -> String {
        let text = |path: &Path| toml_text(&path.display().to_string());
        format!(
            "[listener.http]\n[listener.https]\nlisten = [\"{}\"]\n[listener.https.tls]\ncert = {}\nkey = {}\n",
            self.address,
            text(&self.directory.join("cert.pem")),
            text(&self.directory.join("key.pem")),
        )
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let path = self.directory.join(name);
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(text.as_bytes())
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        // What is left of it does no harm.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// In quotes.
fn toml_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
