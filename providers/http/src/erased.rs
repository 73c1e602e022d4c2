//! Types that hide what is behind them, so that whoever passes a body on need not know who made it.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

/// Any error of a body or a connection.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a handler's answer. It is streamed; an error in it closes the connection.
pub type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;
