//! Whether a call that failed is made again, and after which pause. Invariants: what may have acted is made again only where the policy says that
//! the callee is idempotent; retries are a bounded part of the calls (tower's budget); none begins at or after the deadline; and once something may
//! have been done, the caller is never told that nothing was.

use std::time::{Duration, Instant};

use tower::retry::budget::{Budget as _, TpsBudget};
use wasmtime::component::Val;

use super::measure::Measures;
use super::outcome::Verdict;
use crate::manifest::RetryPolicy;
use crate::runtime::CallError;

/// For so long a call allows retries of others.
const BUDGET_TIME: Duration = Duration::from_secs(10);

/// What all calls of one link share.
pub(super) struct Retrying {
    policy: RetryPolicy,
    budget: TpsBudget,
}

impl Retrying {
    pub(super) fn new(policy: RetryPolicy) -> Self {
        let share = f32::from(u16::try_from(policy.budget_percent).unwrap_or(u16::MAX)) / 100.0;
        Self { policy, budget: TpsBudget::new(BUDGET_TIME, policy.budget_per_second, share) }
    }
}

/// One call with all its attempts.
pub(super) struct Course<'a> {
    retrying: Option<&'a Retrying>,
    measures: &'a Measures,
    attempts: u32,
    /// The first attempt that may have acted: its end, and what it told.
    uncertain: Option<(Result<(), CallError>, Option<Val>)>,
}

impl<'a> Course<'a> {
    pub(super) fn begin(retrying: Option<&'a Retrying>, measures: &'a Measures) -> Self {
        if let Some(retrying) = retrying {
            retrying.budget.deposit();
        }
        Self { retrying, measures, attempts: 0, uncertain: None }
    }

    /// An attempt ended. The pause before the next one, if there is to be one; `chance` is from 0 to 1.
    pub(super) fn next(
        &mut self,
        outcome: &Result<(), CallError>,
        verdict: Verdict,
        results: &[Val],
        deadline: Instant,
        chance: f64,
    ) -> Option<Duration> {
        let Retrying { policy, budget } = self.retrying?;
        self.attempts += 1;
        if verdict == Verdict::MayHaveActed && self.uncertain.is_none() {
            self.uncertain = Some((outcome.clone(), results.first().cloned()));
        }
        let allowed = match verdict {
            Verdict::NothingDone => true,
            Verdict::MayHaveActed => policy.idempotent,
            Verdict::Answered | Verdict::NotTheCallee => false,
        };
        if !allowed || self.attempts >= policy.attempts {
            return None;
        }
        let longest = policy.base.saturating_mul(2_u32.saturating_pow(self.attempts - 1)).min(policy.max);
        let pause = longest.mul_f64(chance.clamp(0.0, 1.0));
        if Instant::now() + pause >= deadline {
            return None;
        }
        if !budget.withdraw() {
            self.measures.retries_denied.increment(1);
            return None;
        }
        self.measures.retried.increment(1);
        Some(pause)
    }

    /// What the caller is told in the end. `refused`: the last attempt surely did nothing.
    pub(super) fn conclude(
        self,
        outcome: Result<(), CallError>,
        refused: bool,
        results: &mut [Val],
    ) -> Result<(), CallError> {
        let Some((first, told)) = self.uncertain.filter(|_| refused) else { return outcome };
        if let (Some(value), Some(place)) = (told, results.first_mut()) {
            *place = value;
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::super::path::Path;
    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            attempts: 3,
            base: Duration::from_millis(100),
            max: Duration::from_millis(150),
            idempotent: false,
            budget_percent: 20,
            budget_per_second: 0,
        }
    }

