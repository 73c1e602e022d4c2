//! Every limit of this crate that is not configurable, with its reason.

use std::time::Duration;

/// Attempts to connect within one call, as long as `connect_timeout_ms` allows.
pub(crate) const CONNECT_ATTEMPTS: u32 = 4;

/// The wait before the second attempt to connect; it doubles each time.
pub(crate) const FIRST_CONNECT_BACKOFF: Duration = Duration::from_millis(20);

/// Scripts whose digest is remembered. Components have a handful; if there are more, someone builds them from data.
pub(crate) const MAX_SCRIPTS: usize = 256;

/// Commands that wait to be written. It bounds memory; when it is full, callers wait.
pub(crate) const PIPELINE_BUFFER: usize = 1_024;

/// Keys in one call of the batch functions. One such command holds up everyone else on the server while it runs.
pub(crate) const MAX_KEYS: usize = 10_000;

/// How many keys the server looks at for one page of a listing.
pub(crate) const SCAN_COUNT: usize = 1_000;
