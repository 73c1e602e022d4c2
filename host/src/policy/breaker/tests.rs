//! The state machine with a clock of its own: every transition by hand, then random calls against its invariants.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::manifest::BreakerWindow;

const GOOD: Mark = Mark { failed: false, slow: false };
const BAD: Mark = Mark { failed: true, slow: false };
const SLOW: Mark = Mark { failed: false, slow: true };
/// The longest wait, so that times are exact.
const LATE: f64 = 1.0;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn policy() -> BreakerPolicy {
    BreakerPolicy {
        window: BreakerWindow::Calls(10),
        failure_rate_percent: 50,
        slow_call: Some(ms(100)),
        slow_rate_percent: 80,
        minimum_calls: 4,
        open: ms(1_000),
        open_max: ms(5_000),
        half_open_probes: 3,
    }
}

/// A breaker and a clock.
struct Scene {
    breaker: Breaker,
    now: Instant,
}

impl Scene {
    fn new(policy: BreakerPolicy) -> Self {
        Self { breaker: Breaker::new(policy), now: Instant::now() }
    }

    fn wait(&mut self, time: u64) {
        self.now += ms(time);
    }

    /// Whoever asks first is told what then happens, in every state.
    fn admit(&mut self) -> Option<Admission> {
        let refuses = self.breaker.refuses(self.now);
        let admission = self.breaker.admit(self.now).ok();
        assert_eq!(refuses, admission.is_none());
        admission
    }

    fn end(&mut self, admission: Admission, mark: Mark) {
        self.breaker.record(admission, mark, self.now, LATE);
    }

    /// A call from beginning to end. False: it was not let through.
    fn call(&mut self, mark: Mark) -> bool {
        let Some(admission) = self.admit() else { return false };
        self.end(admission, mark);
        true
    }

    fn calls(&mut self, marks: &[Mark]) {
        for mark in marks {
            assert!(self.call(*mark), "not let through");
        }
    }

    fn state(&self) -> BreakerState {
        self.breaker.state()
    }

    /// The whole wait of the open state, to the millisecond.
    fn open_for(&self) -> Duration {
        self.breaker.opens_for(self.now).expect("open")
    }
}

#[test]
fn it_opens_at_the_rate_and_not_before_the_minimum() {
    let mut scene = Scene::new(policy());
    scene.calls(&[BAD, BAD, BAD]);
    assert_eq!(scene.state(), BreakerState::Closed, "three calls say nothing");
    scene.calls(&[BAD]);
    assert_eq!(scene.state(), BreakerState::Open);
    assert!(!scene.call(GOOD));

    let mut scene = Scene::new(policy());
    scene.calls(&[GOOD, GOOD, GOOD, BAD, GOOD, BAD, BAD]);
    assert_eq!(scene.state(), BreakerState::Closed, "3 of 7");
    scene.calls(&[BAD]);
    assert_eq!(scene.state(), BreakerState::Open, "4 of 8");
}

#[test]
fn failures_that_have_left_the_window_do_not_count() {
    let mut scene = Scene::new(policy());
    for _ in 0..20 {
        scene.calls(&[GOOD, GOOD, BAD]);
    }
    assert_eq!(scene.state(), BreakerState::Closed);
    let mut scene = Scene::new(BreakerPolicy { window: BreakerWindow::Time(ms(1_000)), ..policy() });
    scene.calls(&[BAD, BAD, BAD]);
    scene.wait(1_000);
    scene.calls(&[BAD, BAD, BAD]);
    assert_eq!(scene.state(), BreakerState::Closed);
    scene.calls(&[BAD]);
    assert_eq!(scene.state(), BreakerState::Open);
}

#[test]
fn slow_calls_open_it_by_their_own_rate_only_where_a_policy_says_what_is_slow() {
    let mut scene = Scene::new(policy());
    scene.calls(&[SLOW, SLOW, GOOD, SLOW]);
    assert_eq!(scene.state(), BreakerState::Closed, "75 %");
    scene.calls(&[SLOW]);
    assert_eq!(scene.state(), BreakerState::Open, "80 %");
    let mut scene = Scene::new(BreakerPolicy { slow_call: None, ..policy() });
    scene.calls(&[SLOW; 10]);
    assert_eq!(scene.state(), BreakerState::Closed);
}

fn opened() -> Scene {
    let mut scene = Scene::new(policy());
    scene.calls(&[BAD; 4]);
    assert_eq!(scene.state(), BreakerState::Open);
    scene
}

