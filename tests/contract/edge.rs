//! The edge in front of a real component: who may pass, what is cut, and how it is told.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use reqwest::StatusCode;
use serde_json::{Value, json};
use swiftcart_sim::{keys, token};
use swiftcart_support::client::{ALL_SCOPES, Answer, Client, send};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::fixture::{Contract, unique};
use crate::probe::Probe;

fn problem(answer: &Answer, status: u16, name: &str) -> anyhow::Result<()> {
    let document = answer.json()?;
    ensure!(answer.status == status, "{} {document}", answer.status);
    ensure!(document["type"] == format!("/problems/{name}") && document["status"] == status, "{document}");
    ensure!(document["traceId"].as_str().is_some_and(|id| id.len() == 32), "{document}");
    ensure!(answer.header("content-type") == Some("application/problem+json"), "{:?}", answer.headers);
    Ok(())
}

async fn strict(fixture: &Contract, user: &str) -> anyhow::Result<Probe> {
    Probe::new(fixture.edge("edge-strict").await?, fixture.client.token(user, ALL_SCOPES)?)
}

// Goal: without a token that holds now, for us, by our issuer, nothing reaches the component; 401 says how to do it. Method: none, nonsense,
// out of date, for others, by others, signed with a key of somebody else under our issuer's name, and with `alg: none`.
pub(crate) async fn a_request_needs_a_token_that_holds(fixture: &mut Contract) -> anyhow::Result<()> {
    let (probe, client): (Probe, &Client) = (fixture.probe().await?, &fixture.client);
    let change = |change: &dyn Fn(&mut token::Request)| {
        let mut request = client.token_request("tester", ALL_SCOPES);
        change(&mut request);
        client.mint(&request)
    };
    let elsewhere = tempfile::tempdir()?;
    let foreign = token::mint(&keys::load_or_create(elsewhere.path())?, &client.token_request("tester", ALL_SCOPES))?;
    let good = client.token("tester", ALL_SCOPES)?;
    let claims = good.split('.').nth(1).context("a token has three parts")?;
    let (head, tail) = good.split_at(good.len() - 6);
    let tokens = [
        "nonsense".to_owned(),
        change(&|request| request.expires_in_seconds = -3600)?,
        change(&|request| request.audience = "others".to_owned())?,
        change(&|request| request.issuer = "http://127.0.0.1:1".to_owned())?,
        foreign,
        // {"alg":"none","typ":"at+jwt"}
        format!("eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.{claims}."),
        format!("{head}{}", tail.chars().rev().collect::<String>()),
    ];
    let operation = json!({"uses": {}});
    let reached = probe.run(&operation).await?;
    for token in tokens {
        let answer = probe.with_token(token.clone()).ask(&operation).await?;
        problem(&answer, 401, "unauthorized").with_context(|| token.clone())?;
        ensure!(
            answer
                .header("www-authenticate")
                .is_some_and(|value| value.starts_with("Bearer ") && value.contains("invalid_token")),
            "{:?}",
            answer.headers
        );
    }
    let none = send(probe.get("/run")).await?;
    problem(&none, 401, "unauthorized")?;
    ensure!(
        none.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer ") && !value.contains("error")),
        "{:?}",
        none.headers
    );
    ensure!(reached.as_u64().is_some(), "{reached}");
    Ok(())
}

