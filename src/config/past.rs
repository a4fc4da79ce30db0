//! What a member takes over from its past: Serf's snapshot, the tags file, and events that it missed.
//!
//! ```text
//! --snapshot --rejoin ─▶ state::snapshot::Settings      --replay ─▶ old events are for us
//! --tags-file ──JSON──▶ tags, in place of --tag
//! ```

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use super::document::Table;
use super::error::cause;
use super::flags::Common;
use super::parse;
use super::sources::{Sources, Valued};
use crate::announce::Tags;
use crate::state::snapshot;

/// Tags fit in 512 bytes; what is far longer is another file.
const TAGS_FILE_BYTES_MAX: u64 = 64 << 10;

/// What was read of it.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) snapshot: Option<snapshot::Settings>,
    pub(super) replay: bool,
    pub(super) tags_file: Option<PathBuf>,
}

/// Reads `table`, which is `[gossip]`, and the other sources. The tags of the file become `tags`.
pub(super) fn read(
    sources: &Sources<'_>,
    flags: &Common,
    table: &mut Table<'_>,
    tags: &mut Vec<(String, Valued<String>)>,
) -> Past {
    let file = sources.scalar(
        "snapshot",
        &flags.snapshot,
        table.text("snapshot"),
        parse::text,
    );
    let rejoin = sources.scalar(
        "rejoin",
        &flags.rejoin,
        table.boolean("rejoin"),
        parse::boolean,
    );
    let replay = sources.scalar(
        "replay",
        &flags.replay,
        table.boolean("replay"),
        parse::boolean,
    );
    let tags_file = sources.scalar(
        "tags-file",
        &flags.tags_file,
        table.text("tags_file"),
        parse::text,
    );
    let is_on = |switch: Option<Valued<bool>>| switch.filter(|switch| switch.value);
    let rejoin = is_on(rejoin);
    if let (Some(rejoin), None) = (&rejoin, &file) {
        sources.warn(format!(
            "{} has no effect without a snapshot; add --snapshot FILE",
            rejoin.at
        ));
    }
    if let Some(file) = &tags_file {
        take_tags(sources, file, tags);
    }
    Past {
        snapshot: file.map(|file| snapshot::Settings {
            path: file.value.into(),
            rejoin: rejoin.is_some(),
        }),
        replay: is_on(replay).is_some(),
        tags_file: tags_file.map(|file| file.value.into()),
    }
}

/// As in Serf, either the configuration has tags or the file has.
fn take_tags(
    sources: &Sources<'_>,
    file: &Valued<String>,
    tags: &mut Vec<(String, Valued<String>)>,
) {
    for (_, tag) in tags.iter() {
        sources.refuse(
            tag,
            "is not allowed while using a tags file; set it once with the verb tags, which writes it there",
        );
    }
    match kept(&file.value) {
        Ok(kept) => {
            *tags = kept
                .into_iter()
                .map(|(name, value)| {
                    let valued = Valued {
                        shown: format!("{name}={value} in {}", file.value),
                        value,
                        at: file.at.clone(),
                    };
                    (name, valued)
                })
                .collect();
        }
        Err(why) => sources.refuse(file, why),
    }
}

/// The tags in a file; none where there is no file yet.
fn kept(path: &str) -> Result<Tags, String> {
    let length = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Tags::new()),
        Err(error) => return Err(cause(&error)),
    };
    if length > TAGS_FILE_BYTES_MAX {
        return Err("is too long for a file of tags".to_owned());
    }
    let text = fs::read_to_string(path).map_err(|error| cause(&error))?;
    serde_json::from_str(&text).map_err(|error| format!("is no JSON object of texts: {error}"))
}
