//! `bench report`: puts the figures of files into `docs/performance.md`, a section per benchmark, and a plot beside it. Invariant: what stands there is
//! computed from a file of a real run; a section is there only if there was one.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::built;
use crate::document::{Document, Made};
use crate::page::Page;
use crate::{call, cold, echo, orders, swap};

/// Below the root of the checkout.
const DOCS: &str = "docs";
const DOCUMENT: &str = "performance.md";

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Files that `--json` made.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Enough of a file to know whose it is.
#[derive(Deserialize)]
struct Label {
    benchmark: String,
    made: Made,
}

/// Writes tables and plots.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let docs = built::root()?.join(DOCS);
    for file in &options.files {
        let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let label: Label =
            serde_json::from_str(&text).with_context(|| format!("{} holds no figures", file.display()))?;
        ensure!(!label.made.quick, "{} was made with --quick: its figures mean nothing", file.display());
        let page = match label.benchmark.as_str() {
            "orders" => orders::page(&read(&text)?),
            "echo" => echo::page(&read(&text)?),
            "call" => call::page(&read(&text)?),
            "swap" => swap::page(&read(&text)?),
            "cold" => cold::page(&read(&text)?),
            other => bail!("{}: there is no benchmark {other}", file.display()),
        };
        write(&docs, &label, &page)?;
        println!("{} has the figures of {}", docs.join(DOCUMENT).display(), file.display());
    }
    Ok(())
}

fn read<R: DeserializeOwned>(text: &str) -> anyhow::Result<Document<R>> {
    serde_json::from_str(text).context("the figures have another shape; make them with this version")
}

fn write(docs: &Path, label: &Label, page: &Page) -> anyhow::Result<()> {
    let name = &label.benchmark;
    if let Some(plot) = &page.plot {
        let file = docs.join(image(name));
        fs::write(&file, plot.svg()).with_context(|| format!("writing {}", file.display()))?;
    }
    let file = docs.join(DOCUMENT);
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    fs::write(&file, with_section(&text, name, &section(label, page)?)?)
        .with_context(|| format!("writing {}", file.display()))
}

fn image(name: &str) -> String {
    format!("performance-{name}.svg")
}

fn section(label: &Label, page: &Page) -> anyhow::Result<String> {
    let (name, made) = (&label.benchmark, &label.made);
    let mut text = format!("## Measured: {name}\n\n");
    let processor = made.processor.as_deref().unwrap_or("unknown processor");
    let commit = made.commit.as_ref().map(|commit| format!(", commit {commit}")).unwrap_or_default();
    writeln!(
        text,
        "`cargo xtask bench {name}`, {}, {} cores of {processor}{commit}. Median, and range over the repeats.",
        made.date, made.cores
    )?;
    for table in &page.tables {
        write!(text, "\n{}", table.markdown())?;
    }
    if let Some(plot) = &page.plot {
        write!(text, "\n![{}]({})\n", plot.title, image(name))?;
    }
    Ok(text)
}

/// Replaces the section between its marks, or adds it at the end.
fn with_section(text: &str, name: &str, section: &str) -> anyhow::Result<String> {
    let (from, to) = (format!("<!-- bench {name}: from here -->\n"), format!("<!-- bench {name}: to here -->\n"));
    let new = format!("{from}{section}{to}");
    let Some((before, rest)) = text.split_once(from.as_str()) else {
        return Ok(format!("{}\n\n{new}", text.trim_end()));
    };
    let (_, after) = rest.split_once(to.as_str()).with_context(|| format!("{DOCUMENT} has no line {to}"))?;
    Ok(format!("{before}{new}{after}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// Goal: new figures take the place of old ones and nothing else changes. Method: two sections, the first replaced, twice.
    #[test]
    fn a_section_is_added_once_and_then_replaced() {
        let one = with_section("# Title\n", "echo", "old\n").unwrap();
        let two = with_section(&one, "call", "other\n").unwrap();
        let three = with_section(&two, "echo", "new\n").unwrap();
        assert_eq!(three, two.replace("old", "new"));
        assert!(three.starts_with("# Title\n\n") && three.matches("echo: from here").count() == 1, "{three}");
        assert!(with_section("<!-- bench echo: from here -->\n", "echo", "new\n").is_err());
    }
}
