//! What a scale command means, given what runs: wadm upgrades an image by a command to start the new version and another, milliseconds
//! later, to stop the old one by its id. Taken by the letter the second would stop the version that the first one has started.

use std::time::Instant;

use crate::lattice::inventory::{Running, Version, scaler};
use crate::lattice::wire::{Annotations, Scale};
use crate::limits;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Nothing runs and nothing shall: tell so.
    NothingRuns,
    /// Bring the component to this version.
    Start(Box<Version>),
    /// End it.
    Stop,
    /// The command ends a version of another scaler than the one that runs: tell that that one is gone, and what runs.
    StopsAnother,
    /// This version was rolled back a short time ago.
    GivenUp(String),
}

/// Decides.
pub(crate) fn decide(running: Option<&Running>, command: &Scale, arrived: Instant) -> Decision {
    match (running, command.count) {
        (None, 0) => Decision::NothingRuns,
        (Some(running), 0) => stop(running, command, arrived),
        (running, _) => start(running, command, arrived),
    }
}

fn start(running: Option<&Running>, command: &Scale, arrived: Instant) -> Decision {
    let commanded = command.annotations.clone().filter(|annotations| !annotations.is_empty());
    let kept = || running.map(|running| running.version.annotations.clone()).unwrap_or_default();
    let version = Version {
        reference: command.component_ref.clone(),
        annotations: commanded.unwrap_or_else(kept),
        max_instances: command.count,
        limits: command.component_limits.clone(),
        configs: command.config.clone(),
        digest: String::new(),
    };
    let given_up = running.and_then(|running| running.given_up.as_ref()).filter(|given_up| {
        // wadm repeats its command at every heartbeat; an operator, who is no scaler, may always try again.
        scaler(&version.annotations).is_some()
            && scaler(&version.annotations) == scaler(&given_up.version.annotations)
            && version.reference == given_up.version.reference
            && arrived.saturating_duration_since(given_up.at) < limits::ROLLED_BACK_HOLD
    });
    match given_up {
        Some(given_up) => Decision::GivenUp(given_up.reason.clone()),
        None => Decision::Start(Box::new(version)),
    }
}

fn stop(running: &Running, command: &Scale, arrived: Instant) -> Decision {
    let none = Annotations::new();
    let Some(asking) = scaler(command.annotations.as_ref().unwrap_or(&none)) else { return Decision::Stop };
    let refused = running.refused.as_ref().filter(|refused| refused.scaler.is_some());
    let asked_for_refused = refused.is_some_and(|refused| refused.scaler.as_deref() == Some(asking));
    if scaler(&running.version.annotations) != Some(asking) {
        // Whoever wanted the version that was refused, and now wants nothing, wants what runs in its place to end.
        return if asked_for_refused { Decision::Stop } else { Decision::StopsAnother };
    }
    // The second half of an upgrade whose first half was refused: the old version is all there is.
    let half_of_upgrade = refused.is_some_and(|refused| {
        !asked_for_refused && arrived.saturating_duration_since(refused.arrived) < limits::UPGRADE_WINDOW
    });
    if half_of_upgrade { Decision::StopsAnother } else { Decision::Stop }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lattice::inventory::{GivenUp, Refused};

    fn by(scaler: &str) -> Annotations {
        match scaler {
            "" => Annotations::new(),
            scaler => [("wasmcloud.dev/scaler", scaler), ("wasmcloud.dev/spread_name", "default")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        }
    }

    fn scale(reference: &str, count: u32, scaler: &str) -> Scale {
        Scale {
            component_ref: reference.into(),
            component_id: "a".into(),
            annotations: Some(by(scaler)),
            count,
            component_limits: None,
            host_id: String::new(),
            config: Vec::new(),
        }
    }

    fn runs(reference: &str, scaler: &str) -> Running {
        let version =
            Version { reference: reference.into(), annotations: by(scaler), max_instances: 2, ..Version::default() };
        Running { version, ..Running::default() }
    }

    /// Goal: §7.4 of the protocol notes. Method: both commands of wadm's upgrade, then the repeated one, then undeploy.
    #[test]
    fn an_upgrade_never_stops_what_runs() {
        let now = Instant::now();
        let old = runs("one", "old");
        assert!(
            matches!(decide(Some(&old), &scale("two", 2, "new"), now), Decision::Start(version) if version.reference == "two")
        );
        let new = runs("two", "new");
        assert_eq!(decide(Some(&new), &scale("one", 0, "old"), now), Decision::StopsAnother);
        assert!(matches!(decide(Some(&new), &scale("two", 2, "new"), now), Decision::Start(_)));
        assert_eq!(decide(Some(&new), &scale("two", 0, "new"), now), Decision::Stop);
        assert_eq!(decide(None, &scale("two", 0, "new"), now), Decision::NothingRuns);
    }

    #[test]
    fn a_person_always_stops_it() {
        let mut unscaled = scale("any", 0, "");
        assert_eq!(decide(Some(&runs("one", "old")), &unscaled, Instant::now()), Decision::Stop);
        unscaled.annotations = None;
        assert_eq!(decide(Some(&runs("one", "old")), &unscaled, Instant::now()), Decision::Stop);
        assert_eq!(decide(Some(&runs("one", "")), &unscaled, Instant::now()), Decision::Stop);
    }

    /// Goal: a refused upgrade leaves the old version in place, and it can be stopped later. Method: times before and after the window.
    #[test]
    fn a_refused_upgrade_keeps_the_old_version() {
        let now = Instant::now();
        let mut old = runs("one", "old");
        old.refused = Some(Refused { scaler: Some("new".into()), arrived: now });
        let soon = now + Duration::from_millis(50);
        assert_eq!(decide(Some(&old), &scale("one", 0, "old"), soon), Decision::StopsAnother);
        assert_eq!(decide(Some(&old), &scale("two", 0, "new"), soon), Decision::Stop);
        let later = now + limits::UPGRADE_WINDOW;
        assert_eq!(decide(Some(&old), &scale("one", 0, "old"), later), Decision::Stop);
    }

    #[test]
    fn a_version_that_was_rolled_back_is_not_tried_again_for_its_scaler() {
        let now = Instant::now();
        let mut old = runs("one", "old");
        let version = Version { reference: "two".into(), annotations: by("new"), ..Version::default() };
        old.given_up = Some(GivenUp { version, reason: "it trapped".into(), at: now });
        assert_eq!(decide(Some(&old), &scale("two", 2, "new"), now), Decision::GivenUp("it trapped".into()));
        for other in [scale("two", 2, "newer"), scale("three", 2, "new"), scale("two", 2, "")] {
            assert!(matches!(decide(Some(&old), &other, now), Decision::Start(_)), "{other:?}");
        }
        let later = now + limits::ROLLED_BACK_HOLD;
        assert!(matches!(decide(Some(&old), &scale("two", 2, "new"), later), Decision::Start(_)));
    }

    #[test]
    fn annotations_stay_when_a_command_has_none() {
        let Decision::Start(version) = decide(Some(&runs("one", "old")), &scale("one", 5, ""), Instant::now()) else {
            panic!("not started")
        };
        assert_eq!((version.annotations, version.max_instances), (by("old"), 5));
    }
}
