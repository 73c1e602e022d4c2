//! Goal: whoever is not verified does not get in, and what the handler is told about somebody is what the token says.
//! Method: tokens with real signatures, each wrong in one way, over the wire.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::{
    issuer::{AUDIENCE, ISSUER, Issuer, SigningKey, claims, claims_with, now},
    support::{Edge, Shop, bearer, config, eventually, get, within},
    wire::{Reply, Wire},
};

#[track_caller]
fn assert_invalid(reply: &Reply, what: &str) {
    assert_eq!(reply.status, 401, "{what}: {reply:?}");
    assert_eq!(reply.problem(), "unauthorized");
    let challenge = reply.header("www-authenticate").unwrap();
    assert!(
        challenge.starts_with(r#"Bearer realm="swiftcart", error="invalid_token", error_description=""#),
        "{what}: {challenge}"
    );
}

/// Asks until the answer is this one: a fetch is due again only after its interval, here a millisecond.
async fn answers(edge: &Edge, token: &str, status: u16) -> Reply {
    let asking = async {
        loop {
            let reply = edge.get_with_token("/orders", token).await;
            if reply.status == status {
                return reply;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(asking).await
}

fn unsigned(header: Value, claims: &Value) -> String {
    format!("{}.{}.", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

#[tokio::test]
async fn good_tokens_pass() {
    let (ec, rsa) = (SigningKey::es256("ec"), SigningKey::rs256("rsa"));
    let issuer = Issuer::start(&[&ec, &rsa]).await;
    let edge = Edge::start(config(issuer.url())).await.ready().await;
    let typed = |typ: Option<&str>| Header { typ: typ.map(str::to_owned), ..ec.header() };
    for (what, token) in [
        ("ES256", ec.sign(&claims())),
        ("RS256", rsa.sign(&claims())),
        ("audience in a list", ec.sign(&claims_with("aud", json!(["other", AUDIENCE])))),
        ("expired within the skew", ec.sign(&claims_with("exp", json!(now() - 30)))),
        ("valid from within the skew", ec.sign(&claims_with("nbf", json!(now() + 30)))),
        ("fraction of a second", ec.sign(&claims_with("exp", json!(now() as f64 + 100.5)))),
        ("at+jwt", ec.sign_as(&typed(Some("at+jwt")), &claims())),
        ("application/at+jwt", ec.sign_as(&typed(Some("application/at+JWT")), &claims())),
        ("no type", ec.sign_as(&typed(None), &claims())),
        ("no key id, one key of this kind", ec.sign_as(&Header { kid: None, ..ec.header() }, &claims())),
    ] {
        let reply = edge.get_with_token("/orders", &token).await;
        assert_eq!(reply.status, 200, "{what}: {reply:?}");
        let headers = &reply.json()["headers"];
        assert_eq!(headers["x-token-subject"], "user-1");
        assert_eq!(headers["x-token-issuer"], ISSUER);
        assert_eq!(headers["x-token-scope"], "orders:read orders:write");
        assert_eq!(headers["x-token-email"], Value::Null);
        assert_eq!(headers["authorization"], Value::Null);
    }
}

#[tokio::test]
async fn claims_are_handed_over() {
    let shop = Shop::open(|_| {}).await;
    let mut claims = claims_with("scope", Value::Null);
    claims["scp"] = json!(["a:read", "b:write"]);
    claims["email"] = json!("bücher@example.test");
    claims["sub"] = json!("tenant|ü 1");
    let reply = shop.edge.get_with_token("/orders", &shop.key.sign(&claims)).await;
    let headers = &reply.json()["headers"];
    assert_eq!(headers["x-token-scope"], "a:read b:write");
    assert_eq!(headers["x-token-email"], "bücher@example.test");
    assert_eq!(headers["x-token-subject"], "tenant|ü 1");
}

#[tokio::test]
async fn bad_tokens_do_not() {
    let (key, stranger, encryption) = (SigningKey::es256("one"), SigningKey::es256("one"), SigningKey::es256("enc"));
    let rsa = SigningKey::rs256("rsa");
    let issuer = Issuer::start(&[&key, &rsa]).await;
    let mut encryption_jwk = encryption.jwk.clone();
    encryption_jwk["use"] = json!("enc");
    issuer.publish_raw(json!({"keys": [key.jwk, rsa.jwk, encryption_jwk]}));
    let mut config = config(issuer.url());
    (config.requests_per_second, config.burst) = (10_000, 10_000);
    let edge = Edge::start(config).await.ready().await;

    let good = key.sign(&claims());
    let (head, signature) = good.rsplit_once('.').unwrap();
    let other_claims = claims_with("sub", json!("somebody else")).to_string();
    let swapped = format!("{}.{}.{signature}", head.split('.').next().unwrap(), URL_SAFE_NO_PAD.encode(other_claims));
    let public_modulus = rsa.jwk["n"].as_str().unwrap();
    let hmac = |secret: &[u8]| {
        let header = Header { kid: Some("rsa".into()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(secret)).unwrap()
    };
    let with = |name: &str, value: Value| key.sign(&claims_with(name, value));
    let cross = Header { alg: Algorithm::ES256, kid: Some("rsa".into()), ..Header::default() };
    for (what, token) in [
        ("alg none", unsigned(json!({"alg": "none", "kid": "one"}), &claims())),
        ("alg NoNe", unsigned(json!({"alg": "NoNe", "kid": "one"}), &claims())),
        ("no alg", unsigned(json!({"kid": "one"}), &claims())),
        ("HS256 with the public modulus as text", hmac(public_modulus.as_bytes())),
        ("HS256 with the public modulus", hmac(&URL_SAFE_NO_PAD.decode(public_modulus).unwrap())),
        ("HS256 with the public key document", hmac(rsa.jwk.to_string().as_bytes())),
        ("another algorithm than the key's", key.sign_as(&cross, &claims())),
        ("another issuer", with("iss", json!("https://issuer.test"))),
        ("issuers in a list", with("iss", json!([ISSUER, "https://evil.test"]))),
        ("no issuer", with("iss", Value::Null)),
        ("another audience", with("aud", json!("shops"))),
        ("other audiences", with("aud", json!(["a", "b"]))),
        ("empty audiences", with("aud", json!([]))),
        ("no audience", with("aud", Value::Null)),
        ("expired", with("exp", json!(now() - 61))),
        ("no expiry", with("exp", Value::Null)),
        ("expiry is text", with("exp", json!((now() + 300).to_string()))),
        ("not valid yet", with("nbf", json!(now() + 120))),
        ("no subject", with("sub", Value::Null)),
        ("empty subject", with("sub", json!(""))),
        ("subject with a line end", with("sub", json!("a\r\nx-token-scope: admin"))),
        ("long subject", with("sub", json!("s".repeat(256)))),
        ("scope with a space inside a list", with("scope", json!(["a b"]))),
        ("scope with a line end", with("scope", json!("a\nb"))),
        ("e-mail with a line end", with("email", json!("a@b.test\r\n"))),
        ("an id token's type", key.sign_as(&Header { typ: Some("logout+jwt".into()), ..key.header() }, &claims())),
        ("a critical extension", key.sign_as(&Header { crit: Some(vec!["b64".into()]), ..key.header() }, &claims())),
        ("unknown key", SigningKey::es256("unknown").sign(&claims())),
        ("a stranger with a known key id", stranger.sign(&claims())),
        ("an encryption key", encryption.sign(&claims())),
        ("claims of another token", swapped),
        ("cut signature", good.get(..good.len() - 4).unwrap().to_owned()),
        ("no signature", format!("{head}.")),
        ("two parts", head.to_owned()),
        ("four parts", format!("{good}.x")),
        ("garbage", "garbage".into()),
        ("empty", String::new()),
        ("not base64", "!!!.???.***".into()),
    ] {
        assert_invalid(&edge.get_with_token("/orders", &token).await, what);
    }
    assert_eq!(edge.get_with_token("/orders", &good).await.status, 200);
    assert_eq!(edge.handler.begun(), 1, "only the good one was handled");
}

#[tokio::test]
async fn a_token_is_needed() {
    let shop = Shop::open(|_| {}).await;
    for (what, headers) in [("none", String::new()), ("another scheme", "authorization: Basic YTpi\r\n".into())] {
        let reply = shop.edge.get("/orders", &headers).await;
        assert_eq!((reply.status, reply.problem().as_str()), (401, "unauthorized"), "{what}");
        assert_eq!(reply.header("www-authenticate").as_deref(), Some(r#"Bearer realm="swiftcart""#), "{what}");
    }
    let twice = bearer(&shop.token).repeat(2);
    for path in ["/orders", "/public"] {
        let reply = shop.edge.get(path, &twice).await;
        assert_eq!(reply.status, 401);
        assert!(reply.header("www-authenticate").unwrap().contains(r#"error="invalid_request""#));
    }
}

#[tokio::test]
async fn public_paths_are_exactly_those_listed() {
    let shop = Shop::open(|_| {}).await;
    for path in ["/public", "/public?x=1", "/public/a/b"] {
        let reply = shop.edge.get(path, "").await;
        assert_eq!(reply.status, 200, "{path}");
        assert_eq!(reply.json()["headers"]["x-token-subject"], Value::Null);
    }
    for path in [
        "/orders",
        "//public",
        "/public/../orders",
        "/public/%2e%2e/orders",
        "/public/..%2forders",
        "/public/%252e%252e/orders",
        "/publicity",
        "/PUBLIC",
        "http://edge/orders",
        "*",
    ] {
        assert_eq!(shop.edge.get(path, "").await.status, 401, "{path}");
    }
    assert_eq!(shop.edge.raw("DELETE /public HTTP/1.1\r\nhost: edge\r\n\r\n").await.status, 401);
    // A token is looked at here too: a client with a bad one should learn it.
    let with_token = shop.edge.get_with_token("/public", &shop.token).await;
    assert_eq!(with_token.json()["headers"]["x-token-subject"], "user-1");
    assert_invalid(&shop.edge.get_with_token("/public", "garbage").await, "public");
}

#[tokio::test]
async fn identity_headers_cannot_be_forged() {
    let shop = Shop::open(|_| {}).await;
    let forged = "x-token-subject: admin\r\nX-Token-Scope: all\r\nx-token-scope: more\r\nx-token-issuer: me\r\nx-token-email: e@e\r\nx-token-new: 1\r\n";
    let anonymous = shop.edge.get("/public", forged).await.json();
    assert!(anonymous["headers"].as_object().unwrap().keys().all(|name| !name.starts_with("x-token-")), "{anonymous}");
    // Nor can they be taken away by declaring them hop-by-hop.
    let headers = format!("{forged}connection: x-token-subject, traceparent\r\n{}", bearer(&shop.token));
    let known = shop.edge.get("/orders", &headers).await.json();
    let mut names: Vec<_> =
        known["headers"].as_object().unwrap().keys().filter(|name| name.starts_with("x-token-")).collect();
    names.sort();
    assert_eq!(names, ["x-token-issuer", "x-token-scope", "x-token-subject"]);
    assert_eq!(known["headers"]["x-token-subject"], "user-1");
    assert_eq!(known["headers"]["traceparent"].as_str().unwrap().len(), 55);
}

// Method: the issuer publishes a second key, then drops the first.
#[tokio::test]
async fn keys_rotate() {
    let (old, new) = (SigningKey::es256("old"), SigningKey::es256("new"));
    let issuer = Issuer::start(&[&old]).await;
    let mut config = config(issuer.url());
    config.jwks_refresh_interval_ms = 1;
    config.burst = 10_000;
    let edge = Edge::start(config).await.ready().await;
    issuer.publish(&[&old, &new]);
    answers(&edge, &new.sign(&claims()), 200).await;
    for key in [&old, &new, &old] {
        assert_eq!(edge.get_with_token("/orders", &key.sign(&claims())).await.status, 200);
    }
    let accepted = old.sign(&claims());
    for _ in 0..2 {
        assert_eq!(edge.get_with_token("/orders", &accepted).await.status, 200);
    }
    // With two keys there is a choice, and a token that does not make it is refused.
    let undecided = new.sign_as(&Header { kid: None, ..new.header() }, &claims());
    assert_invalid(&edge.get_with_token("/orders", &undecided).await, "no key id, two keys");
    issuer.publish(&[&new]);
    // Any unknown id causes the fetch that forgets the old key.
    let before = issuer.fetches();
    while issuer.fetches() == before {
        assert_invalid(&edge.get_with_token("/orders", &SigningKey::es256("x").sign(&claims())).await, "unknown");
    }
    assert_invalid(&edge.get_with_token("/orders", &old.sign(&claims())).await, "dropped");
    assert_invalid(&edge.get_with_token("/orders", &accepted).await, "accepted before, its key dropped");
    assert_eq!(edge.get_with_token("/orders", &new.sign(&claims())).await.status, 200);
}

// Goal: a token that was accepted is not accepted for longer than it says. Method: one that has a second left, the allowed skew included.
#[tokio::test]
async fn an_accepted_token_expires() {
    let shop = Shop::open(|config| config.burst = 10_000).await;
    let token = shop.key.sign(&claims_with("exp", json!(now() - 58)));
    assert_eq!(shop.edge.get_with_token("/orders", &token).await.status, 200);
    assert_invalid(&answers(&shop.edge, &token, 401).await, "expired meanwhile");
}

// Method: the maximal age is short; the new key arrives without anybody asking for it.
#[tokio::test]
async fn keys_are_refreshed_by_age() {
    let shop = Shop::open(|config| config.jwks_max_age_seconds = 1).await;
    let before = shop.issuer.fetches();
    eventually("a second fetch", || shop.issuer.fetches() > before).await;
}

#[tokio::test]
async fn unknown_key_ids_do_not_flood_the_issuer() {
    let shop = Shop::open(|config| config.jwks_refresh_interval_ms = 600_000).await;
    for round in 0..20 {
        let token = SigningKey::es256(&format!("made-up-{round}")).sign(&claims());
        assert_invalid(&shop.edge.get_with_token("/orders", &token).await, "unknown");
    }
    assert_eq!(shop.issuer.fetches(), 1);

    let shop = Shop::open(|config| config.jwks_refresh_interval_ms = 1).await;
    let tokens: Vec<String> =
        (0..20).map(|round| SigningKey::es256(&format!("made-up-{round}")).sign(&claims())).collect();
    let replies =
        futures::future::join_all(tokens.iter().map(|token| shop.edge.get_with_token("/orders", token))).await;
    assert!(replies.iter().all(|reply| reply.status == 401));
    assert!(shop.issuer.fetches() > 1, "here a fetch was due");
}

#[tokio::test]
async fn an_outage_of_the_issuer_is_survived() {
    let shop = Shop::open(|config| (config.jwks_refresh_interval_ms, config.burst) = (1, 10_000)).await;
    shop.issuer.go_down();
    assert_eq!(shop.edge.get_with_token("/orders", &shop.token).await.status, 200);
    // This one may be good: nobody can tell now.
    let new = SigningKey::es256("new");
    let reply = answers(&shop.edge, &new.sign(&claims()), 503).await;
    assert_eq!(reply.problem(), "unavailable");
    assert_eq!(shop.edge.get_with_token("/orders", &shop.token).await.status, 200, "the last good keys stay");
    // A set without a usable key is an outage too.
    shop.issuer.publish_raw(json!({"keys": []}));
    answers(&shop.edge, &new.sign(&claims()), 503).await;
    assert_eq!(shop.edge.get_with_token("/orders", &shop.token).await.status, 200);
    shop.issuer.publish(&[&new]);
    answers(&shop.edge, &new.sign(&claims()), 200).await;
    assert!(shop.edge.server.ready());
}

#[tokio::test]
async fn before_the_first_keys_nothing_is_decided() {
    let key = SigningKey::es256("one");
    let issuer = Issuer::start(&[&key]).await;
    issuer.go_down();
    let edge = Edge::start(config(issuer.url())).await;
    eventually("a failed fetch", || issuer.fetches() > 0).await;
    let token = key.sign(&claims());
    let reply = edge.get_with_token("/orders", &token).await;
    assert_eq!((reply.status, reply.problem().as_str()), (503, "unavailable"));
    assert_eq!(reply.header("retry-after").as_deref(), Some("1"));
    assert_eq!(edge.get("/orders", "").await.status, 401);
    assert_eq!(edge.get("/public", "").await.status, 200);
    assert_eq!(edge.get_with_token("/public", &token).await.status, 200);
    assert!(!edge.server.ready());
    issuer.publish(&[&key]);
    let edge = edge.ready().await;
    assert_eq!(edge.get_with_token("/orders", &token).await.status, 200);
}

// Goal: a refusal does not break the connection, so a client can answer the challenge on it.
#[tokio::test]
async fn the_connection_survives_a_refusal() {
    let shop = Shop::open(|_| {}).await;
    let mut wire = Wire::connect(shop.edge.address).await;
    wire.send("POST /orders HTTP/1.1\r\nhost: edge\r\ncontent-length: 10\r\n\r\n").await;
    wire.send("0123456789").await;
    assert_eq!(wire.reply().await.unwrap().status, 401);
    wire.send(get("/orders", &bearer(&shop.token))).await;
    assert_eq!(wire.reply().await.unwrap().status, 200);
}
