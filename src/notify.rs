//! Tells the service manager how we are: systemd's `sd_notify`, as far as a program needs it.
//!
//! ```text
//! READY=1 · RELOADING=1 · STOPPING=1 · MAINPID=… · STATUS=… · WATCHDOG=1 ──datagram──▶ $NOTIFY_SOCKET
//! ```
//!
//! Without that variable nothing happens. A manager that does not listen is no reason to stop.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tracing::debug;

use crate::clock;

/// A manager that is slow to read must not stop gossip.
const PATIENCE: Duration = Duration::from_millis(100);

/// We serve; `status` is shown beside.
pub fn ready(status: &str) {
    tell(&format!("READY=1\nSTATUS={status}"));
}

/// The configuration is being read again; [`ready`] says when that is over.
pub fn reloading() {
    tell(&format!(
        "RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=reading the configuration again",
        clock::system_us()
    ));
}

/// The end has begun.
pub fn stopping(status: &str) {
    tell(&format!("STOPPING=1\nSTATUS={status}"));
}

/// Another process is the service from now on.
pub fn main_is(pid: u32) {
    tell(&format!("MAINPID={pid}"));
}

/// Still alive; to be said every [`watchdog`].
pub fn alive() {
    tell("WATCHDOG=1");
}

/// How often the manager wants to hear that we live, with as much again to spare; `None`: never.
pub fn watchdog() -> Option<Duration> {
    let variable = |name| std::env::var(name).ok();
    let us: u64 = variable("WATCHDOG_USEC")?.parse().ok()?;
    let ours = variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
    (ours && us > 0).then(|| Duration::from_micros(us / 2))
}

fn tell(text: &str) {
    let Some(place) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    if let Err(error) = send(&place, text.as_bytes()) {
        debug!("the service manager was not told: {error}");
    }
}

fn send(place: &OsStr, message: &[u8]) -> io::Result<()> {
    let address = match place.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(place)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.send_to_addr(message, &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(by: &UnixDatagram) -> String {
        by.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut bytes = [0; 256];
        let len = by.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..len]).into_owned()
    }

    #[test]
    fn a_manager_is_told_at_a_path_or_in_the_abstract() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let there = UnixDatagram::bind(&path).unwrap();
        let name = format!("lb-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let elsewhere = UnixDatagram::bind_addr(&address).unwrap();

        send(path.as_os_str(), b"READY=1").unwrap();
        send(OsStr::new(&format!("@{name}")), b"STOPPING=1").unwrap();

        assert_eq!(heard(&there), "READY=1");
        assert_eq!(heard(&elsewhere), "STOPPING=1");
    }

    #[test]
    fn a_manager_that_is_gone_is_an_error_and_no_panic() {
        assert!(send(OsStr::new("/nowhere/at/all"), b"READY=1").is_err());
    }
}
