//! CPU time of processes, from the kernel's accounting (`/proc/<pid>/stat`, `utime` and `stime`).

use std::collections::HashMap;
use std::fs;

use anyhow::Context as _;

/// Linux reports these times in ticks of 10 ms on every architecture we run on (`USER_HZ`).
const TICK_US: u64 = 10_000;

/// Microseconds of CPU so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) host_us: u64,
    pub(crate) postgres_us: Option<u64>,
}

impl Usage {
    /// Reads the host's and, if it is ours, PostgreSQL's with all its backends, those that ended included.
    pub(crate) fn read(host: u32, postgres: Option<u32>) -> anyhow::Result<Self> {
        let all = processes()?;
        let own =
            |pid: u32| all.get(&pid).map(|process| process.own_us).with_context(|| format!("process {pid} is gone"));
        let postgres_us = postgres.map(|root| tree(&all, root));
        Ok(Self { host_us: own(host)?, postgres_us })
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            host_us: self.host_us.saturating_sub(before.host_us),
            postgres_us: self.postgres_us.zip(before.postgres_us).map(|(now, then)| now.saturating_sub(then)),
        }
    }
}

struct Process {
    parent: u32,
    own_us: u64,
    ended_children_us: u64,
}

/// A process, its living descendants, and the children that each has waited for.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_command_with_parentheses_does_not_shift_the_fields() {
        let process = parse("7 (a) b) S 3 7 7 0 -1 4194560 1 2 3 4 10 5 2 1 20 0 1 0 100 0 0").unwrap();
        assert_eq!((process.parent, process.own_us, process.ended_children_us), (3, 150_000, 30_000));
    }
}
