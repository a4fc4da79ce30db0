//! Event handlers, and the ones that must not be.
//!
//! ```text
//! --event-handler, LB_EVENT_HANDLER (a line each), [gossip] event_handler ─▶ Spec ─▶ would it run its input?
//! ```

use super::document::Table;
use super::flags::Common;
use super::parse;
use super::sources::{Sources, Valued};
use crate::handlers::{Settings, Spec, shell};

/// `encrypted`: only who has a key can send.
pub(super) fn read(
    sources: &Sources<'_>,
    flags: &Common,
    table: &mut Table<'_>,
    encrypted: bool,
) -> Settings {
    // Commas are between types, and in scripts. Of a flag a newline is too.
    let in_flags = !flags.event_handler.is_empty();
    let apart = |text: &str| match in_flags {
        true => vec![text.to_owned()],
        false => text.lines().map(str::to_owned).collect(),
    };
    let specs = sources
        .list(
            "event-handler",
            &flags.event_handler,
            table.texts("event_handler"),
            apart,
            |text| text.trim().parse::<Spec>().map_err(|bad| bad.to_string()),
        )
        .unwrap_or_default();
    let timeout = sources.scalar(
        "handler-timeout",
        &flags.handler_timeout,
        table.text("handler_timeout"),
        parse::duration,
    );
    let insecure = sources.scalar(
        "insecure-handlers",
        &flags.insecure_handlers,
        table.boolean("insecure_handlers"),
        parse::boolean,
    );
    if !encrypted && !insecure.is_some_and(|insecure| insecure.value) {
        specs.iter().for_each(|spec| refuse_open(sources, spec));
    }
    Settings {
        specs: specs.into_iter().map(|spec| spec.value).collect(),
        timeout: timeout.map_or_else(|| Settings::default().timeout, |timeout| timeout.value),
    }
}

/// A shell for everyone who reaches the gossip port.
fn refuse_open(sources: &Sources<'_>, spec: &Valued<Spec>) {
    if let Some(command) = shell::runs_its_input(&spec.value.script) {
        sources.refuse(
            spec,
            format!(
                "{command:?} would run what comes on its stdin, and without encryption anyone can send that; \
                 give --encrypt-key-file, a script that reads its input, or --insecure-handlers if you mean it"
            ),
        );
    }
}
