//! The five ways in which a call fails, and how PostgreSQL's and sqlx's errors become one of them.
//! The difference between "nothing was written" and "nobody knows" is made in `transaction.rs`; here only what the server said is sorted.

use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Nothing was written: a constraint was broken.
    #[error("statement {statement} breaks the constraint `{constraint}`")]
    Conflict {
        /// Name of the constraint in the database; the column's name for NOT NULL.
        constraint: String,
        /// Index of the statement; the last one if the constraint was deferred to the commit.
        statement: u32,
    },
    /// Nothing was written: a statement met another number of rows than expected.
    #[error("statement {statement} met another number of rows than expected")]
    Stale {
        /// Index of the statement.
        statement: u32,
    },
    /// Nothing was written: no connection, no free connection in time, or the server gave up. Trying again may help.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The connection was lost at a moment at which the transaction may have been committed.
    #[error("it is not known whether the transaction took place: {0}")]
    Uncertain(String),
    /// Nothing was written: a statement or a parameter is wrong. Trying again does not help.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// The word for metrics.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "conflict",
            Self::Stale { .. } => "stale",
            Self::Unavailable(_) => "unavailable",
            Self::Uncertain(_) => "uncertain",
            Self::Invalid(_) => "invalid",
        }
    }
}

/// What a failed step means, whatever the step was.
#[derive(Debug, PartialEq)]
pub(crate) enum Failure {
    /// The server said no and undid the transaction; the session lives on.
    Refused(Error),
    /// The server undid the transaction because of others (or because a plan is out of date); the same again may go well.
    Again {
        /// For metrics and for the message when there were too many.
        reason: &'static str,
        /// Whether the prepared statements must be thrown away first.
        forget_statements: bool,
    },
    /// The connection is gone or in an unknown state. What was in flight may have happened.
    Lost(String),
}

impl Failure {
    /// Sorts an error that happened while statement number `index` was running.
    pub(crate) fn of(error: &sqlx::Error, index: u32) -> Self {
        match error {
            sqlx::Error::Database(database) => match database.try_downcast_ref::<PgDatabaseError>() {
                Some(database) => Self::said(database, index),
                None => Self::Lost(database.to_string()),
            },
            sqlx::Error::Encode(error) => Self::Refused(Error::Invalid(format!("statement {index}: {error}"))),
            // Everything else means that the two sides no longer agree on where they are.
            other => Self::Lost(other.to_string()),
        }
    }

    fn said(error: &PgDatabaseError, index: u32) -> Self {
        // FATAL and PANIC end the session. They may arrive after the commit, so they say nothing about the transaction.
        if matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic) {
            return Self::Lost(format!("{} ({})", error.message(), error.code()));
        }
        let constraint = error.constraint().or(error.column());
        Self::sort(error.code(), error.message(), constraint, index)
    }

    /// Sorts by SQLSTATE, <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
    fn sort(code: &str, message: &str, constraint: Option<&str>, index: u32) -> Self {
        let class = code.get(..2).unwrap_or_default();
        match (class, code) {
            (_, "40001") => Self::Again { reason: "serialization_failure", forget_statements: false },
            (_, "40P01") => Self::Again { reason: "deadlock", forget_statements: false },
            (_, "0A000") if message.contains("cached plan must not change result type") => {
                Self::Again { reason: "stale_plan", forget_statements: true }
            }
            // A trigger can raise an integrity error without naming a constraint: then its message is the best name.
            ("23", _) => Self::Refused(Error::Conflict {
                constraint: constraint.unwrap_or(message).to_owned(),
                statement: index,
            }),
            // 08 connection, 53 resources, 57 operator intervention (57014 is the statement time-out), 58 the machine below,
            // 55P03 lock not available, 25006 a standby that cannot write, 25P03 idle in a transaction for too long.
            ("08" | "53" | "57" | "58", _) | (_, "55P03" | "25006" | "25P03") => {
                Self::Refused(Error::Unavailable(format!("{message} ({code})")))
            }
            _ => Self::Refused(Error::Invalid(format!("statement {index}: {message} ({code})"))),
        }
    }
}

/// What it means that no connection could be had. Nothing was sent, so nothing was written.
pub(crate) fn not_connected(error: &sqlx::Error) -> Error {
    match error {
        sqlx::Error::PoolTimedOut => Error::Unavailable("no connection became free in time".to_owned()),
        sqlx::Error::PoolClosed => Error::Unavailable("the pool is closed".to_owned()),
        sqlx::Error::Database(database) => {
            Error::Unavailable(format!("{} ({})", database.message(), database.code().unwrap_or_default()))
        }
        other => Error::Unavailable(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted() {
        let sort = |code| Failure::sort(code, "message", Some("name"), 2);
        assert_eq!(sort("23505"), Failure::Refused(Error::Conflict { constraint: "name".to_owned(), statement: 2 }));
        assert!(matches!(sort("40P01"), Failure::Again { .. }));
        assert!(matches!(sort("40001"), Failure::Again { .. }));
        for code in ["57014", "53300", "57P03", "55P03", "08006"] {
            assert!(matches!(sort(code), Failure::Refused(Error::Unavailable(_))), "{code}");
        }
        for code in ["42601", "42501", "22P02", "0A000", "22003", ""] {
            assert!(matches!(sort(code), Failure::Refused(Error::Invalid(_))), "{code}");
        }
        let stale = Failure::sort("0A000", "cached plan must not change result type", None, 0);
        assert_eq!(stale, Failure::Again { reason: "stale_plan", forget_statements: true });
    }

    #[test]
    fn a_broken_connection_is_lost() {
        let error = sqlx::Error::Io(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
        assert!(matches!(Failure::of(&error, 0), Failure::Lost(_)));
        assert!(matches!(not_connected(&error), Error::Unavailable(_)));
    }
}
