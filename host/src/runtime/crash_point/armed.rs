//! A host with crash points. Invariant: a point strikes once; a call that none was set for before it began is neither watched nor disturbed.
#![cfg_attr(not(feature = "crash-points"), allow(dead_code, reason = "compiled for its unit tests alone"))]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::runtime::TraceContext;

/// Calls that are remembered per plan: a timer that ticks while nobody looks must not fill the memory.
const MAX_CALLS: usize = 256;

/// When, seen from the effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Moment {
    /// It has not taken place.
    Before,
    /// It has, and whoever asked for it does not know yet.
    After,
}

/// What to do then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The host ends at once, as by `kill -9`.
    Die,
    /// The caller is told that the effect did not take place (before) or that its outcome is not known (after).
    Fail,
}

/// Where to strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strike {
    /// The number of the effect in its chain, from 1.
    pub effect: u32,
    /// Before or after it.
    pub moment: Moment,
    /// Die or fail.
    pub action: Action,
}

/// Which calls to watch, and where to strike the first that comes so far. Without `strike` they are only watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The component that is called from outside.
    pub component: String,
    /// Its export, without a version.
    pub export: String,
    /// Only calls of this trace: 32 hex digits.
    #[serde(default)]
    pub trace: Option<String>,
    /// Only calls with this subject: method and path of a request, key of a message, name of a timer.
    #[serde(default)]
    pub subject: Option<String>,
    /// Where to strike.
    #[serde(default)]
    pub strike: Option<Strike>,
}

/// A call that was watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Call {
    /// As in [`Plan`].
    pub subject: String,
    /// As in [`Plan`].
    pub trace: String,
    /// Its effects so far, in order: who asked for what.
    pub effects: Vec<String>,
}

/// What became of a plan.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Progress {
    /// Whether the point has struck.
    pub struck: bool,
    /// The calls that were watched.
    pub calls: Vec<Call>,
}

/// A plan in force.
#[derive(Debug)]
struct Armed {
    plan: Plan,
    progress: Mutex<Progress>,
}

/// The plan in force in this process, if there is one.
static ARMED: Mutex<Option<Arc<Armed>>> = Mutex::new(None);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts a plan in the place of the one before; `None` ends that.
pub fn arm(plan: Option<Plan>) {
    tracing::info!(?plan, "crash point set");
    *locked(&ARMED) = plan.map(|plan| Arc::new(Armed { plan, progress: Mutex::default() }));
}

/// The plan in force and what became of it.
#[must_use]
pub fn progress() -> Option<(Plan, Progress)> {
    let armed = locked(&ARMED).clone()?;
    let progress = locked(&armed.progress).clone();
    Some((armed.plan.clone(), progress))
}

/// What the host does by itself is watched as calls of this component: the export is the kind of work, the subject what it is done on.
#[cfg(feature = "crash-points")]
const ITSELF: &str = "host";

/// Shows what consumers and relays do by themselves to the plan in force.
#[cfg(feature = "crash-points")]
fn watch_own_steps() {
    use swiftcart_provider_kafka::step;
    step::watch_with(|kind, subject| {
        let armed = locked(&ARMED).clone()?;
        let Watched { armed, call } = armed.watch(ITSELF, kind, "", subject.to_owned())?;
        Some(Box::new(move |what| {
            let (armed, number) = (armed.clone(), armed.note(call, format!("{ITSELF}: {what}")));
            Box::new(move |moment| {
                let moment = match moment {
                    step::Moment::Before => Moment::Before,
                    step::Moment::After => Moment::After,
                };
                armed.strike(number, moment)
            })
        }))
    });
}

/// Says in the log that this is a host for tests, and lets its own steps be watched.
pub fn announce() {
    #[cfg(feature = "crash-points")]
    watch_own_steps();
    tracing::warn!(
        "this host was built with crash points: whoever reaches its admin port can kill it. It is for tests only"
    );
}

/// Numbers the effects of a call that is watched.
#[derive(Clone, Debug, Default)]
pub struct Chain(Option<Watched>);

#[derive(Clone, Debug)]
struct Watched {
    armed: Arc<Armed>,
    call: usize,
}

impl Chain {
    /// The chain of a call that comes from outside. `export` has no version.
    #[must_use]
    pub fn begin(component: &str, export: &str, trace: &TraceContext, subject: impl FnOnce() -> String) -> Self {
        let armed = locked(&ARMED).clone();
        Self(armed.and_then(|armed| armed.watch(component, export, &trace.trace_id(), subject())))
    }

    /// The next effect: what `component` asks for.
    #[must_use]
    pub fn point(&self, component: &str, what: impl FnOnce() -> String) -> Point {
        Point(self.0.clone().map(|watched| {
            let number = watched.armed.note(watched.call, format!("{component}: {}", what()));
            (watched.armed, number)
        }))
    }
}

/// One effect.
#[derive(Debug)]
pub struct Point(Option<(Arc<Armed>, u32)>);

impl Point {
    /// The effect, or what strikes before or after it: `refused` makes the error that says that nothing was done, `lost` the one that says
    /// that nobody knows.
    ///
    /// # Errors
    /// The effect's own, and these.
    pub async fn around<T, E>(
        self,
        effect: impl Future<Output = Result<T, E>>,
        refused: impl FnOnce(String) -> E,
        lost: impl FnOnce(String) -> E,
    ) -> Result<T, E> {
        let Some((armed, number)) = self.0 else { return effect.await };
        if let Some(text) = armed.strike(number, Moment::Before) {
            return Err(refused(text));
        }
        let outcome = effect.await;
        match armed.strike(number, Moment::After) {
            Some(text) => Err(lost(text)),
            None => outcome,
        }
    }
}

