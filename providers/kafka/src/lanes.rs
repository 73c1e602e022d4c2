//! Who may be handled now. Pure: time comes in as a parameter. A lane is the queue of one key of one assigned partition
//! (messages without a key share the lane of their partition). Invariants: of one lane at most one item is out at a
//! time, and items leave a lane in the order they came.
//!
//! A lane is ready, out (its first item is being worked on) or parked (its first item waits for another try). A whole
//! assignment can be held, because something that all its messages need is down; then only the lane that probes that
//! dependency is handed out.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

/// One assignment of one partition. A partition that is lost and assigned again has another number, so that late
/// results cannot be mistaken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AssignmentId(pub(crate) u64);

/// The key of a message; `None` for those that have none.
pub(crate) type Key = Option<Arc<[u8]>>;

/// Names a lane.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LaneId {
    pub(crate) assignment: AssignmentId,
    pub(crate) key: Key,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Ready,
    Out,
    Parked(Instant),
}

#[derive(Debug)]
struct Lane<T> {
    state: State,
    queue: VecDeque<T>,
}

/// The lanes of one assignment.
#[derive(Debug)]
struct Room<T> {
    lanes: HashMap<Key, Lane<T>>,
    /// The keys of lanes in state `Ready`, in turn.
    ready: VecDeque<Key>,
    /// Set while the assignment is held: the key of the lane that probes.
    probe: Option<Key>,
}

/// All lanes of a consumer.
#[derive(Debug)]
pub(crate) struct Lanes<T> {
    rooms: BTreeMap<AssignmentId, Room<T>>,
    /// Parked lanes by the time at which they are ready again.
    parked: BTreeSet<(Instant, LaneId)>,
    /// The assignment that was served last, so that all get their turn.
    served: AssignmentId,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self { rooms: BTreeMap::new(), parked: BTreeSet::new(), served: AssignmentId(0) }
    }
}

impl<T> Lanes<T> {
    /// Begins an assignment. Calls for one that is not open, or is closed, do nothing.
    pub(crate) fn open(&mut self, assignment: AssignmentId) {
        self.rooms.insert(assignment, Room { lanes: HashMap::new(), ready: VecDeque::new(), probe: None });
    }

    /// Ends an assignment: nothing of it is handed out any more, and what waits is dropped.
    pub(crate) fn close(&mut self, assignment: AssignmentId) {
        self.rooms.remove(&assignment);
        self.parked.retain(|(_, lane)| lane.assignment != assignment);
    }

    /// Adds an item at the end of its lane.
    pub(crate) fn push(&mut self, id: &LaneId, item: T) {
        let Some(room) = self.rooms.get_mut(&id.assignment) else { return };
        match room.lanes.get_mut(&id.key) {
            Some(lane) => lane.queue.push_back(item),
            None => {
                room.lanes.insert(id.key.clone(), Lane { state: State::Ready, queue: VecDeque::from([item]) });
                room.ready.push_back(id.key.clone());
            }
        }
    }

    /// Hands out the next item, if one may go. Its lane is closed to others until [`Self::done`], [`Self::put_back`],
    /// [`Self::park`] or [`Self::hold`].
    pub(crate) fn next(&mut self, now: Instant) -> Option<(LaneId, T)> {
        self.wake(now);
        let after = (Bound::Excluded(self.served), Bound::Unbounded);
        let ids = self.rooms.range(after).chain(self.rooms.range(..=self.served)).map(|(id, _)| *id);
        let turns: Vec<AssignmentId> = ids.collect();
        for assignment in turns {
            if let Some(found) = self.next_of(assignment) {
                self.served = assignment;
                return Some(found);
            }
        }
        None
    }

    fn next_of(&mut self, assignment: AssignmentId) -> Option<(LaneId, T)> {
        let room = self.rooms.get_mut(&assignment)?;
        let key = match &room.probe {
            None => room.ready.pop_front()?,
            Some(probe) => {
                let at = room.ready.iter().position(|key| key == probe)?;
                room.ready.remove(at)?
            }
        };
        let lane = room.lanes.get_mut(&key)?;
        let item = lane.queue.pop_front()?;
        lane.state = State::Out;
        Some((LaneId { assignment, key }, item))
    }

    /// The item that was out is finished.
    pub(crate) fn done(&mut self, id: &LaneId) {
        let Some(room) = self.rooms.get_mut(&id.assignment) else { return };
        let Some(lane) = room.lanes.get_mut(&id.key) else { return };
        if lane.queue.is_empty() {
            room.lanes.remove(&id.key);
        } else {
            lane.state = State::Ready;
            room.ready.push_back(id.key.clone());
        }
    }

