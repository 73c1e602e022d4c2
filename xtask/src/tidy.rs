//! The house rules as a program. Invariant: each rule is a pure function from what it reads to findings, has a test in which it
//! fails, and has no list of exceptions for files of ours.
//!
//! `layers` reads what cargo knows of the packages, `names` the host and the providers, `text` every file by itself, and `tree`
//! the names and numbers of files.

mod layers;
mod names;
mod text;
mod tree;

use std::fmt;
use std::fs;

use anyhow::{Context, bail};

use crate::packages;
use crate::process;
use crate::workspace::Workspace;

/// A rule that is broken somewhere.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// File or folder, perhaps with a line number.
    pub place: String,
    /// What is wrong, and what to do.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}: {}", self.place, self.what)
    }
}

/// A file of the repository.
pub(crate) struct SourceFile {
    /// Relative to the root of the checkout, with `/`.
    pub path: String,
    /// `None` for a file that is not text.
    pub text: Option<String>,
}

impl SourceFile {
    fn finding(&self, what: impl Into<String>) -> Finding {
        Finding { place: self.path.clone(), what: what.into() }
    }

    /// `number` counts from zero, as an iterator does.
    fn finding_at(&self, number: usize, what: impl Into<String>) -> Finding {
        Finding { place: format!("{}:{}", self.path, number + 1), what: what.into() }
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// Reads the tree and fails with every broken rule.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    let files = read_files(workspace)?;
    let mut packages = packages::native(workspace)?;
    packages.extend(packages::components(workspace)?);
    let mut findings = layers::check(&packages);
    findings.extend(files.iter().flat_map(names::check));
    findings.extend(files.iter().flat_map(text::check));
    findings.extend(tree::check(&files));
    findings.sort();
    findings.dedup();
    for finding in &findings {
        eprintln!("    {finding}");
    }
    match findings.len() {
        0 => Ok(()),
        1 => bail!("1 house rule is broken"),
        many => bail!("{many} house rules are broken"),
    }
}

/// All files that git knows or would take: what is ignored is nobody's business.
fn read_files(workspace: &Workspace) -> anyhow::Result<Vec<SourceFile>> {
    let mut git = process::command("git");
    git.current_dir(&workspace.root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let paths =
        process::output(&mut git).context("tidy reads the files that git knows; it needs git and a checkout")?;
    let paths = paths.split('\0').filter(|path| !path.is_empty() && workspace.root.join(path).is_file());
    let read = |path: &str| {
        let bytes = fs::read(workspace.root.join(path)).with_context(|| format!("reading {path}"))?;
        Ok(SourceFile { path: path.to_owned(), text: String::from_utf8(bytes).ok() })
    };
    paths.map(read).collect()
}

#[cfg(test)]
fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.to_owned(), text: Some(text.to_owned()) }
}
