//! Every limit of this crate that is not configurable, with its reason.

use std::time::Duration;

/// Statements in one call. A batch larger than this holds locks for too long; write one statement over arrays instead.
pub(crate) const MAX_STATEMENTS: usize = 1_024;

/// Parameters of one statement. The protocol counts them in 16 bits.
pub(crate) const MAX_PARAMETERS: usize = u16::MAX as usize;

/// Bytes of values that one call may return. They are copied into the guest, whose memory is of that order of magnitude.
pub(crate) const MAX_RESULT_BYTES: usize = 64 * 1024 * 1024;

/// Prepared statements kept per connection. A statement is kept once for each combination of parameter types and NULLs that it met.
pub(crate) const STATEMENT_CACHE: usize = 512;

/// How often a call is begun at most when the server says that it lost against another transaction, or that a plan is out of date.
pub(crate) const MAX_ATTEMPTS: u32 = 5;

/// The first wait between two attempts is at most this; it doubles each time.
pub(crate) const FIRST_BACKOFF: Duration = Duration::from_millis(5);

/// How long after the server's own statement time-out we stop waiting for it to say so. Then the connection is given up as lost.
pub(crate) const NETWORK_GRACE: Duration = Duration::from_millis(1_000);

/// A connection that lay idle for longer is tested before use. Testing each time would add a round trip to every call.
pub(crate) const TEST_AFTER_IDLE: Duration = Duration::from_millis(500);

/// How long a connection of the flushes may stay out of its pool, where its age is looked at.
pub(crate) const KEEP_LIMIT: Duration = Duration::from_secs(60);

/// In how many uses of a connection its plans are thrown away once, on average. Uses, not time: tables grow with use. One round trip and
/// planning some twenty statements again (a tenth of a millisecond each) come to a few microseconds per use.
pub(crate) const REPLAN_ONCE_IN: u32 = 1_000;

/// Connections are replaced after this time, so that those of a failed-over or rebalanced server do not live for ever.
pub(crate) const MAX_LIFETIME: Duration = Duration::from_secs(30 * 60);

/// Idle connections are closed after this time.
pub(crate) const MAX_IDLE: Duration = Duration::from_secs(5 * 60);

/// Calls in one flush of [`crate::Postgres::coalesce`]. The gain per call is nearly all there at 64 (measured: 48,000 orders/s with 64 callers, 85,000
/// with 256, on four cores); more would only make the halving after an error longer.
pub(crate) const FLUSH_CALLS: usize = 256;

/// How often at most a flush lets others run before it begins; it stops as soon as nobody has joined it meanwhile. Measured with 64 clients on two cores:
/// not at all 490 orders/s, once 650, three times 740, six times and more 830.
pub(crate) const GATHER_ROUNDS: u32 = 16;

/// Bytes of parameters in one flush, unless a single call is larger.
pub(crate) const FLUSH_BYTES: usize = 4 * 1024 * 1024;

/// Texts for which a queue is kept. More than all components of a shop have.
pub(crate) const LANES: usize = 512;

/// Sessions that run flushes plan a text once, for any number of calls. Left alone the server would plan it anew for each: it guesses ten elements for an array
/// that it does not see, so the plan that it could keep always looks dearer than one for the few calls at hand (measured: 0.65 ms of
/// planning for 1 ms of work). The kept plan must not read whole tables only because they were empty when it was made; a text that calls share reaches its rows by key.
pub(crate) const FLUSH_SETTINGS: [(&str, &str); 2] =
    [("plan_cache_mode", "force_generic_plan"), ("enable_seqscan", "off")];
