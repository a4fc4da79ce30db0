//! What went wrong, for the one who typed the command.

use std::fmt::{self, Display, Formatter};

/// One lower-case phrase with the value that was wrong.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Says during what an error came up.
pub(crate) trait During<T> {
    fn during(self, what: impl Display) -> Result<T, Failure>;
}

impl<T, E: Display> During<T> for Result<T, E> {
    fn during(self, what: impl Display) -> Result<T, Failure> {
        self.map_err(|error| Failure(format!("{what}: {error}")))
    }
}
