//! The three ways in which a call fails, and how the client's errors become one of them.

use redis::{ErrorKind, RedisError};

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The command did not run: Redis cannot be reached, is loading, or refuses all writes. Trying again may help.
    #[error("redis is not available: {0}")]
    Unavailable(String),
    /// No answer came after the command was sent: it may have run.
    #[error("it is not known whether redis ran the command: {0}")]
    Uncertain(String),
    /// The script, its arguments or the reply are wrong, or the script raised an error. Trying again does not help.
    #[error("{0}")]
    Invalid(String),
}

/// Whether a command changes data. If not, a lost answer is harmless.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Effect {
    Reads,
    Writes,
}

/// Answers that say "not now" and not "wrong". The server gives them before a command has changed anything; within a script only for its
/// first write (`scriptCall` in Redis's `script.c`).
const NOT_NOW: [&str; 9] =
    ["LOADING", "BUSY", "MISCONF", "READONLY", "OOM", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "NOREPLICAS"];

impl Error {
    /// Sorts an error that came back for a command that was handed to a live connection.
    pub(crate) fn after_send(error: &RedisError, effect: Effect) -> Self {
        match error.kind() {
            ErrorKind::Server(_) | ErrorKind::Extension => {
                Self::said(error.code().unwrap_or_default(), error.to_string())
            }
            ErrorKind::Client | ErrorKind::UnexpectedReturnType | ErrorKind::InvalidClientConfig => {
                Self::Invalid(error.to_string())
            }
            // Broken connection, time-out, or an answer that cannot be read.
            _ => match effect {
                Effect::Reads => Self::Unavailable(error.to_string()),
                Effect::Writes => Self::Uncertain(error.to_string()),
            },
        }
    }

    fn said(code: &str, message: String) -> Self {
        if NOT_NOW.contains(&code) { Self::Unavailable(message) } else { Self::Invalid(message) }
    }

    /// The word for metrics.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Uncertain(_) => "uncertain",
            Self::Invalid(_) => "invalid",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_sorted() {
        for code in NOT_NOW {
            assert!(matches!(Error::said(code, String::new()), Error::Unavailable(_)));
        }
        for code in ["ERR", "WRONGTYPE", "NOPERM", ""] {
            assert!(matches!(Error::said(code, String::new()), Error::Invalid(_)));
        }
        let lost = RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        assert!(matches!(Error::after_send(&lost, Effect::Writes), Error::Uncertain(_)));
        assert!(matches!(Error::after_send(&lost, Effect::Reads), Error::Unavailable(_)));
    }
}
