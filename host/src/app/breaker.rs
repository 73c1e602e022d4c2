//! The operator's command for breakers: asks the admin port of a host that runs. Exit code 0: done; 1: the host refused, for example because it
//! has no such breaker; 2: it could not be asked.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::header::CONTENT_TYPE;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use crate::config::{BreakerArguments, BreakerCommand};

/// The host answers from memory.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the command. Returns the process's exit code.
///
/// # Errors
/// When the host cannot be asked.
pub async fn run(arguments: &BreakerArguments) -> anyhow::Result<u8> {
    let admin = &arguments.admin;
    let (id, force) = match &arguments.command {
        BreakerCommand::List { json } => return list(admin, *json).await,
        BreakerCommand::Open { id } => (id, "open"),
        BreakerCommand::Close { id } => (id, "closed"),
        BreakerCommand::Auto { id } => (id, "auto"),
    };
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    if id.is_empty() || !id.chars().all(is_name) {
        eprintln!("swiftcart-host: `{id}` is no name of a breaker; `breaker list` shows them");
        return Ok(1);
    }
    let (status, answer) = ask(admin, Method::POST, &format!("/v1/breakers/{id}"), &json!({"force": force})).await?;
    if status != StatusCode::OK {
        eprintln!("swiftcart-host: {}", answer.get("status").and_then(Value::as_str).unwrap_or(status.as_str()));
        return Ok(1);
    }
    print(&line(&answer))?;
    Ok(0)
}

async fn list(admin: &Uri, as_json: bool) -> anyhow::Result<u8> {
    let (status, answer) = ask(admin, Method::GET, "/v1/breakers", &Value::Null).await?;
    if status != StatusCode::OK {
        bail!("{admin} answers {status}: is it the admin port of a host?");
    }
    if as_json {
        print(&format!("{answer:#}"))?;
        return Ok(0);
    }
    let breakers = answer.get("breakers").and_then(Value::as_array).cloned().unwrap_or_default();
    for breaker in &breakers {
        print(&line(breaker))?;
    }
    if breakers.is_empty() {
        eprintln!("swiftcart-host: no link of this host has a breaker");
    }
    Ok(0)
}

/// `order.payment.swiftcart.payment.payments  open  tries again in 812 ms  10 calls, 6 failed, 0 slow`
fn line(breaker: &Value) -> String {
    let text = |key: &str| breaker.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |key: &str| breaker.get(key).and_then(Value::as_u64).unwrap_or_default();
    let mut parts = vec![text("id"), text("state")];
    if breaker.get("forced").is_some_and(|forced| !forced.is_null()) {
        parts.push("held by an operator".to_owned());
    }
    if breaker.get("triesAgainInMs").is_some() {
        parts.push(format!("tries again in {} ms", number("triesAgainInMs")));
    }
    parts.push(format!("{} calls, {} failed, {} slow", number("calls"), number("failed"), number("slow")));
    parts.join("  ")
}

async fn ask(admin: &Uri, method: Method, path: &str, body: &Value) -> anyhow::Result<(StatusCode, Value)> {
    let authority = admin.authority().context("the admin URL has no address")?;
    let bytes = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    let request = Request::builder().method(method).uri(format!("http://{authority}{path}"));
    let request = request.header(CONTENT_TYPE, "application/json").body(Full::new(bytes))?;
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let asking = async {
        let response = client.request(request).await?;
        let status = response.status();
        anyhow::Ok((status, response.into_body().collect().await?.to_bytes()))
    };
    let answered = tokio::time::timeout(TIMEOUT, asking).await.context("no answer in time");
    let (status, bytes) =
        answered.and_then(|answered| answered).with_context(|| format!("the host at {admin} cannot be asked"))?;
    let answer = serde_json::from_slice(&bytes).with_context(|| format!("{admin} answers {status} without JSON"))?;
    Ok((status, answer))
}

fn print(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}").context("writing to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_where_a_breaker_stands() {
        let mut breaker = json!({
            "id": "a.b.c.d.e", "state": "open", "forced": null, "calls": 10, "failed": 6, "slow": 0, "triesAgainInMs": 812,
        });
        assert_eq!(line(&breaker), "a.b.c.d.e  open  tries again in 812 ms  10 calls, 6 failed, 0 slow");
        breaker = json!({"id": "a.b.c.d.e", "state": "closed", "forced": "closed", "calls": 0, "failed": 0, "slow": 0});
        assert_eq!(line(&breaker), "a.b.c.d.e  closed  held by an operator  0 calls, 0 failed, 0 slow");
    }
}
