//! Every limit of this crate that is not configurable, with its reason.

use std::time::Duration;

/// Bytes of text in one mail. Ours have one or two thousand; servers usually take 10 MiB.
pub(crate) const MAX_TEXT_BYTES: usize = 1024 * 1024;

/// Bytes of a subject, an address, a message identifier, or the value of a header. A line of a mail may have 998.
pub(crate) const MAX_LINE_BYTES: usize = 900;

/// Extra headers of one mail.
pub(crate) const MAX_HEADERS: usize = 32;

/// Connections that lay idle for longer are not used again. Servers end idle ones after five minutes at the earliest (RFC 5321, 4.5.3.2.7), and
/// the shorter time keeps surprises rare.
pub(crate) const MAX_IDLE: Duration = Duration::from_secs(60);