#[test]
fn half_open_lets_exactly_the_probes_through() {
    let mut scene = opened();
    scene.wait(999);
    assert_eq!(scene.breaker.admit(scene.now), Err(Some(ms(1))));
    scene.wait(1);
    let probes: Vec<_> = (0..3).map(|_| scene.admit().unwrap()).collect();
    assert_eq!(scene.state(), BreakerState::HalfOpen);
    for _ in 0..100 {
        assert_eq!(scene.breaker.admit(scene.now), Err(None));
    }
    scene.end(probes[0], GOOD);
    assert_eq!(scene.breaker.admit(scene.now), Err(None), "an ended probe makes no room for another");
    scene.breaker.give_back(probes[1]);
    let instead = scene.admit().expect("one that was not made does");
    assert_eq!(scene.breaker.admit(scene.now), Err(None));
    scene.end(instead, GOOD);
    assert_eq!(scene.state(), BreakerState::HalfOpen);
    scene.end(probes[2], GOOD);
    assert_eq!(scene.state(), BreakerState::Closed);
    assert!(scene.call(GOOD));
}

#[test]
fn probes_that_fail_open_it_again_as_soon_as_it_is_certain_and_for_longer() {
    let mut scene = opened();
    for wait in [1_000, 2_000, 4_000, 5_000, 5_000] {
        assert_eq!(scene.open_for(), ms(wait));
        scene.wait(wait);
        let probes: Vec<_> = (0..3).map(|_| scene.admit().unwrap()).collect();
        scene.end(probes[0], GOOD);
        scene.end(probes[1], BAD);
        assert_eq!(scene.state(), BreakerState::HalfOpen, "1 of 3 is below 50 %");
        scene.end(probes[2], BAD);
        assert_eq!(scene.state(), BreakerState::Open);
    }
    let mut scene = opened();
    scene.wait(1_000);
    let probes: Vec<_> = (0..3).map(|_| scene.admit().unwrap()).collect();
    scene.end(probes[0], BAD);
    scene.end(probes[1], BAD);
    assert_eq!(scene.state(), BreakerState::Open, "the third cannot help any more");
    scene.end(probes[2], GOOD);
    assert_eq!(scene.state(), BreakerState::Open);
}

#[test]
fn waits_go_on_growing_until_it_has_stayed_closed() {
    let mut scene = opened();
    let recover = |scene: &mut Scene| {
        let open = scene.open_for();
        scene.now += open;
        scene.calls(&[GOOD, GOOD, GOOD]);
        assert_eq!(scene.state(), BreakerState::Closed);
    };
    recover(&mut scene);
    scene.wait(4_999);
    scene.calls(&[BAD; 4]);
    assert_eq!(scene.open_for(), ms(2_000), "it flaps");
    recover(&mut scene);
    scene.wait(5_000);
    scene.calls(&[BAD; 4]);
    assert_eq!(scene.open_for(), ms(1_000), "it had recovered");
}

#[test]
fn the_wait_is_spread_over_a_quarter() {
    for (chance, wait) in [(0.0, 750), (0.5, 875), (1.0, 1_000)] {
        let mut scene = Scene::new(policy());
        for _ in 0..4 {
            let admission = scene.admit().unwrap();
            scene.breaker.record(admission, BAD, scene.now, chance);
        }
        assert_eq!(scene.open_for(), ms(wait));
    }
}

#[test]
fn calls_of_an_earlier_state_change_nothing() {
    let mut scene = Scene::new(policy());
    let late: Vec<_> = (0..10).map(|_| scene.admit().unwrap()).collect();
    scene.calls(&[BAD; 4]);
    assert!(!scene.breaker.still(late[0]), "one that waited meanwhile is not made");
    scene.wait(1_000);
    let probe = scene.admit().unwrap();
    for admission in &late {
        scene.end(*admission, BAD);
        scene.breaker.give_back(*admission);
    }
    assert_eq!(scene.state(), BreakerState::HalfOpen);
    scene.end(probe, GOOD);
    scene.calls(&[GOOD, GOOD]);
    assert_eq!(scene.state(), BreakerState::Closed);
    assert!(scene.breaker.still(probe) && scene.breaker.still(late[0]));
    assert_eq!(scene.breaker.totals(scene.now), Totals::default(), "the window is clean");
}

