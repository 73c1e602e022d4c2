//! The auditor: reads the books of every system of a shop and checks that they agree. Invariant: each system is asked itself and never through
//! the shop, so that the shop cannot vouch for itself.
//!
//! `collect` turns systems into [`Facts`], `check` turns facts into a [`Report`] and does nothing else, `settle` waits until there is nothing left
//! to happen. [`audit`] is all three.

mod check;
mod collect;
mod facts;
mod report;
mod settle;
mod sources;

use std::time::Duration;

pub use check::{Finding, check};
pub use collect::collect;
pub use facts::{Answer, Facts, Scope};
pub use report::{Report, Row};
pub use settle::settle;
pub use sources::Sources;

/// How to audit.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Wait so long until everything has settled; `None` does not wait. A shop that does not settle in time is audited all the same, and what has
    /// not settled is a finding.
    pub wait: Option<Duration>,
    /// What to judge.
    pub scope: Scope,
    /// What clients were told, if somebody wrote it down.
    pub answers: Vec<Answer>,
}

/// Waits if asked to, reads everything and checks it.
///
/// # Errors
/// When a system cannot be read; that it cannot be read says nothing about the books.
pub async fn audit(sources: &Sources, options: &Options) -> anyhow::Result<Report> {
    if let Some(wait) = options.wait {
        settle(sources, wait).await?;
    }
    let mut facts = collect(sources).await?;
    facts.answers.clone_from(&options.answers);
    Ok(check(&facts, options.scope))
}
