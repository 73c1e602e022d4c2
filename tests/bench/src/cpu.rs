//! CPU time of processes, from the kernel's accounting (`/proc/<pid>/stat`, `utime` and `stime`).

use std::collections::{BTreeMap, HashMap};
use std::fs;

use anyhow::Context as _;

/// Linux reports these times in ticks of 10 ms on every architecture we run on (`USER_HZ`).
const TICK_US: u64 = 10_000;

/// What counts of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Itself.
    Own,
    /// Itself, its living descendants, and the children that each has waited for: PostgreSQL answers in processes of their own.
    Tree,
    /// Its descendants without itself: what a host runs as programs.
    Below,
}

/// A process to account for. Several parts may have one name; they are added up.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) pid: u32,
    pub(crate) extent: Extent,
}

impl Part {
    pub(crate) fn new(name: &'static str, pid: u32, extent: Extent) -> Self {
        Self { name, pid, extent }
    }

    /// This very program: the load generator.
    pub(crate) fn generator() -> Self {
        Self::new("generator", std::process::id(), Extent::Own)
    }
}

/// Microseconds of CPU so far, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage(BTreeMap<&'static str, u64>);

impl Usage {
    pub(crate) fn read(parts: &[Part]) -> anyhow::Result<Self> {
        let all = processes()?;
        let mut usage = BTreeMap::new();
        for part in parts {
            let process =
                all.get(&part.pid).with_context(|| format!("the process of {} ({}) is gone", part.name, part.pid))?;
            let spent = match part.extent {
                Extent::Own => process.own_us,
                Extent::Tree => tree(&all, part.pid),
                Extent::Below => tree(&all, part.pid).saturating_sub(process.own_us),
            };
            *usage.entry(part.name).or_default() += spent;
        }
        Ok(Self(usage))
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        let spent = |(name, now): (&&'static str, &u64)| {
            (*name, now.saturating_sub(before.0.get(name).copied().unwrap_or_default()))
        };
        Self(self.0.iter().map(spent).collect())
    }

    pub(crate) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Microseconds for each of so many.
    pub(crate) fn per(&self, count: usize) -> BTreeMap<String, f64> {
        self.0.iter().map(|(name, us)| ((*name).to_owned(), *us as f64 / count.max(1) as f64)).collect()
    }
}

struct Process {
    parent: u32,
    own_us: u64,
    ended_children_us: u64,
}

fn tree(all: &HashMap<u32, Process>, root: u32) -> u64 {
    let below: u64 = all.iter().filter(|(_, process)| process.parent == root).map(|(pid, _)| tree(all, *pid)).sum();
    all.get(&root).map_or(0, |process| process.own_us + process.ended_children_us) + below
}

fn processes() -> anyhow::Result<HashMap<u32, Process>> {
    let mut all = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may end between listing and reading.
        if let Some(process) = fs::read_to_string(format!("/proc/{pid}/stat")).ok().as_deref().and_then(parse) {
            all.insert(pid, process);
        }
    }
    Ok(all)
}

/// Fields after the command, which is in parentheses and may hold anything: proc(5).
fn parse(stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Process {
        parent: u32::try_from(number(1)?).ok()?,
        own_us: (number(11)? + number(12)?) * TICK_US,
        ended_children_us: (number(13)? + number(14)?) * TICK_US,
    })
}

/// KiB of a process that are in memory now (`VmRSS`), files that it maps included.
pub(crate) fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid} is gone"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    kib.with_context(|| format!("the kernel does not say what process {pid} has in memory"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_command_with_parentheses_does_not_shift_the_fields() {
        let process = parse("7 (a) b) S 3 7 7 0 -1 4194560 1 2 3 4 10 5 2 1 20 0 1 0 100 0 0").unwrap();
        assert_eq!((process.parent, process.own_us, process.ended_children_us), (3, 150_000, 30_000));
    }

    #[test]
    fn parts_of_one_name_are_added_up() {
        let own = Part::generator();
        let (once, twice) = (Usage::read(std::slice::from_ref(&own)), Usage::read(&[own.clone(), own]));
        let of = |usage: anyhow::Result<Usage>| usage.unwrap().0.get("generator").copied().unwrap();
        let (once, twice) = (of(once), of(twice));
        assert!(twice >= 2 * once, "{once} {twice}");
        assert!(resident_kib(std::process::id()).unwrap() > 100);
    }
}
