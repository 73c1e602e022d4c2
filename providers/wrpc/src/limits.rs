//! Every fixed limit of the programs, with its reason.

use std::time::Duration;

/// The line with the host's data. Thousands of links fit; a host that sends more is broken.
pub(crate) const MAX_HOST_DATA_BYTES: u64 = 16 << 20;

/// Parameters of one invocation. The largest that makes sense is a transaction with some large values.
pub(crate) const MAX_PARAMETER_BYTES: u64 = 32 << 20;

/// How long the parameters of one invocation may take to arrive. They are sent at once, so whoever takes longer is gone.
pub(crate) const PARAMETERS: Duration = Duration::from_secs(10);

/// Invocations that are served at once. The libraries have narrower limits of their own and answer `unavailable` beyond them; this one
/// bounds memory.
pub(crate) const MAX_INVOCATIONS: usize = 1_024;

/// How long an answer may take to be taken off our hands by NATS.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);

/// How long a call waits for a link that is not there yet or not connected yet: at start-up, and when a link is put anew with other
/// settings, the two arrive in either order.
pub(crate) const LINK: Duration = Duration::from_millis(1_500);

/// Pause between two attempts to reach a service that is not there.
pub(crate) const CONNECT_RETRY: Duration = Duration::from_secs(1);

/// One look at a service for a health check. Hosts wait a few seconds for the whole answer.
pub(crate) const PING: Duration = Duration::from_secs(1);

/// Invocations and parameters that arrive so soon after the end was asked for are still taken. Well below the 300 ms after which hosts kill.
pub(crate) const LINGER: Duration = Duration::from_millis(100);

/// Running work may take this long to end when the program is asked to. A host that has less patience kills it.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);

/// Time for a component to handle one event. No client waits for it, but a hanging one must end.
pub(crate) const EVENT: Duration = Duration::from_secs(30);

/// Room for the headers of a first message, which count against what NATS takes as one message.
pub(crate) const HEADER_ROOM_BYTES: usize = 8 << 10;

/// A `tracestate` longer than that is not passed on; its standard asks for 512 bytes.
pub(crate) const TRACE_STATE_BYTES: usize = 4 << 10;

/// The head of an answer over HTTP. Edges of any kind refuse larger ones.
pub(crate) const MAX_ANSWER_HEAD_BYTES: usize = 256 << 10;

/// What an answer's body may bring before its head is complete; it comes behind the head.
pub(crate) const MAX_EARLY_BODY_BYTES: usize = 4 << 20;

/// How often to look whether the host is still there. A program without its host would serve with links that nobody keeps up to date.
pub(crate) const PARENT_CHECK: Duration = Duration::from_secs(2);