// Goal: a public path is served to anybody, but its neighbours are not, and a bad token is told even there. Method: the paths of the manifest
// and ways of writing others that look like them.
pub(crate) async fn a_public_path_needs_none(fixture: &mut Contract) -> anyhow::Result<()> {
    let probe = fixture.probe().await?;
    for path in ["/public", "/public/below?x=1"] {
        let seen = send(probe.get(path)).await?.expect_status(200)?.json()?;
        ensure!(seen["path"] == path, "{seen}");
    }
    for path in ["/publicity", "/Public", "/", "/run"] {
        ensure!(send(probe.get(path)).await?.status == 401, "{path} is open");
    }
    let edge = fixture.edge("edge").await?;
    for target in ["/public/../run", "/public/%2e%2e/run", "//public", "/public/..%2frun"] {
        let answer = raw(&edge, &format!("GET {target} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n\r\n")).await?;
        // Refused here, or served as what is written there: never taken for `/run` on behalf of nobody.
        ensure!(
            ["HTTP/1.1 400 ", "HTTP/1.1 401 "].iter().any(|status| answer.starts_with(status)),
            "{target}: {answer}"
        );
    }
    ensure!(send(probe.get("/public").bearer_auth("nonsense")).await?.status == 401, "a bad token is not told");
    Ok(())
}

// Goal: the length of an answer is told before it, to HEAD as to GET, and a guest that ends in the middle of its body is a bug that is told as one. Method:
// look at the bytes of answers of a guest that has ended by then.
pub(crate) async fn an_answer_is_whole_or_an_error(fixture: &mut Contract) -> anyhow::Result<()> {
    let edge = fixture.edge("edge").await?;
    let ask = async |method: &str, path: &str| {
        raw(&edge, &format!("{method} {path} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n\r\n")).await
    };
    let length = |answer: &str| {
        let (head, body) = answer.split_once("\r\n\r\n").context("no end of the head")?;
        let told = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        anyhow::Ok((told.with_context(|| format!("no length: {head}"))?.parse::<usize>()?, body.len()))
    };
    let (told, came) = length(&ask("GET", "/public").await?)?;
    ensure!(told == came && came > 0, "{told} bytes told, {came} came");
    let (told, came) = length(&ask("HEAD", "/public").await?)?;
    ensure!(told > 0 && came == 0, "{told} bytes told, {came} came");
    let half = ask("GET", "/public/half").await?;
    ensure!(half.starts_with("HTTP/1.1 500 ") && half.contains("/problems/internal"), "{half}");
    Ok(())
}

/// The values of a header as the guest saw it.
fn seen<'a>(document: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = document["headers"].as_array().map(Vec::as_slice).unwrap_or_default();
    headers.iter().filter(|pair| pair[0] == name).filter_map(|pair| pair[1].as_str()).collect()
}

// Goal: who somebody is comes from the token alone, and the token itself stays outside. Method: send the headers that the edge hands over, in
// several spellings, with and without a token; the guest tells what it saw.
pub(crate) async fn identity_headers_cannot_be_forged(fixture: &mut Contract) -> anyhow::Result<()> {
    let probe = fixture.probe().await?;
    let forged = |request: reqwest::RequestBuilder| {
        request
            .header("x-token-subject", "admin")
            .header("X-Token-Scope", "everything")
            .header("x-token-email", "a@b.example")
            .header("x-token-issuer", "me")
            .header("x-token-anything", "1")
    };
    let anonymous = send(forged(probe.get("/public"))).await?.expect_status(200)?.json()?;
    let text = anonymous.to_string();
    ensure!(!text.contains("x-token") && !text.contains("admin"), "{anonymous}");
    let token = fixture.client.token("real-user", "orders:read")?;
    let known = send(forged(probe.get("/public").bearer_auth(&token))).await?.expect_status(200)?.json()?;
    for (name, value) in
        [("x-token-subject", "real-user"), ("x-token-scope", "orders:read"), ("x-token-email", "real-user@example.com")]
    {
        ensure!(seen(&known, name) == [value], "{name}: {known}");
    }
    ensure!(seen(&known, "x-token-issuer") == [fixture.shop.addresses().issuer_url.as_str()], "{known}");
    ensure!(seen(&known, "x-token-anything").is_empty() && seen(&known, "authorization").is_empty(), "{known}");
    ensure!(seen(&known, "traceparent").len() == 1, "{known}");
    Ok(())
}

