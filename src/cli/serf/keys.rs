//! `keys` and `keygen`.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::show::{columns, json, note, put, tame};
use super::{Deed, Failed, Outcome, Rpc, Voice};
use crate::argv::table;
use crate::cli::exit;
use crate::clock;
use crate::gossip::core::serf::keys::KeyReport;
use crate::rpc::client::KeyChange;

table! {
    /// What `keys` takes: one of the first four.
    pub(super) struct Keys {
        /// Add a key to every member; it opens, and does not seal yet
        install: Option<String> => "--install <@FILE|-|KEY>",
        /// Have every member seal with this key, which all must have
        r#use: Option<String> => "--use <@FILE|-|KEY>",
        /// Remove a key, which must not be the one in use
        remove: Option<String> => "--remove <@FILE|-|KEY>",
        /// List the keys, and how many members have each
        list: bool => "--list",
        /// With --list: as JSON
        json: bool => "--json",
        with rpc: Rpc,
    }
}

/// Longest text of a key, with room for mistakes.
const KEY_BYTES_MAX: u64 = 4096;

impl Deed for Keys {
    fn check(&self) -> Result<(), &'static str> {
        let keys = [&self.install, &self.r#use, &self.remove];
        let given = keys.iter().filter(|key| key.is_some()).count() + usize::from(self.list);
        match given {
            1 => Ok(()),
            0 => Err("one of --install, --use, --remove and --list is missing"),
            _ => Err("--install, --use, --remove and --list exclude one another"),
        }
    }

    fn run(self: Box<Self>, voice: Voice) -> Outcome {
        let Self {
            install,
            r#use,
            remove,
            list,
            ..
        } = &*self;
        let given = install.as_ref().or(r#use.as_ref()).or(remove.as_ref());
        let key = given.map(|text| key(voice, text)).transpose()?;
        let key = key.as_deref().unwrap_or_default();
        let (change, begin, end, failed) = if *list {
            let begin = "Asking all members for installed keys...";
            let end = "Keys gathered, listing cluster keys...";
            (KeyChange::List, begin, end, "Failed to gather member keys")
        } else if install.is_some() {
            let begin = "Installing key on all members...";
            let end = "Successfully installed key!";
            (KeyChange::Install(key), begin, end, "Error installing key")
        } else if r#use.is_some() {
            let begin = "Changing primary key on all members...";
            let end = "Successfully changed primary key!";
            (
                KeyChange::Use(key),
                begin,
                end,
                "Error changing primary key",
            )
        } else {
            let begin = "Removing key on all members...";
            let end = "Successfully removed key!";
            (KeyChange::Remove(key), begin, end, "Error removing key")
        };
        let mut client = voice.connect(&self.rpc)?;
        let info = |text: &str| {
            if !self.json {
                put(format_args!("==> {text}"));
            }
        };
        info(begin);
        let outcome = client.keys(change).map_err(voice.told(failed))?;
        if let (report, Some(why)) = &outcome {
            return Err(unsuccessful(voice, report, failed, why));
        }
        info(end);
        let (report, _) = outcome;
        if self.json {
            put(json(&serde_json::json!({
                "keys": report.keys, "nodes": report.nodes, "responses": report.responses,
            })));
        } else if *list {
            put("");
            let rows = report.keys.iter();
            let rows =
                rows.map(|(key, have)| vec![key.clone(), format!("[{have}/{}]", report.nodes)]);
            put(columns(&rows.collect::<Vec<_>>()));
        }
        Ok(())
    }
}

/// Which members failed, and why; 3 where it worked for some.
fn unsuccessful(voice: Voice, report: &KeyReport, doing: &str, why: &str) -> Failed {
    let rows = report.messages.iter();
    let rows = rows.map(|(node, why)| vec!["failed:".to_owned(), tame(node), tame(why)]);
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        let _ =
            std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{}\n", columns(&rows)));
    }
    let failed = voice.failed(format_args!("{doing}: {why}"));
    let worked = report.responses.saturating_sub(report.errors);
    if worked > 0 {
        Failed(exit::PARTIAL)
    } else {
        failed
    }
}

/// The key as it is written: in a file, on stdin, or, as Serf has it, in argv.
fn key(voice: Voice, text: &str) -> Result<String, Failed> {
    let read = match text.strip_prefix('@') {
        _ if text == "-" => read(std::io::stdin().lock()),
        Some(path) => std::fs::File::open(path).and_then(read),
        None => {
            note(
                voice.program,
                "a key in the command line is seen by everyone who can list processes; give it as @FILE, or - for stdin",
            );
            return Ok(text.to_owned());
        }
    };
    match read {
        Ok(key) => Ok(key.trim().to_owned()),
        Err(error) => Err(voice.usage(format_args!("{text}: {error}"))),
    }
}

fn read(from: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    from.take(KEY_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

table! {
    /// What `keygen` takes: nothing.
    pub(super) struct Keygen {}
}

impl Deed for Keygen {
    /// 32 bytes of the operating system's randomness, which is what a generator is seeded with.
    fn run(self: Box<Self>, _: Voice) -> Outcome {
        put(STANDARD.encode(clock::random().get_seed()));
        Ok(())
    }
}