impl Armed {
    fn watch(self: Arc<Self>, component: &str, export: &str, trace: &str, subject: String) -> Option<Watched> {
        let plan = &self.plan;
        let wanted = |asked: &Option<String>, found: &str| asked.as_deref().is_none_or(|asked| asked == found);
        let ours = plan.component == component
            && plan.export == export
            && wanted(&plan.trace, trace)
            && wanted(&plan.subject, &subject);
        let call = {
            let mut progress = locked(&self.progress);
            if !ours || progress.calls.len() >= MAX_CALLS {
                return None;
            }
            progress.calls.push(Call { subject, trace: trace.to_owned(), effects: Vec::new() });
            progress.calls.len() - 1
        };
        Some(Watched { armed: self, call })
    }

    /// Remembers an effect and gives its number.
    fn note(&self, call: usize, effect: String) -> u32 {
        let mut progress = locked(&self.progress);
        let Some(call) = progress.calls.get_mut(call) else { return u32::MAX };
        call.effects.push(effect);
        u32::try_from(call.effects.len()).unwrap_or(u32::MAX)
    }

    /// Whether the point is here. Does not return if it is one to die at.
    fn strike(&self, number: u32, moment: Moment) -> Option<String> {
        let action = self.strikes(number, moment)?;
        match action {
            Action::Die => die(),
            Action::Fail => Some(format!("crash point: {moment:?} effect {number}").to_lowercase()),
        }
    }

    fn strikes(&self, number: u32, moment: Moment) -> Option<Action> {
        let strike = self.plan.strike.filter(|strike| strike.effect == number && strike.moment == moment)?;
        let mut progress = locked(&self.progress);
        (!std::mem::replace(&mut progress.struck, true)).then_some(strike.action)
    }
}

/// As by `kill -9`: nothing is flushed, closed or told.
fn die() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    // Only where the signal is held up.
    std::process::abort()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn armed(strike: Option<Strike>) -> Arc<Armed> {
        let plan = Plan {
            component: "cart".to_owned(),
            export: "test:shop/cart".to_owned(),
            trace: None,
            subject: Some("one".to_owned()),
            strike,
        };
        Arc::new(Armed { plan, progress: Mutex::default() })
    }

    fn chain(armed: &Arc<Armed>) -> Chain {
        Chain(armed.clone().watch("cart", "test:shop/cart", "7", "one".to_owned()))
    }

    async fn run(chain: &Chain, effects: u32) -> Vec<Result<u32, String>> {
        let mut outcomes = Vec::new();
        for effect in 1..=effects {
            let point = chain.point("cart", || format!("effect {effect}"));
            let (refused, lost) = (|text| format!("refused: {text}"), |text| format!("lost: {text}"));
            outcomes.push(point.around(async { Ok(effect) }, refused, lost).await);
        }
        outcomes
    }

    /// Goal: only the call that was meant is watched. Method: calls that differ in one thing each.
    #[test]
    fn other_calls_are_left_alone() {
        let armed = armed(None);
        for (component, export, subject) in
            [("till", "test:shop/cart", "one"), ("cart", "test:shop/till", "one"), ("cart", "test:shop/cart", "two")]
        {
            assert!(armed.clone().watch(component, export, "7", subject.to_owned()).is_none());
        }
        assert!(chain(&armed).0.is_some());
        assert_eq!(locked(&armed.progress).calls.len(), 1);
    }

    /// Goal: effects are numbered in the order in which they are asked for, and a plan without a strike disturbs nothing. Method: one call.
    #[tokio::test]
    async fn effects_are_noted_in_order() {
        let armed = armed(None);
        assert_eq!(run(&chain(&armed), 3).await, [Ok(1), Ok(2), Ok(3)]);
        let progress = locked(&armed.progress).clone();
        assert_eq!(progress.calls[0].effects, ["cart: effect 1", "cart: effect 2", "cart: effect 3"]);
        assert!(!progress.struck);
    }

    /// Goal: the point strikes at its number and moment, once, in the first call that comes so far. Method: a call that is too short, one
    /// that is not, and one after it.
    #[tokio::test]
    async fn a_point_strikes_once() {
        for (moment, text) in
            [(Moment::Before, "refused: crash point: before"), (Moment::After, "lost: crash point: after")]
        {
            let armed = armed(Some(Strike { effect: 2, moment, action: Action::Fail }));
            assert_eq!(run(&chain(&armed), 1).await, [Ok(1)]);
            let outcomes = run(&chain(&armed), 3).await;
            assert_eq!(outcomes, [Ok(1), Err(format!("{text} effect 2")), Ok(3)]);
            assert!(locked(&armed.progress).struck);
            assert_eq!(run(&chain(&armed), 3).await, [Ok(1), Ok(2), Ok(3)]);
        }
    }

    /// Goal: what is sent over the admin port is read strictly. Method: a good plan and a misspelt one.
    #[test]
    fn plans_are_read() {
        let text = r#"{"component":"cart","export":"a:b/c","strike":{"effect":3,"moment":"after","action":"die"}}"#;
        let plan: Plan = serde_json::from_str(text).unwrap();
        assert_eq!(plan.strike, Some(Strike { effect: 3, moment: Moment::After, action: Action::Die }));
        assert!(serde_json::from_str::<Plan>(r#"{"component":"cart","export":"a:b/c","effect":3}"#).is_err());
    }
}