    fn measures() -> Measures {
        Measures::new(&Path::new("caller", "callee", "test:calls/echo"))
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn not_running() -> Result<(), CallError> {
        Err(CallError::NotRunning { component: "callee".to_owned() })
    }

    fn late() -> Result<(), CallError> {
        Err(CallError::DeadlineExceeded { component: "callee".to_owned() })
    }

    /// With enough in the budget for all that a test does.
    fn rich(policy: RetryPolicy) -> Retrying {
        Retrying::new(RetryPolicy { budget_per_second: 100, ..policy })
    }

    #[test]
    fn pauses_grow_to_the_longest_with_full_jitter_and_attempts_end() {
        let (retrying, measures) = (rich(policy()), measures());
        for (chance, pauses) in [(1.0, [100, 150]), (0.5, [50, 75]), (0.0, [0, 0])] {
            let mut course = Course::begin(Some(&retrying), &measures);
            for pause in pauses {
                let found = course.next(&not_running(), Verdict::NothingDone, &[], later(), chance);
                assert_eq!(found, Some(Duration::from_millis(pause)));
            }
            assert_eq!(course.next(&not_running(), Verdict::NothingDone, &[], later(), chance), None);
        }
    }

    #[test]
    fn only_what_surely_did_nothing_is_made_again_unless_the_callee_is_idempotent() {
        let (careful, idempotent) = (rich(policy()), rich(RetryPolicy { idempotent: true, ..policy() }));
        let measures = measures();
        for (retrying, verdict, again) in [
            (&careful, Verdict::NothingDone, true),
            (&careful, Verdict::MayHaveActed, false),
            (&careful, Verdict::Answered, false),
            (&careful, Verdict::NotTheCallee, false),
            (&idempotent, Verdict::MayHaveActed, true),
            (&idempotent, Verdict::Answered, false),
            (&idempotent, Verdict::NotTheCallee, false),
        ] {
            let mut course = Course::begin(Some(retrying), &measures);
            assert_eq!(course.next(&late(), verdict, &[], later(), 0.0).is_some(), again, "{verdict:?}");
        }
        let mut none = Course::begin(None, &measures);
        assert_eq!(none.next(&not_running(), Verdict::NothingDone, &[], later(), 0.0), None);
    }

    #[test]
    fn nothing_begins_after_the_deadline() {
        let (retrying, measures) = (rich(policy()), measures());
        let soon = Instant::now() + Duration::from_millis(50);
        assert_eq!(
            Course::begin(Some(&retrying), &measures).next(&not_running(), Verdict::NothingDone, &[], soon, 1.0),
            None
        );
        assert_eq!(
            Course::begin(Some(&retrying), &measures).next(
                &not_running(),
                Verdict::NothingDone,
                &[],
                Instant::now(),
                0.0
            ),
            None
        );
    }

    #[test]
    fn retries_are_a_fifth_of_the_calls_at_most() {
        let (retrying, measures) = (Retrying::new(policy()), measures());
        let made = (0..100)
            .filter(|_| {
                Course::begin(Some(&retrying), &measures)
                    .next(&not_running(), Verdict::NothingDone, &[], later(), 0.0)
                    .is_some()
            })
            .count();
        assert!((19..=20).contains(&made), "{made} of 100");
    }

    #[test]
    fn once_something_may_have_been_done_nobody_says_that_nothing_was() {
        let (retrying, measures) = (rich(RetryPolicy { idempotent: true, ..policy() }), measures());
        let mut course = Course::begin(Some(&retrying), &measures);
        assert!(course.next(&late(), Verdict::MayHaveActed, &[], later(), 0.0).is_some());
        assert!(course.next(&not_running(), Verdict::NothingDone, &[], later(), 0.0).is_some());
        let told = course.conclude(not_running(), true, &mut []);
        assert_eq!(told.map_err(|error| error.class()), Err("deadline"));

        let word = |name: &str| Val::Variant(name.to_owned(), None);
        let mut course = Course::begin(Some(&retrying), &measures);
        assert!(course.next(&Ok(()), Verdict::MayHaveActed, &[word("unknown")], later(), 0.0).is_some());
        let mut results = [word("unavailable")];
        assert!(course.conclude(Ok(()), true, &mut results).is_ok());
        assert_eq!(results, [word("unknown")]);

        let mut course = Course::begin(Some(&retrying), &measures);
        assert!(course.next(&late(), Verdict::MayHaveActed, &[], later(), 0.0).is_some());
        assert!(course.conclude(Ok(()), false, &mut []).is_ok(), "an answer is an answer");
    }
}