// Goal: what is too large is refused by what it is, before the component sees it. Method: body, declared body, headers, URI above the caps of the
// strict edge; a body just below passes.
pub(crate) async fn too_much_is_refused_by_kind(fixture: &mut Contract) -> anyhow::Result<()> {
    let user = unique("large");
    let probe = strict(fixture, &user).await?;
    let config = |length: usize| json!({"config": {"key": "x".repeat(length)}});
    ensure!(probe.ask(&config(800)).await?.status == 200, "a body below the cap is refused");
    problem(&probe.ask(&config(2000)).await?, 413, "payload-too-large")?;
    problem(&send(probe.get(&format!("/{}", "u".repeat(500)))).await?, 414, "uri-too-long")?;
    let large = send(probe.get("/x").header("x-large", "h".repeat(4000))).await?;
    ensure!(large.status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "{large:?}");
    Ok(())
}

/// Sends text as it is and reads until the server closes.
async fn raw(address: &str, text: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(text.as_bytes()).await?;
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer))
        .await
        .context("the server keeps the connection open")??;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

// Goal: a client that does not send what it announced is told 408 and let go. Method: ten bytes of a hundred, then nothing.
pub(crate) async fn a_slow_body_is_given_up(fixture: &mut Contract) -> anyhow::Result<()> {
    let token = fixture.client.token(&unique("slow"), ALL_SCOPES)?;
    let edge = fixture.edge("edge-strict").await?;
    let began = Instant::now();
    let answer = raw(
        &edge,
        &format!(
            "POST /run HTTP/1.1\r\nhost: edge\r\nauthorization: Bearer {token}\r\ncontent-length: 100\r\n\r\n0123456789"
        ),
    )
    .await?;
    ensure!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("/problems/request-timeout"), "{answer}");
    ensure!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    Ok(())
}

// Goal: one user's rate is limited, with the fields that say how to behave, and another user is not disturbed. Method: more requests at once than
// the burst of the strict edge.
pub(crate) async fn the_rate_is_limited_per_user(fixture: &mut Contract) -> anyhow::Result<()> {
    let probe = strict(fixture, &unique("busy")).await?;
    let operation = json!({"uses": {}});
    let answers = futures::future::try_join_all((0..12).map(|_| probe.ask(&operation))).await?;
    let (passed, limited): (Vec<&Answer>, Vec<&Answer>) = answers.iter().partition(|answer| answer.status == 200);
    // The burst is 4, and one more may pass in each second that this takes.
    ensure!((4..=8).contains(&passed.len()), "{} passed", passed.len());
    for answer in &limited {
        problem(answer, 429, "rate-limited")?;
        ensure!(
            answer.header("retry-after").is_some_and(|value| value.parse::<u64>().is_ok_and(|seconds| seconds >= 1)),
            "{:?}",
            answer.headers
        );
        ensure!(
            answer.header("ratelimit").is_some_and(|value| value.starts_with("\"default\";r=0;t=")),
            "{:?}",
            answer.headers
        );
    }
    ensure!(
        answers.iter().all(|answer| answer.header("ratelimit-policy") == Some("\"default\";q=4;w=4")),
        "{:?}",
        answers.first()
    );
    let other = strict(fixture, &unique("calm")).await?.ask(&operation).await?;
    ensure!(other.status == 200, "another user is limited too");
    Ok(())
}

// Goal: nobody waits for a component beyond the edge's time. Method: the strict edge allows 0.8 seconds; the component takes three.
pub(crate) async fn an_answer_has_a_deadline(fixture: &mut Contract) -> anyhow::Result<()> {
    let probe = strict(fixture, &unique("late")).await?;
    let began = Instant::now();
    let answer = probe.ask(&json!({"wait": {"ms": 3000}})).await?;
    ensure!(matches!(answer.status, 503 | 504), "{answer:?}");
    ensure!(began.elapsed() < Duration::from_millis(2_500), "{:?}", began.elapsed());
    Ok(())
}
