//! The four ways in which a mail fails. Which one an SMTP error is depends on how far the mail had got: see `mailer.rs`.

/// Why a mail was not sent, or may not have been.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Not sent: an address or a header is malformed.
    #[error("the mail is malformed: {0}")]
    Invalid(String),
    /// Not sent: the server refused this mail for good (5xx).
    #[error("the mail server refused the mail: {0}")]
    Rejected(String),
    /// Not sent: the server cannot be reached or says later (4xx). Trying again may help.
    #[error("the mail server is not available: {0}")]
    Unavailable(String),
    /// The connection was lost after the mail was handed over: it may have been sent.
    #[error("it is not known whether the mail was sent: {0}")]
    Uncertain(String),
}

impl Error {
    /// The word for metrics.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::Rejected(_) => "rejected",
            Self::Unavailable(_) => "unavailable",
            Self::Uncertain(_) => "uncertain",
        }
    }
}

/// What came of one exchange with the server.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server answered with a refusal; the session goes on.
    Answered(Error),
    /// The server refused and ends the session (421): a mail server that shuts down, or that waited too long for us.
    Closing(Error),
    /// There was no answer, or one that makes no sense.
    Lost(String),
}

impl Failure {
    pub(crate) fn of(error: &lettre::transport::smtp::Error) -> Self {
        let closing = error.status().is_some_and(|code| u16::from(code) == 421);
        if closing {
            Self::Closing(Error::Unavailable(error.to_string()))
        } else if error.is_permanent() {
            Self::Answered(Error::Rejected(error.to_string()))
        } else if error.is_transient() {
            Self::Answered(Error::Unavailable(error.to_string()))
        } else {
            Self::Lost(error.to_string())
        }
    }
}
