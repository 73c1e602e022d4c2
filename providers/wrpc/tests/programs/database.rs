//! `postgres`.

use bytes::Bytes;
use serde_json::{Value, json};
use swiftcart_support::eventually;
use swiftcart_support::service::Postgres;
use swiftcart_support::tools::Wanted;

use crate::bindings::swiftcart::postgres::client::{Error, RowSet, Statement, Value as Sql};
use crate::stage::{DEADLINE, Stage, link};

const PROGRAM: &str = env!("CARGO_BIN_EXE_swiftcart-postgres-provider");
const NAME: &str = "SELECT current_setting('application_name')";
const INSTANCE: &str = "swiftcart:postgres/client@0.1.0";

async fn one(stage: &Stage, source: &str, sql: &str, params: Vec<Sql>) -> Result<RowSet, Error> {
    let statement = Statement { sql: sql.to_owned(), params, expected_rows: None };
    let parameters = (vec![statement],);
    let answer: (Result<Vec<RowSet>, Error>,) =
        stage.call(source, "db", INSTANCE, "transact", parameters).await.unwrap();
    answer.0.map(|mut sets| sets.remove(0))
}

async fn text(stage: &Stage, source: &str, sql: &str) -> Result<String, String> {
    let set = one(stage, source, sql, vec![]).await.map_err(|error| format!("{error:?}"))?;
    match &set.rows[0][0] {
        Sql::Text(text) => Ok(text.clone()),
        other => Err(format!("{other:?}")),
    }
}

fn shelf(config: Value, secrets: Value) -> Value {
    let mut link = link("shelf", "db", "swiftcart:postgres", &["client"], config);
    link.as_object_mut().unwrap().insert("target_secrets".to_owned(), secrets);
    link
}

/// Goal: the whole life of a link. Method: sealed secret, calls of every kind of value and of 3 MiB, other settings by a deletion and a put and by a put
/// alone, a caller that breaks off in the middle, the deletion, the end.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_serves_links() {
    let stage = Stage::build(Wanted { postgres: true, ..Stage::NOTHING }).await;
    let server = Postgres::start_in(&stage.place, stage.installed.postgres_bin.as_ref().unwrap()).await.unwrap();
    let provider = stage.start(PROGRAM, "db", json!({"max_connections": "3"}), json!([])).await;
    assert_eq!(provider.health().await.unwrap(), json!({"healthy": true}));

    let refused = one(&stage, "shelf", "SELECT 1", vec![]).await.unwrap_err();
    assert!(matches!(&refused, Error::Unavailable(reason) if reason.contains("not linked")), "{refused:?}");

    let secrets = provider.sealed(&[("shelf-url", &server.admin_url())]);
    provider.put(shelf(json!({"application_name": "first"}), secrets.clone())).await;
    assert_eq!(text(&stage, "shelf", NAME).await.as_deref(), Ok("first"));
    assert!(text(&stage, "another", NAME).await.unwrap_err().contains("not linked"));
    values(&stage).await;
    violations(&stage).await;

    let named = |name: &str| shelf(json!({"application_name": name}), secrets.clone());
    for round in 0..20 {
        let other = named(&format!("round {round}"));
        provider.delete(other.clone()).await;
        provider.put(other).await;
        becomes(&stage, &format!("round {round}")).await;
    }
    provider.put(named("third")).await;
    becomes(&stage, "third").await;

    broken_off(&stage).await;
    let begun = std::time::Instant::now();
    assert_eq!(text(&stage, "shelf", NAME).await.as_deref(), Ok("third"));
    assert!(begun.elapsed().as_secs() < 2, "one that broke off must not hold up another: {:?}", begun.elapsed());

    provider.put(link("lost", "db", "swiftcart:postgres", &["client"], json!({"url": "mysql://u:hunter2@h/d"}))).await;
    let health = eventually(DEADLINE, "the bad link to be told", || async {
        let health = provider.health().await?;
        // Until it has been tried, the link is only not connected yet.
        let told = health.to_string();
        anyhow::ensure!(health["healthy"] == json!(false) && told.contains("url"), "{told}");
        Ok(told)
    })
    .await
    .unwrap();
    assert!(health.contains("lost") && !health.contains("hunter2"), "{health}");

    provider.delete(named("third")).await;
    eventually(DEADLINE, "the link to be gone", || async {
        let refused = text(&stage, "shelf", NAME).await.err().unwrap_or_default();
        anyhow::ensure!(refused.contains("not linked"), "{refused}");
        Ok(())
    })
    .await
    .unwrap();
    assert!(provider.end().await.success());
}

