//! How many letters go out together. Pure. Invariant: no two of one key and partition, so that a later one is never
//! published unless the earlier one was.

use std::collections::{HashSet, VecDeque};

use super::letter::Letter;

/// Letters that go out in one go, at most.
const MAX_BATCH: usize = 100;

/// Goes per second, at a rate that allows several letters in each.
const GOES_PER_SECOND: u32 = 10;

/// How many letters a go may have at a rate per second.
pub(super) fn size(rate: u32) -> usize {
    usize::try_from(rate / GOES_PER_SECOND).unwrap_or(MAX_BATCH).clamp(1, MAX_BATCH)
}

/// Takes the next letters from the front.
pub(super) fn take<T>(queue: &mut VecDeque<(Letter, T)>, size: usize) -> Vec<(Letter, T)> {
    let mut lanes = HashSet::new();
    let mut batch = Vec::new();
    while batch.len() < size
        && let Some((letter, _)) = queue.front()
    {
        let origin = &letter.origin;
        if !lanes.insert((origin.topic.clone(), origin.partition, letter.message.key.clone())) {
            break;
        }
        batch.extend(queue.pop_front());
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letter::letter::tests::buried;

    #[test]
    fn a_key_is_once_in_a_batch_and_nothing_overtakes() {
        let keys = ["a", "b", "a", "c", "d", "e"];
        let letter = |(key, offset): (&&str, i64)| (Letter::read(buried(offset, key, "no", 0)), ());
        let mut queue: VecDeque<_> = keys.iter().zip(0..).map(letter).collect();
        let mut batches = Vec::new();
        while !queue.is_empty() {
            batches.push(take(&mut queue, 3).iter().map(|(letter, ())| letter.place.offset).collect::<Vec<_>>());
        }
        assert_eq!(batches, [vec![0, 1], vec![2, 3, 4], vec![5]]);
    }

    #[test]
    fn the_rate_bounds_the_batch() {
        assert_eq!((size(1), size(10), size(50), size(1_000_000)), (1, 1, 5, MAX_BATCH));
    }
}