    /// The item that was out comes back to the front of its lane and may go again at once.
    pub(crate) fn put_back(&mut self, id: &LaneId, item: T) {
        let Some(room) = self.rooms.get_mut(&id.assignment) else { return };
        let Some(lane) = room.lanes.get_mut(&id.key) else { return };
        lane.queue.push_front(item);
        lane.state = State::Ready;
        room.ready.push_front(id.key.clone());
    }

    /// The item that was out comes back to the front of its lane and waits there until `until`; the rest of the lane
    /// waits behind it.
    pub(crate) fn park(&mut self, id: &LaneId, item: T, until: Instant) {
        let Some(room) = self.rooms.get_mut(&id.assignment) else { return };
        let Some(lane) = room.lanes.get_mut(&id.key) else { return };
        lane.queue.push_front(item);
        lane.state = State::Parked(until);
        self.parked.insert((until, id.clone()));
    }

    /// As [`Self::park`], and the whole assignment is held meanwhile. If another lane probes already, the item just
    /// goes back to its lane.
    pub(crate) fn hold(&mut self, id: &LaneId, item: T, until: Instant) {
        let Some(room) = self.rooms.get_mut(&id.assignment) else { return };
        match &room.probe {
            Some(probe) if *probe != id.key => self.put_back(id, item),
            _ => {
                room.probe = Some(id.key.clone());
                self.park(id, item, until);
            }
        }
    }

    /// Whether this lane is the one that probes for a held assignment.
    pub(crate) fn is_probe(&self, id: &LaneId) -> bool {
        self.rooms.get(&id.assignment).is_some_and(|room| room.probe.as_ref() == Some(&id.key))
    }

    /// Whether the assignment is held.
    pub(crate) fn is_held(&self, assignment: AssignmentId) -> bool {
        self.rooms.get(&assignment).is_some_and(|room| room.probe.is_some())
    }

    /// Ends the hold of an assignment.
    pub(crate) fn release(&mut self, assignment: AssignmentId) {
        if let Some(room) = self.rooms.get_mut(&assignment) {
            room.probe = None;
        }
    }