/// Waits for the settings with this name. No call may fail meanwhile: each is served with the old settings or with the new ones.
async fn becomes(stage: &Stage, name: &str) {
    eventually(DEADLINE, "the other settings", || async {
        let now = text(stage, "shelf", NAME).await.expect("served all the time");
        anyhow::ensure!(now == name, "{now}");
        Ok(())
    })
    .await
    .unwrap();
}

async fn values(stage: &Stage) {
    let params = vec![
        Sql::Boolean(true),
        Sql::Int64(i64::MIN),
        Sql::Float64(0.1),
        Sql::Text("Grüße".to_owned()),
        Sql::Bytes(Bytes::from_static(&[0, 255])),
        Sql::Uuid("67e55044-10b1-426f-9247-bb680e5fe0c8".to_owned()),
        Sql::Timestamptz(-1),
        Sql::Numeric("-12.340".to_owned()),
        Sql::TextArray(vec![String::new(), "x".to_owned()]),
        Sql::BytesArray(vec![Bytes::new(), Bytes::from_static(b"y")]),
    ];
    let sql = "SELECT $1::bool, $2::int8, $3::float8, $4::text, $5::bytea, $6::uuid, $7::timestamptz, $8::numeric,
        $9::text[], $10::bytea[], NULL::int4";
    let set = one(stage, "shelf", sql, params.clone()).await.unwrap();
    let given: Vec<String> = params.iter().chain([&Sql::Null]).map(|value| format!("{value:?}")).collect();
    let got: Vec<String> = set.rows[0].iter().map(|value| format!("{value:?}")).collect();
    assert_eq!(got, given);

    // Three times what one message of NATS holds, both ways.
    let large = Bytes::from(vec![7_u8; 3 << 20]);
    let set = one(stage, "shelf", "SELECT $1::bytea", vec![Sql::Bytes(large.clone())]).await.unwrap();
    assert!(matches!(&set.rows[0][0], Sql::Bytes(bytes) if *bytes == large));
}

async fn violations(stage: &Stage) {
    one(stage, "shelf", "CREATE TABLE items (id int4 CONSTRAINT items_key PRIMARY KEY)", vec![]).await.unwrap();
    let insert = "INSERT INTO items VALUES (1)";
    assert_eq!(one(stage, "shelf", insert, vec![]).await.unwrap().rows_affected, 1);
    let conflict = one(stage, "shelf", insert, vec![]).await.unwrap_err();
    assert!(matches!(&conflict, Error::Conflict(broken) if broken.constraint == "items_key" && broken.statement == 0));
    let wrong = one(stage, "shelf", "SELEC 1", vec![]).await.unwrap_err();
    assert!(matches!(wrong, Error::Invalid(_)), "{wrong:?}");
}

/// An invocation that promises more parameters than ever come, and one that is no invocation at all.
async fn broken_off(stage: &Stage) {
    let subject = Stage::invocation("db", INSTANCE, "transact");
    stage.nats.publish_with_reply(subject.clone(), stage.nats.new_inbox(), Bytes::from_static(&[1, 40])).await.unwrap();
    stage.nats.publish(subject, Bytes::from_static(b"nonsense")).await.unwrap();
    stage.nats.flush().await.unwrap();
}
