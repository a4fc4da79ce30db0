//! The thread that writes: whatever it waits for, no request does.
//!
//! ```text
//! batches ─▶ lines ─▶ one write for all that is there ─▶ file
//!                         └─ fails: counted, told now and then, and the next line begins on a line of its own
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::super::fault::in_words;
use super::line::Lines;
use super::scribe::Batch;
use super::settings::{Format, To};
use crate::clock;

/// Written at least when so much is there.
const WRITE_MAX: usize = 64 * 1024;

/// Between two warnings about a file that takes nothing.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Clients' addresses and what they ask for are nobody else's business.
const MODE: u32 = 0o640;

/// Where lines end up.
#[derive(Debug)]
pub(super) struct Sink {
    file: File,
    /// What a reopen opens; stdout stays.
    path: Option<PathBuf>,
}

impl Sink {
    /// Opens it to append.
    pub(super) fn open(to: &To) -> io::Result<Self> {
        Ok(match to {
            To::File(path) => Self {
                file: append(path)?,
                path: Some(path.clone()),
            },
            To::Stdout => Self {
                file: io::stdout().as_fd().try_clone_to_owned()?.into(),
                path: None,
            },
        })
    }

    fn name(&self) -> String {
        match &self.path {
            Some(path) => path.display().to_string(),
            None => "stdout".to_owned(),
        }
    }
}

/// Opening a pipe that nobody reads would wait; so it is an error, and only writes may wait.
fn append(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(MODE)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    let flags = fcntl_getfl(&file)?;
    fcntl_setfl(&file, flags & !OFlags::NONBLOCK)?;
    Ok(file)
}

/// Makes lines of batches and writes them.
#[derive(Debug)]
pub(super) struct Writer {
    sink: Sink,
    lines: Lines,
    text: Vec<u8>,
    /// The last write ended within a line.
    torn: bool,
    lost: Arc<AtomicU64>,
    reopen: Arc<AtomicBool>,
    warned: Option<Instant>,
}

impl Writer {
    /// Nothing written yet.
    pub(super) fn new(
        sink: Sink,
        format: Format,
        lost: Arc<AtomicU64>,
        reopen: Arc<AtomicBool>,
    ) -> Self {
        Self {
            sink,
            lines: Lines::new(format),
            text: Vec::new(),
            torn: false,
            lost,
            reopen,
            warned: None,
        }
    }

    /// Writes until nobody is left who could hand over more.
    pub(super) fn run(mut self, queue: &Receiver<Batch>) {
        while let Ok(first) = queue.recv() {
            let mut next = Some(first);
            while let Some(batch) = next {
                if self.reopen.swap(false, Ordering::Acquire) {
                    self.write();
                    self.reopen();
                }
                for entry in batch {
                    self.lines.put(&entry, &mut self.text);
                    if self.text.len() >= WRITE_MAX {
                        self.write();
                    }
                }
                next = queue.try_recv().ok();
            }
            self.write();
        }
    }

    fn reopen(&mut self) {
        let Some(path) = &self.sink.path else {
            return;
        };
        match append(path) {
            Ok(file) => {
                self.sink.file = file;
                self.torn = false;
                tracing::info!(path = %path.display(), "access log reopened");
            }
            Err(error) => {
                let error = in_words(&error);
                tracing::warn!(path = %path.display(), %error, "access log not reopened; the old file is kept");
            }
        }
    }

    fn write(&mut self) {
        let mut text = std::mem::take(&mut self.text);
        if !text.is_empty() {
            self.write_all(&text);
        }
        text.clear();
        self.text = text;
    }

    fn write_all(&mut self, text: &[u8]) {
        if self.torn && !matches!(self.sink.file.write(b"\n"), Ok(1)) {
            return self.lose(text, &io::ErrorKind::WriteZero.into());
        }
        self.torn = false;
        let mut rest = text;
        while !rest.is_empty() {
            let error = match self.sink.file.write(rest) {
                Ok(bytes) if bytes > 0 => {
                    rest = &rest[bytes..];
                    continue;
                }
                Ok(_) => io::ErrorKind::WriteZero.into(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            let written = text.len() - rest.len();
            self.torn = written > 0 && text[written - 1] != b'\n';
            return self.lose(rest, &error);
        }
    }

    fn lose(&mut self, rest: &[u8], error: &io::Error) {
        let lines = memchr::memchr_iter(b'\n', rest).count() as u64;
        self.lost.fetch_add(lines, Ordering::Relaxed);
        let now = clock::now();
        let told = |at: Instant| now.saturating_duration_since(at) < WARN_EVERY;
        if !self.warned.is_some_and(told) {
            self.warned = Some(now);
            let error = in_words(error);
            tracing::warn!(path = %self.sink.name(), %error, "access log takes no lines; they are lost");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(path: &Path) -> Writer {
        let sink = Sink::open(&To::File(path.to_owned())).unwrap();
        Writer::new(sink, Format::Json, Arc::default(), Arc::default())
    }

    #[test]
    fn a_torn_line_does_not_spoil_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut writer = writer(&path);
        writer.write_all(b"one\ntw");
        writer.torn = true;

        writer.write_all(b"three\n");

        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntw\nthree\n");
    }

    #[test]
    fn lines_that_a_full_disk_refuses_are_counted() {
        let mut writer = writer(Path::new("/dev/full"));

        writer.write_all(b"one\ntwo\n");

        assert_eq!(writer.lost.load(Ordering::Relaxed), 2);
        assert!(!writer.torn);
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).unwrap();

        let opened = Sink::open(&To::File(path));

        assert!(opened.is_err());
    }
}
