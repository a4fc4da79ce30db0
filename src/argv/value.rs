//! What a text of the command line becomes.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::PathBuf;

/// A type that one text becomes.
pub trait Value: Sized {
    /// The value.
    ///
    /// # Errors
    /// What is wrong with the text, as it goes on behind it.
    fn read(text: &OsStr) -> Result<Self, String>;
}

/// What a flag fills.
pub trait Field {
    /// Takes one text; of a flag without a value, `true`.
    ///
    /// # Errors
    /// As [`Value::read`].
    fn take(&mut self, text: &OsStr) -> Result<(), String>;

    /// It may be given again.
    fn is_many(&self) -> bool {
        false
    }
}

impl<T: Value> Field for T {
    fn take(&mut self, text: &OsStr) -> Result<(), String> {
        *self = T::read(text)?;
        Ok(())
    }
}

impl<T: Value> Field for Option<T> {
    fn take(&mut self, text: &OsStr) -> Result<(), String> {
        *self = Some(T::read(text)?);
        Ok(())
    }
}

impl<T: Value> Field for Vec<T> {
    fn take(&mut self, text: &OsStr) -> Result<(), String> {
        self.push(T::read(text)?);
        Ok(())
    }

    fn is_many(&self) -> bool {
        true
    }
}

impl Value for OsString {
    fn read(text: &OsStr) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl Value for PathBuf {
    fn read(text: &OsStr) -> Result<Self, String> {
        Ok(Self::from(text))
    }
}

impl Value for String {
    fn read(text: &OsStr) -> Result<Self, String> {
        utf8(text).map(str::to_owned)
    }
}

/// As Go's flags take them.
impl Value for bool {
    fn read(text: &OsStr) -> Result<Self, String> {
        match utf8(text)? {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err("is neither true nor false".to_owned()),
        }
    }
}

macro_rules! parsed {
    ($($type:ty),*) => {$(
        impl Value for $type {
            fn read(text: &OsStr) -> Result<Self, String> {
                utf8(text)?.parse().map_err(|why| format!("{why}"))
            }
        }
    )*};
}

parsed!(u8, u64, usize, SocketAddr);

/// The text, where it is one.
fn utf8(text: &OsStr) -> Result<&str, String> {
    text.to_str().ok_or_else(|| "is not UTF-8 text".to_owned())
}
