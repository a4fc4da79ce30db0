//! The access log's settings.
//!
//! ```text
//! --access-log, LB_ACCESS_LOG, [log] access            ──▶ off, stdout or a file
//! --access-format, LB_ACCESS_FORMAT, [log] access_format ──▶ json or combined
//! ```

use super::document::Table;
use super::sources::Sources;
use super::{flags, parse};
use crate::proxy::access::{Format, Settings, To};

/// `None`: off, the default.
pub(super) fn read(
    sources: &Sources<'_>,
    flags: &flags::Front,
    mut log: Table<'_>,
) -> Option<Settings> {
    let to = sources.scalar("access-log", &flags.access_log, log.text("access"), to);
    let format = sources.scalar(
        "access-format",
        &flags.access_format,
        log.text("access_format"),
        parse::word(Format::WORDS),
    );
    Some(Settings {
        to: to?.value?,
        format: format.map(|format| format.value).unwrap_or_default(),
    })
}

fn to(text: &str) -> parse::Parsed<Option<To>> {
    match text {
        "" => Err("is not a file; give one, or stdout, or off".to_owned()),
        "off" => Ok(None),
        "stdout" => Ok(Some(To::Stdout)),
        path => Ok(Some(To::File(path.into()))),
    }
}
