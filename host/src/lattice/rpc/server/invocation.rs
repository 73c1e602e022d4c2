//! One call of a function: parameters by the types of the version that runs, the call, its results. A failure is answered in the contract's own
//! words if it has some, so that callers of any kind understand it.

use async_nats::Message;
use bytes::BytesMut;
use wasmtime::component::types::ComponentFunc;
use wasmtime::component::{Type, Val};

use super::super::client::decode_all;
use super::super::codec::{self, CodecError};
use super::super::context;
use super::super::exchange::{Exchange, ExchangeError};
use super::Callee;
use crate::limits;
use crate::link::failure;
use crate::runtime::{CallContext, CallError, Component};

pub(super) async fn answer(callee: &Callee, interface: &str, function: &str, message: Message) {
    // Without a reply subject nobody waits, and wRPC has no such calls.
    let Some(exchange) = Exchange::of(&callee.nats, &message) else { return };
    let call = context::context(message.headers.as_ref());
    let component = callee.slot.load().current();
    let (call, component) = match (call, component) {
        (Ok(call), Ok(component)) => (call, component),
        (Err(error), _) | (_, Err(error)) => return refuse(&exchange, &error).await,
    };
    let Some(ty) = component.function_type(interface, function).cloned() else {
        let component = format!("{} (no export {interface}#{function})", callee.id);
        return refuse(&exchange, &CallError::NotRunning { component }).await;
    };
    let outcome = serve(callee, &exchange, &component, (interface, function), &ty, message, call).await;
    match outcome {
        Ok(results) => exchange.answer(results.freeze()).await,
        Err(error) => {
            let result = ty.results().next();
            match result.and_then(|ty| in_words(&ty, &error)) {
                Some(results) => exchange.answer(results.freeze()).await,
                None => exchange.fail(&error).await,
            }
        }
    }
}

/// Accepts the call so that the caller hears at once that it failed.
async fn refuse(exchange: &Exchange, error: &CallError) {
    if exchange.accept().await.is_ok() {
        exchange.fail(error).await;
    }
}

async fn serve(
    callee: &Callee,
    exchange: &Exchange,
    component: &Component,
    (interface, function): (&str, &str),
    ty: &ComponentFunc,
    message: Message,
    call: CallContext,
) -> Result<BytesMut, CallError> {
    let types: Vec<Type> = ty.params().map(|(_, ty)| ty).collect();
    let reading = read(callee, exchange, &types, message);
    let params = match tokio::time::timeout(call.remaining(), reading).await {
        Ok(Ok(params)) => params,
        // Nothing was done: the call had not begun.
        Ok(Err(reason)) => {
            tracing::warn!(component = %callee.id, interface, function, reason, "a call of another host cannot be read");
            let component = format!("{} for this call of {interface}#{function} ({reason})", callee.id);
            return Err(CallError::NotRunning { component });
        }
        Err(_) => {
            return Err(CallError::Overloaded { component: callee.id.clone(), reason: super::super::failure::SLOW });
        }
    };
    let types: Vec<Type> = ty.results().collect();
    let mut results = vec![Val::Bool(false); types.len()];
    component.call(interface, function, &params, &mut results, call).await?;
    let mut bytes = BytesMut::new();
    for (value, ty) in results.iter().zip(&types) {
        codec::encode(value, ty, &mut bytes).map_err(|error| lost(callee, error.to_string()))?;
    }
    if bytes.len() > limits::MAX_REMOTE_BYTES {
        return Err(lost(callee, "its answer is larger than a call between hosts may be".to_owned()));
    }
    Ok(bytes)
}

fn lost(callee: &Callee, reason: String) -> CallError {
    CallError::Lost { component: callee.id.clone(), reason }
}

/// Parameters mostly are in the first message as a whole; then nothing needs to be subscribed.
async fn read(callee: &Callee, exchange: &Exchange, types: &[Type], message: Message) -> Result<Vec<Val>, String> {
    let words = |error: ExchangeError| error.to_string();
    match decode_all(&message.payload, types) {
        Ok(values) => {
            exchange.accept().await.map_err(words)?;
            return Ok(values);
        }
        Err(CodecError::Truncated) => {}
        Err(error) => {
            exchange.accept().await.map_err(words)?;
            return Err(error.to_string());
        }
    }
    let _large = callee.large.acquire().await.map_err(|error| error.to_string())?;
    let mut params = exchange.accept_more(false).await.map_err(words)?;
    let mut bytes = BytesMut::from(message.payload);
    let mut next_try = bytes.len() * 2;
    loop {
        let open = params.append(&mut bytes).await.map_err(words)?;
        if open && bytes.len() < next_try {
            continue;
        }
        next_try = bytes.len() * 2;
        match decode_all(&bytes, types) {
            Ok(values) => return Ok(values),
            Err(CodecError::Truncated) if open => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// The encoded value that tells the failure, if the contract can.
fn in_words(ty: &Type, error: &CallError) -> Option<BytesMut> {
    let value = failure::value(ty, error)?;
    let mut bytes = BytesMut::new();
    codec::encode(&value, ty, &mut bytes).ok()?;
    Some(bytes)
}
