//! Head and body in one plain write.
//!
//! `writev` costs more than copying a small body: the kernel takes in the list of buffers and
//! copies each part by itself. Large bodies are still not copied.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

/// Up to this many bytes are joined.
const JOINED_BYTES_MAX: usize = 16 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(JOINED_BYTES_MAX));
}

/// Writes some of `slices`, in order.
pub(super) fn poll_write(
    stream: Pin<&mut TcpStream>,
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [only] = slices {
        return stream.poll_write(cx, only);
    }
    let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
    if bytes > JOINED_BYTES_MAX {
        return stream.poll_write_vectored(cx, slices);
    }
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear();
        for slice in slices {
            scratch.extend_from_slice(slice);
        }
        stream.poll_write(cx, scratch)
    })
}
