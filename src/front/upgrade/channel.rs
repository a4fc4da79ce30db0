//! Words with descriptors, over one socket of a pair.
//!
//! ```text
//! Word ─▶ JSON in one packet (SOCK_SEQPACKET) + descriptors (SCM_RIGHTS) ─▶ Word, descriptors (close-on-exec)
//! ```

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::sockopt::{socket_domain, socket_type};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

use super::{DESCRIPTORS_MAX, Word};

/// Far more than a word takes.
const BYTES_MAX: usize = 64 << 10;

/// One end.
#[derive(Debug)]
pub(super) struct Channel(
    /// Only its readiness is asked for, and that is the same question for any socket.
    UnixDatagram,
);

/// A connected pair: ours, and one to give away.
pub(super) fn pair() -> io::Result<(Channel, OwnedFd)> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    Ok((Channel::new(ours)?, theirs))
}

/// Whether a descriptor is an end of such a pair. Nobody else gives a program one as its stdin.
pub(super) fn is_one(descriptor: impl AsFd) -> bool {
    socket_type(&descriptor).is_ok_and(|kind| kind == SocketType::SEQPACKET)
        && socket_domain(&descriptor).is_ok_and(|domain| domain == AddressFamily::UNIX)
}

impl Channel {
    /// An end that was given to us. Needs a tokio runtime.
    pub(super) fn new(end: OwnedFd) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixDatagram::from(end);
        socket.set_nonblocking(true)?;
        Ok(Self(UnixDatagram::from_std(socket)?))
    }

    pub(super) async fn say(&self, word: &Word) -> io::Result<()> {
        self.say_with(word, &[]).await
    }

    /// The same with at most [`DESCRIPTORS_MAX`] descriptors.
    pub(super) async fn say_with(
        &self,
        word: &Word,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let bytes = serde_json::to_vec(word)?;
        self.0
            .async_io(Interest::WRITABLE, || {
                send(self.0.as_fd(), &bytes, descriptors)
            })
            .await
    }

    /// The next word; an error when the other one has ended.
    pub(super) async fn hear(&self) -> io::Result<(Word, Vec<OwnedFd>)> {
        let receive = || receive(self.0.as_fd());
        let (bytes, descriptors) = self.0.async_io(Interest::READABLE, receive).await?;
        if bytes.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has ended"));
        }
        Ok((serde_json::from_slice(&bytes)?, descriptors))
    }
}

fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors in one word"));
    }
    sendmsg(
        socket,
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

fn receive(socket: BorrowedFd<'_>) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = vec![0; BYTES_MAX];
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    bytes.truncate(received.bytes);
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    Ok((bytes, descriptors))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, Write};

    use rustix::io::{FdFlags, fcntl_getfd};

    use super::super::Place;
    use super::*;

    #[tokio::test]
    async fn a_word_brings_its_descriptors_and_no_child_gets_them() {
        let (ours, theirs) = pair().unwrap();
        let theirs = Channel::new(theirs).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"here").unwrap();
        file.rewind().unwrap();
        let places = vec![Place::Admin, Place::Lock];

        ours.say_with(&Word::Take { places }, &[file.as_fd(), file.as_fd()])
            .await
            .unwrap();
        let (word, descriptors) = theirs.hear().await.unwrap();

        assert!(matches!(word, Word::Take { places } if places.len() == 2));
        assert_eq!(descriptors.len(), 2);
        for descriptor in &descriptors {
            assert!(fcntl_getfd(descriptor).unwrap().contains(FdFlags::CLOEXEC));
        }
        let mut text = String::new();
        let first = descriptors.into_iter().next().unwrap();
        File::from(first).read_to_string(&mut text).unwrap();
        assert_eq!(text, "here");
    }

    #[tokio::test]
    async fn the_end_of_the_other_is_heard() {
        let (ours, theirs) = pair().unwrap();
        drop(theirs);

        let heard = ours.hear().await.unwrap_err();

        assert_eq!(heard.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_programs_have_as_stdin_is_not_one() {
        assert!(!is_one(File::open("/dev/null").unwrap()));
        let (stream, _) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(!is_one(stream));
    }
}
