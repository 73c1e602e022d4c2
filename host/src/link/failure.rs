//! Tells a caller in its own contract's words that its callee could not answer. Contracts of this kind have, in the error of a `result` or
//! in a plain `variant`, a case `unavailable` (nothing was done) and a case `uncertain` or `unknown` (it is not known what was done), with
//! a text or an optional text; or a case `failed` or `unavailable` that holds such a variant. "May have acted" is never told as "nothing
//! was done".

use wasmtime::component::Val;
use wasmtime::component::types::{Type, Variant};

use crate::runtime::CallError;

/// The value of type `ty` that says what happened, if the contract can say it.
#[must_use]
pub(crate) fn value(ty: &Type, error: &CallError) -> Option<Val> {
    match ty {
        Type::Result(result) => Some(Val::Result(Err(Some(Box::new(in_error(&result.err()?, error, 0)?))))),
        Type::Variant(variant) => in_variant(variant, error, 0),
        _ => None,
    }
}

/// Contracts nest their errors one level deep.
const MAX_NESTING: u32 = 1;

fn in_error(ty: &Type, error: &CallError, nesting: u32) -> Option<Val> {
    match ty {
        Type::Variant(variant) => in_variant(variant, error, nesting),
        _ => None,
    }
}

fn in_variant(variant: &Variant, error: &CallError, nesting: u32) -> Option<Val> {
    let names: &[&str] = if error.may_have_acted() { &["uncertain", "unknown"] } else { &["unavailable"] };
    for case in variant.cases() {
        if names.contains(&case.name)
            && let Some(payload) = text(case.ty.as_ref(), error)
        {
            return Some(Val::Variant(case.name.to_owned(), payload));
        }
    }
    if nesting >= MAX_NESTING {
        return None;
    }
    variant.cases().filter(|case| case.name == "failed").find_map(|case| {
        let inner = in_error(case.ty.as_ref()?, error, nesting + 1)?;
        Some(Val::Variant(case.name.to_owned(), Some(Box::new(inner))))
    })
}

/// The case's payload: none, a text, or an optional text (left out: such a text is an identifier, not a reason).
fn text(ty: Option<&Type>, error: &CallError) -> Option<Option<Box<Val>>> {
    match ty {
        None => Some(None),
        Some(Type::String) => Some(Some(Box::new(Val::String(format!("{} ({})", error.root(), error.class()))))),
        Some(Type::Option(_)) => Some(Some(Box::new(Val::Option(None)))),
        Some(_) => None,
    }
}
