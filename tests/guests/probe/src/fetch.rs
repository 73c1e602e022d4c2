//! One outgoing request over `wasi:http`. Invariant: the error is the contract's own error code, by name.

use serde::Deserialize;
use serde_json::{Value, json};
use wasmcloud_component::wasi::http::outgoing_handler;
use wasmcloud_component::wasi::http::types::{
    ErrorCode, Fields, IncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
};
use wasmcloud_component::wasi::io::streams::StreamError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fetch {
    https: bool,
    authority: String,
    path: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    /// Makes it a POST.
    body: Option<String>,
    /// Until the head of the answer.
    timeout_ms: Option<u64>,
}

pub(crate) fn run(fetch: &Fetch) -> Result<Value, String> {
    send(fetch).and_then(read).map_err(|code| format!("{code:?}"))
}

fn bad<T>(_: T) -> ErrorCode {
    ErrorCode::HttpRequestUriInvalid
}

fn send(fetch: &Fetch) -> Result<IncomingResponse, ErrorCode> {
    let headers = Fields::new();
    for (name, value) in &fetch.headers {
        headers.append(name, &value.as_bytes().to_vec()).map_err(bad)?;
    }
    let request = OutgoingRequest::new(headers);
    request.set_method(if fetch.body.is_some() { &Method::Post } else { &Method::Get }).map_err(bad)?;
    request.set_scheme(Some(if fetch.https { &Scheme::Https } else { &Scheme::Http })).map_err(bad)?;
    request.set_authority(Some(&fetch.authority)).map_err(bad)?;
    request.set_path_with_query(Some(&fetch.path)).map_err(bad)?;
    let body = request.body().map_err(bad)?;
    let options = RequestOptions::new();
    options.set_first_byte_timeout(fetch.timeout_ms.map(|ms| ms * 1_000_000)).map_err(bad)?;
    let pending = outgoing_handler::handle(request, Some(options))?;
    if let Some(text) = &fetch.body {
        let stream = body.write().map_err(bad)?;
        for chunk in text.as_bytes().chunks(4096) {
            stream.blocking_write_and_flush(chunk).map_err(bad)?;
        }
    }
    OutgoingBody::finish(body, None)?;
    pending.subscribe().block();
    match pending.get() {
        Some(Ok(answer)) => answer,
        other => Err(ErrorCode::InternalError(Some(format!("{:?}", other.is_some())))),
    }
}

fn read(response: IncomingResponse) -> Result<Value, ErrorCode> {
    let status = response.status();
    let headers: Vec<(String, String)> = response
        .headers()
        .entries()
        .into_iter()
        .map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()))
        .collect();
    let incoming = response.consume().map_err(bad)?;
    let stream = incoming.stream().map_err(bad)?;
    let mut body = Vec::new();
    loop {
        match stream.blocking_read(64 * 1024) {
            Ok(chunk) => body.extend(chunk),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(_)) => return Err(ErrorCode::ConnectionTerminated),
        }
    }
    Ok(json!({"status": status, "headers": headers, "body": String::from_utf8_lossy(&body)}))
}
