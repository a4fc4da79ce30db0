//! Connections that cost memory: idle ones, and ones that read slowly.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

use crate::cost;
use crate::failure::{During, Failure};
use crate::load::request;
use crate::wire::{Tls, Wire};

/// Memory before and with the connections, in kB.
pub(crate) struct Growth {
    pub(crate) before: u64,
    pub(crate) with: u64,
}

/// `count` keep-alive connections that have each had one answer of 128 bytes and wait since a second.
///
/// # Errors
/// A connection fails, or an answer is none.
pub(crate) fn idle(pid: u32, port: u16, count: usize, tls: &Tls) -> Result<Growth, Failure> {
    let before = cost::memory(pid);
    let mut held = Vec::with_capacity(count);
    for at in 0..count {
        let stream = connect(port, None).during(format_args!("connection {at} of {count}"))?;
        let mut stream = Wire::new(stream, tls);
        ask(&mut stream).during(format_args!("connection {at} of {count}"))?;
        held.push(stream);
    }
    sleep(Duration::from_secs(1));
    let with = cost::memory(pid);
    Ok(Growth { before, with })
}

/// `count` clients that have asked for 1 MiB and take 4 KiB of it ten times a second, for three seconds. The
/// highest memory seen is the figure.
///
/// # Errors
/// A connection fails or ends early.
pub(crate) fn slow(pid: u32, port: u16, count: usize) -> Result<Growth, Failure> {
    let before = cost::memory(pid);
    let mut held = Vec::new();
    for at in 0..count {
        // A small window of their own, so that bytes wait in the proxy and not in the client's kernel.
        let mut stream = connect(port, Some(16 * 1024)).during(format_args!("reader {at}"))?;
        stream
            .write_all(&request("/1m", false))
            .during(format_args!("reader {at}"))?;
        held.push(stream);
    }
    let mut with = 0;
    let mut scratch = [0; 4096];
    for _ in 0..30 {
        for (at, stream) in held.iter_mut().enumerate() {
            stream
                .read_exact(&mut scratch)
                .during(format_args!("reader {at}"))?;
        }
        with = with.max(cost::memory(pid));
        sleep(Duration::from_millis(100));
    }
    Ok(Growth { before, with })
}

fn connect(port: u16, window: Option<usize>) -> io::Result<TcpStream> {
    let socket = net::socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // A reset at the end: thousands of TIME_WAIT would stay for minutes.
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    if let Some(bytes) = window {
        sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
    }
    net::connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

fn ask(stream: &mut Wire) -> io::Result<()> {
    stream.write_all(&request("/", false))?;
    let mut answer = Vec::new();
    let mut scratch = [0; 2048];
    while !(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(&[b'x'; 128])) {
        let read = stream.read(&mut scratch)?;
        if read == 0 {
            return Err(io::Error::other("closed before the end of the answer"));
        }
        answer.extend_from_slice(&scratch[..read]);
    }
    Ok(())
}
