//! What the end of a call says about its callee. Reads the three words that `link/failure.rs` writes (ADR 0006), wherever a contract has them:
//! `unavailable`, `uncertain` and `unknown`. Invariant: an ordinary answer, a refusal of the business included, is never a failure.

use wasmtime::component::Val;

use crate::runtime::CallError;

/// The end of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The callee answered, whatever it said.
    Answered,
    /// Surely nothing was done.
    NothingDone,
    /// Something may have been done.
    MayHaveActed,
    /// It never got as far as the callee, for reasons of the caller's own.
    NotTheCallee,
}

/// Contracts nest their errors one level deep.
const MAX_NESTING: u32 = 1;

/// Reads the end of a call.
pub(super) fn verdict(outcome: &Result<(), CallError>, results: &[Val]) -> Verdict {
    match outcome {
        Err(CallError::NotLinked { .. } | CallError::TooDeep) => Verdict::NotTheCallee,
        Err(error) if error.may_have_acted() => Verdict::MayHaveActed,
        Err(_) => Verdict::NothingDone,
        Ok(()) => results.first().map_or(Verdict::Answered, in_value),
    }
}

fn in_value(value: &Val) -> Verdict {
    match value {
        Val::Result(Ok(Some(inside)) | Err(Some(inside))) => in_variant(inside, 0),
        other => in_variant(other, 0),
    }
}

fn in_variant(value: &Val, nesting: u32) -> Verdict {
    let Val::Variant(case, payload) = value else { return Verdict::Answered };
    let says_why = matches!(payload.as_deref(), None | Some(Val::String(_) | Val::Option(_)));
    match (case.as_str(), payload) {
        ("unavailable", _) if says_why => Verdict::NothingDone,
        ("uncertain" | "unknown", _) if says_why => Verdict::MayHaveActed,
        ("failed", Some(inside)) if nesting < MAX_NESTING => in_variant(inside, nesting + 1),
        _ => Verdict::Answered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &str, payload: Option<Val>) -> Val {
        Val::Variant(name.to_owned(), payload.map(Box::new))
    }

    fn err(value: Val) -> Val {
        Val::Result(Err(Some(Box::new(value))))
    }

    fn ok(value: Val) -> Val {
        Val::Result(Ok(Some(Box::new(value))))
    }

    fn text() -> Option<Val> {
        Some(Val::String("why".to_owned()))
    }

    #[test]
    fn the_words_of_a_contract_are_read_wherever_it_has_them() {
        for (value, expected) in [
            (err(case("unavailable", text())), Verdict::NothingDone),
            (err(case("unavailable", Some(Val::Option(None)))), Verdict::NothingDone),
            (err(case("uncertain", text())), Verdict::MayHaveActed),
            (err(case("failed", Some(case("uncertain", text())))), Verdict::MayHaveActed),
            (case("unknown", text()), Verdict::MayHaveActed),
            (case("unavailable", None), Verdict::NothingDone),
            (ok(case("unknown", text())), Verdict::MayHaveActed),
            (ok(case("unavailable", text())), Verdict::NothingDone),
        ] {
            assert_eq!(verdict(&Ok(()), std::slice::from_ref(&value)), expected, "{value:?}");
        }
    }

    #[test]
    fn an_answer_is_no_failure_even_if_it_refuses() {
        let twice = case("failed", Some(case("failed", Some(case("unknown", text())))));
        for value in [
            case("declined", Some(Val::Record(Vec::new()))),
            ok(case("declined", text())),
            err(case("out-of-stock", Some(Val::List(Vec::new())))),
            err(case("unknown-sku", Some(Val::List(Vec::new())))),
            err(case("unknown", Some(Val::List(Vec::new())))),
            err(case("failed", Some(case("internal", text())))),
            err(twice),
            err(Val::String("unavailable".to_owned())),
            Val::Enum("unknown".to_owned()),
            Val::U32(1),
        ] {
            assert_eq!(verdict(&Ok(()), std::slice::from_ref(&value)), Verdict::Answered, "{value:?}");
        }
        assert_eq!(verdict(&Ok(()), &[]), Verdict::Answered);
    }

    #[test]
    fn errors_are_told_apart_by_who_and_whether() {
        let component = || "callee".to_owned();
        for (error, expected) in [
            (CallError::NotRunning { component: component() }, Verdict::NothingDone),
            (CallError::Overloaded { component: component(), reason: "its queue is full" }, Verdict::NothingDone),
            (CallError::DeadlineExceeded { component: component() }, Verdict::MayHaveActed),
            (CallError::Trap { component: component(), reason: String::new() }, Verdict::MayHaveActed),
            (CallError::TooDeep, Verdict::NotTheCallee),
            (CallError::NotLinked { component: component(), import: component() }, Verdict::NotTheCallee),
        ] {
            assert_eq!(verdict(&Err(error.clone()), &[]), expected, "{error}");
        }
    }
}
