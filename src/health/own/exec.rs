//! A check that is a command.

use super::Run;
use crate::health::Settings;
use crate::health::check::Seen;
use crate::script::{self, End, Keep, Order};

/// Of its output; the reason is a line of it.
const OUTPUT_BYTES_MAX: usize = 1024;

/// Exit code of a command that works, but sees trouble ahead.
const WARNING: i32 = 1;

/// One run, within `settings.timeout`.
pub(super) async fn run(command: &str, settings: &Settings) -> Run {
    let ran = script::run(&Order {
        command,
        env: &[],
        stdin: &[],
        timeout: settings.timeout,
        keep: Keep::First(OUTPUT_BYTES_MAX),
    })
    .await;
    let said = ran.output.first_line();
    let said = |otherwise: String| {
        if said.is_empty() {
            otherwise
        } else {
            said.clone()
        }
    };
    let result = match &ran.end {
        End::Exited(0) => Ok(said("passed".to_owned())),
        End::Exited(WARNING) => Ok(format!("warning: {}", said(ran.end.to_string()))),
        // Whatever it had said before it hung is not the reason.
        End::TimedOut(_) => Err(ran.end.to_string()),
        _ => Err(said(ran.end.to_string())),
    };
    Run {
        seen: Seen {
            result,
            timed_out: matches!(ran.end, End::TimedOut(_)),
            lost: false,
        },
        leftover: ran.leftover,
    }
}
