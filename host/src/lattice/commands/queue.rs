//! Commands that wait, by id. Whoever adds the first one of an id starts a worker; the worker ends when nothing waits, so that nothing is
//! left of an id that is not commanded any more.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::limits;

/// Too many commands of one id wait.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} commands for `{id}` wait already", limits::MAX_WAITING_COMMANDS)]
pub(crate) struct Full {
    id: String,
}

/// Waiting commands.
pub(crate) struct Queue<C>(Mutex<HashMap<String, VecDeque<C>>>);

impl<C> Default for Queue<C> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<C> Queue<C> {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, VecDeque<C>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a command; true if a worker must be started.
    pub(crate) fn push(&self, id: &str, command: C) -> Result<bool, Full> {
        let mut queues = self.lock();
        if let Some(queue) = queues.get_mut(id) {
            if queue.len() >= limits::MAX_WAITING_COMMANDS {
                return Err(Full { id: id.to_owned() });
            }
            queue.push_back(command);
            return Ok(false);
        }
        queues.insert(id.to_owned(), VecDeque::from([command]));
        Ok(true)
    }

    /// The next command; none ends the worker.
    pub(crate) fn next(&self, id: &str) -> Option<C> {
        let mut queues = self.lock();
        let command = queues.get_mut(id).and_then(VecDeque::pop_front);
        if command.is_none() {
            queues.remove(id);
        }
        command
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn one_worker_per_id_takes_commands_in_order() {
        let queue = Queue::default();
        assert_eq!(queue.push("a", 1), Ok(true));
        assert_eq!(queue.push("a", 2), Ok(false));
        assert_eq!(queue.push("b", 9), Ok(true));
        assert_eq!(queue.next("a"), Some(1));
        assert_eq!(queue.next("a"), Some(2));
        assert_eq!(queue.push("a", 3), Ok(false), "its worker still asks");
        assert_eq!((queue.next("a"), queue.next("a")), (Some(3), None));
        assert_eq!(queue.push("a", 4), Ok(true));
        for command in 0..limits::MAX_WAITING_COMMANDS - 1 {
            assert_eq!(queue.push("a", command), Ok(false));
        }
        assert!(queue.push("a", 0).unwrap_err().to_string().contains("`a`"));
    }
}
