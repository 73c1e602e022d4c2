//! Atomic scripts. They are sent by their digest, and in full only to a server that does not know them.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use redis::{Cmd, ErrorKind, ServerErrorKind, Value};

use crate::client::{Redis, record};
use crate::error::{Effect, Error};
use crate::limits::{MAX_KEYS, MAX_SCRIPTS};
use crate::reply::{self, Item};

/// A Lua script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// Short name for logs and error messages, for example `reserve`.
    pub name: String,
    /// The text.
    pub source: String,
}

/// Digests by source, so that a script of some kilobytes is not hashed at each call.
#[derive(Default)]
pub(crate) struct Digests(RwLock<HashMap<String, Arc<str>>>);

impl Digests {
    fn of(&self, source: &str) -> Arc<str> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(source).cloned();
        known.unwrap_or_else(|| {
            let digest: Arc<str> = redis::Script::new(source).get_hash().into();
            let mut digests = self.0.write().unwrap_or_else(PoisonError::into_inner);
            if digests.len() >= MAX_SCRIPTS {
                digests.clear();
            }
            digests.insert(source.to_owned(), Arc::clone(&digest));
            digest
        })
    }
}

impl Redis {
    /// Runs a script atomically. A reply that is no list is a list of one item; nested lists are refused as `Invalid`.
    ///
    /// Redis does not undo what a script did before it raised an error: check first, write last.
    pub async fn run_script(&self, script: &Script, keys: &[String], arguments: &[String]) -> Result<Vec<Item>, Error> {
        let started = Instant::now();
        let result = self.evaluate(script, keys, arguments).await;
        record("script", started, result.as_ref().err());
        result
    }

    async fn evaluate(&self, script: &Script, keys: &[String], arguments: &[String]) -> Result<Vec<Item>, Error> {
        if keys.len() + arguments.len() > MAX_KEYS {
            return Err(named(script, &format!("more than {MAX_KEYS} keys and arguments")));
        }
        let digest = self.digests.of(&script.source);
        let mut answer = self.send(&command("EVALSHA", &digest, keys, arguments)).await?;
        if answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)) {
            // The server was restarted or is new. EVAL runs the script and remembers it, in one step.
            answer = self.send(&command("EVAL", &script.source, keys, arguments)).await?;
        }
        let value: Value = answer.map_err(|error| match Error::after_send(&error, Effect::Writes) {
            Error::Invalid(message) => named(script, &message),
            other => other,
        })?;
        reply::items(value).map_err(|message| named(script, &message))
    }
}

fn command(name: &str, script: &str, keys: &[String], arguments: &[String]) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(keys.len()).arg(keys).arg(arguments);
    command
}

fn named(script: &Script, message: &str) -> Error {
    Error::Invalid(format!("script `{}`: {message}", script.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_remembered_within_bounds() {
        let digests = Digests::default();
        // echo -n 'return 1' | sha1sum
        assert_eq!(&*digests.of("return 1"), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
        for number in 0..=MAX_SCRIPTS {
            digests.of(&format!("return {number}"));
        }
        assert!(digests.0.read().is_ok_and(|digests| digests.len() <= MAX_SCRIPTS));
    }
}
