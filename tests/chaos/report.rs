//! What a run was like: for people a table, for programs JSON. Invariant: times are told, never judged; what is judged are answers and books.

use std::fmt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::load::Log;

/// One fault.
#[derive(Debug)]
pub(crate) struct Struck {
    pub(crate) fault: String,
    pub(crate) at: Instant,
    /// Until what was killed ran again and what was paused went on.
    pub(crate) lasted: Duration,
    /// From the strike to the first order of a new client that was confirmed after it ended.
    pub(crate) recovered: Duration,
}

/// A run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) seed: u64,
    pub(crate) rate: f64,
    pub(crate) began: Instant,
    pub(crate) faults: Vec<Struck>,
    pub(crate) log: Log,
    pub(crate) audited: usize,
}

impl Run {
    /// Between the last good answer before and the first good answer after a moment.
    fn gap_at(&self, at: Instant) -> Duration {
        let before = self.log.good.iter().filter(|good| **good <= at).max().copied().unwrap_or(self.began);
        let after = self.log.good.iter().filter(|good| **good > at).min();
        after.map_or(Duration::ZERO, |after| *after - before)
    }

    /// The longest time between two good answers while faults struck; afterwards only a few clients still ask for what is pending.
    fn longest_gap(&self) -> Duration {
        let mut good = self.log.good.clone();
        good.sort_unstable();
        let over = self.faults.iter().map(|struck| struck.at + struck.recovered).max().unwrap_or(self.began);
        good.retain(|good| *good <= over);
        let between = good.windows(2).filter_map(|pair| Some(*pair.last()? - *pair.first()?));
        between.chain(self.faults.iter().map(|struck| self.gap_at(struck.at))).max().unwrap_or_default()
    }

    pub(crate) fn json(&self) -> Value {
        let fault = |struck: &Struck| {
            json!({"fault": struck.fault, "atMs": millis(struck.at - self.began), "lastedMs": millis(struck.lasted), "recoveredMs": millis(struck.recovered),
                   "unavailableMs": millis(self.gap_at(struck.at))})
        };
        json!({
            "seed": self.seed, "rate": self.rate, "faults": self.faults.iter().map(fault).collect::<Vec<_>>(),
            "clients": self.log.clients, "statuses": self.log.statuses, "cancelled": self.log.cancelled, "gaveUp": self.log.gave_up,
            "recoveries": self.faults.len(), "longestUnavailableMs": millis(self.longest_gap()), "ordersAudited": self.audited,
        })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Display for Run {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{:<40} {:>8} {:>9} {:>13} {:>12}", "fault", "at", "lasted", "recovered in", "unavailable")?;
        for struck in &self.faults {
            let (at, gap) = ((struck.at - self.began).as_secs_f64(), self.gap_at(struck.at).as_secs_f64());
            let (lasted, recovered) = (struck.lasted.as_secs_f64(), struck.recovered.as_secs_f64());
            writeln!(out, "{:<40} {at:>6.1} s {lasted:>7.1} s {recovered:>11.1} s {gap:>10.1} s", struck.fault)?;
        }
        let statuses: Vec<String> = self
            .log
            .statuses
            .iter()
            .map(
                |(status, count)| {
                    if *status == 0 { format!("no answer: {count}") } else { format!("{status}: {count}") }
                },
            )
            .collect();
        writeln!(out, "seed {}, {} faults, {} recoveries", self.seed, self.faults.len(), self.faults.len())?;
        writeln!(out, "{} clients, {} a second; answers: {}", self.log.clients, self.rate, statuses.join(", "))?;
        writeln!(out, "{} cancelled, {} gave up", self.log.cancelled, self.log.gave_up)?;
        write!(out, "longest unavailability {:.1} s; {} orders audited", self.longest_gap().as_secs_f64(), self.audited)
    }
}