    /// When the next parked lane is ready.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        self.parked.first().map(|(until, _)| *until)
    }

    fn wake(&mut self, now: Instant) {
        while self.parked.first().is_some_and(|(until, _)| *until <= now) {
            let Some((until, id)) = self.parked.pop_first() else { return };
            let Some(room) = self.rooms.get_mut(&id.assignment) else { continue };
            let Some(lane) = room.lanes.get_mut(&id.key) else { continue };
            if lane.state == State::Parked(until) {
                lane.state = State::Ready;
                room.ready.push_back(id.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use std::time::Duration;

    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;

    const A: AssignmentId = AssignmentId(1);
    const B: AssignmentId = AssignmentId(2);

    fn lane(assignment: AssignmentId, key: &str) -> LaneId {
        LaneId { assignment, key: Some(Arc::from(key.as_bytes())) }
    }

    fn opened() -> Lanes<u32> {
        let mut lanes = Lanes::default();
        lanes.open(A);
        lanes.open(B);
        lanes
    }

    fn drain(lanes: &mut Lanes<u32>, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| lanes.next(now).map(|(_, item)| item)).collect()
    }

    #[test]
    fn one_item_of_a_lane_at_a_time_in_order() {
        let now = Instant::now();
        let mut lanes = opened();
        for item in 1..=3 {
            lanes.push(&lane(A, "x"), item);
        }
        lanes.push(&lane(A, "y"), 10);
        assert_eq!(drain(&mut lanes, now), [1, 10]);
        lanes.done(&lane(A, "x"));
        assert_eq!(drain(&mut lanes, now), [2]);
        lanes.done(&lane(A, "x"));
        lanes.done(&lane(A, "y"));
        assert_eq!(drain(&mut lanes, now), [3]);
    }

    #[test]
    fn no_key_means_one_lane_per_partition() {
        let now = Instant::now();
        let mut lanes = opened();
        for assignment in [A, B] {
            for item in [1, 2] {
                lanes.push(&LaneId { assignment, key: None }, item);
            }
        }
        assert_eq!(drain(&mut lanes, now), [1, 1]);
    }

    #[test]
    fn assignments_take_turns() {
        let now = Instant::now();
        let mut lanes = opened();
        for item in 0..3 {
            lanes.push(&lane(A, &format!("a{item}")), item);
            lanes.push(&lane(B, &format!("b{item}")), 10 + item);
        }
        assert_eq!(drain(&mut lanes, now), [0, 10, 1, 11, 2, 12]);
    }

    #[test]
    fn a_parked_lane_waits_and_others_go_on() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut lanes = opened();
        lanes.push(&lane(A, "x"), 1);
        lanes.push(&lane(A, "x"), 2);
        let (id, item) = lanes.next(now).unwrap();
        lanes.park(&id, item, later);
        lanes.push(&lane(A, "y"), 10);
        assert_eq!(drain(&mut lanes, now), [10]);
        assert_eq!(lanes.next_wake(), Some(later));
        assert_eq!(drain(&mut lanes, later), [1], "the parked item, not the one behind it");
        assert_eq!(lanes.next_wake(), None);
    }

    #[test]
    fn a_held_assignment_gives_out_only_its_probe() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut lanes = opened();
        for (key, item) in [("x", 1), ("y", 2), ("z", 3)] {
            lanes.push(&lane(A, key), item);
        }
        lanes.push(&lane(B, "b"), 10);
        let (x, first) = lanes.next(now).unwrap();
        assert_eq!(lanes.next(now).unwrap().1, 10);
        let (y, second) = lanes.next(now).unwrap();
        lanes.hold(&x, first, later);
        lanes.hold(&y, second, later);
        assert!(lanes.is_held(A) && lanes.is_probe(&x) && !lanes.is_probe(&y) && !lanes.is_held(B));
        assert_eq!(drain(&mut lanes, now), [0; 0]);
        assert_eq!(drain(&mut lanes, later), [1]);
        lanes.release(A);
        lanes.done(&x);
        assert_eq!(drain(&mut lanes, later), [2, 3]);
    }

    #[test]
    fn a_closed_assignment_is_forgotten() {
        let now = Instant::now();
        let mut lanes = opened();
        lanes.push(&lane(A, "x"), 1);
        lanes.push(&lane(A, "x"), 2);
        lanes.push(&lane(A, "y"), 3);
        let (x, item) = lanes.next(now).unwrap();
        lanes.park(&x, item, now);
        let (y, item) = lanes.next(now).unwrap();
        lanes.close(A);
        lanes.park(&y, item, now);
        lanes.put_back(&x, 9);
        lanes.push(&x, 9);
        lanes.done(&x);
        assert_eq!((lanes.next_wake(), lanes.next(now)), (None, None));
    }

    /// Goal: order and exclusivity under any mix of retries and holds. Method: random steps with a seed; each lane's
    /// items must finish in the order pushed.
    #[test]
    fn random_work_keeps_order_and_finishes() {
        for seed in 0..300 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut now = Instant::now();
            let mut lanes = opened();
            let mut expected: HashMap<LaneId, Vec<u32>> = HashMap::new();
            for item in 0..80 {
                let id = lane(if random.random_bool(0.5) { A } else { B }, &random.random_range(0..6).to_string());
                lanes.push(&id, item);
                expected.entry(id).or_default().push(item);
            }
            let mut out: Vec<(LaneId, u32)> = Vec::new();
            let mut finished: HashMap<LaneId, Vec<u32>> = HashMap::new();
            for _ in 0..100_000 {
                now += Duration::from_millis(1);
                while out.len() < 4 {
                    let Some((id, item)) = lanes.next(now) else { break };
                    assert!(out.iter().all(|(other, _)| *other != id), "seed {seed}: two items of one lane are out");
                    out.push((id, item));
                }
                if out.is_empty() && lanes.next_wake().is_none() {
                    break;
                }
                if out.is_empty() {
                    continue;
                }
                let (id, item) = out.swap_remove(random.random_range(0..out.len()));
                let until = now + Duration::from_millis(random.random_range(0..5));
                match random.random_range(0..4) {
                    0 => lanes.hold(&id, item, until),
                    step => {
                        if lanes.is_probe(&id) {
                            lanes.release(id.assignment);
                        }
                        if step == 1 {
                            lanes.park(&id, item, until);
                        } else {
                            lanes.done(&id);
                            finished.entry(id).or_default().push(item);
                        }
                    }
                }
            }
            assert_eq!(finished, expected, "seed {seed}");
        }
    }
}