#[test]
fn an_operator_has_the_last_word_until_he_takes_it_back() {
    let mut scene = Scene::new(policy());
    let before = scene.admit().unwrap();
    scene.breaker.force(Some(Forced::Open), scene.now);
    assert_eq!((scene.state(), scene.breaker.forced()), (BreakerState::Open, Some(Forced::Open)));
    scene.wait(1_000_000);
    assert_eq!(scene.breaker.admit(scene.now), Err(None));
    assert!(!scene.breaker.still(before));
    scene.breaker.force(Some(Forced::Closed), scene.now);
    scene.calls(&[BAD; 100]);
    assert_eq!(scene.state(), BreakerState::Closed);
    scene.breaker.force(None, scene.now);
    assert_eq!((scene.state(), scene.breaker.forced()), (BreakerState::Closed, None));
    scene.calls(&[BAD; 4]);
    assert_eq!((scene.state(), scene.open_for()), (BreakerState::Open, ms(1_000)));
    scene.breaker.force(Some(Forced::Closed), scene.now);
    assert!(scene.call(GOOD));
    scene.breaker.force(None, scene.now);
    assert_eq!(scene.state(), BreakerState::Closed, "it begins anew");
}

#[test]
fn another_policy_keeps_the_state() {
    let mut scene = opened();
    scene.breaker.configure(BreakerPolicy { half_open_probes: 1, ..policy() });
    assert_eq!((scene.state(), scene.open_for()), (BreakerState::Open, ms(1_000)));
    scene.wait(1_000);
    scene.calls(&[GOOD]);
    assert_eq!(scene.state(), BreakerState::Closed);
    scene.calls(&[BAD, BAD, BAD]);
    scene.breaker.configure(BreakerPolicy { minimum_calls: 5, ..policy() });
    assert_eq!(scene.breaker.totals(scene.now).failed, 3, "the same window goes on");
    scene.breaker.configure(BreakerPolicy { window: BreakerWindow::Calls(20), ..policy() });
    assert_eq!(scene.breaker.totals(scene.now), Totals::default());
}

/// Goal: whatever happens in whatever sequence, the invariants hold. Method: a hundred thousand random steps (calls that begin, end, are given
/// back, time that passes, operators, policies) beside a plain count of what is under way.
#[test]
fn random_calls_never_break_the_invariants() {
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut scene = Scene::new(policy());
        let mut running: Vec<Admission> = Vec::new();
        // Probes of this half-open time that were let through and not given back.
        let (mut probes, mut generation, mut probes_wanted) = (0_u32, 0, 3);
        for step in 0..5_000 {
            match random.random_range(0..100) {
                0..50 => {
                    let open_until = scene.breaker.opens_for(scene.now);
                    let admitted = scene.admit();
                    let state = scene.state();
                    match state {
                        BreakerState::Closed => assert!(admitted.is_some()),
                        BreakerState::Open => assert!(admitted.is_none()),
                        BreakerState::HalfOpen => {
                            if generation != scene.breaker.generation {
                                (probes, generation) = (0, scene.breaker.generation);
                            }
                            probes += u32::from(admitted.is_some());
                            assert!(probes <= probes_wanted, "seed {seed}, step {step}: {probes} probes");
                        }
                    }
                    if open_until.is_some_and(|left| !left.is_zero()) {
                        assert!(admitted.is_none(), "seed {seed}, step {step}: let through while open");
                    }
                    running.extend(admitted);
                }
                50..80 if !running.is_empty() => {
                    let admission = running.swap_remove(random.random_range(0..running.len()));
                    let mark = Mark { failed: random.random_bool(0.4), slow: random.random_bool(0.3) };
                    scene.breaker.record(admission, mark, scene.now, random.random());
                }
                80..85 if !running.is_empty() => {
                    let admission = running.swap_remove(random.random_range(0..running.len()));
                    if scene.state() == BreakerState::HalfOpen && admission.generation == scene.breaker.generation {
                        probes -= 1;
                    }
                    scene.breaker.give_back(admission);
                }
                85..98 => scene.wait(random.random_range(0..800)),
                98 => {
                    let forced = [None, Some(Forced::Open), Some(Forced::Closed)];
                    scene.breaker.force(forced[random.random_range(0..3)], scene.now);
                }
                _ => {
                    // Fewer probes than are under way would say nothing about the invariant.
                    if scene.state() != BreakerState::HalfOpen {
                        probes_wanted = random.random_range(1..6);
                        scene.breaker.configure(BreakerPolicy { half_open_probes: probes_wanted, ..policy() });
                    }
                }
            }
            let totals = scene.breaker.totals(scene.now);
            assert!(totals.failed <= totals.calls && totals.slow <= totals.calls && totals.calls <= 10, "{totals:?}");
            if let Some(left) = scene.breaker.opens_for(scene.now) {
                assert!(left <= policy().open_max, "{left:?}");
            }
        }
        // From any state it recovers by good calls alone.
        scene.breaker.force(None, scene.now);
        scene.wait(5_000);
        for _ in 0..10 {
            scene.call(GOOD);
        }
        assert_eq!(scene.state(), BreakerState::Closed, "seed {seed}");
    }
}
