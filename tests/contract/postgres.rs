//! `swiftcart:postgres/client`: one call is one transaction, values pass unchanged, and every error says what is known.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use swiftcart_support::eventually;

use crate::fixture::{Contract, DEADLINE, unique};
use crate::probe::statement;

/// SQL type and a value of it, for every case of the contract's `value`.
fn values() -> Vec<(&'static str, Value)> {
    let uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    vec![
        ("boolean", json!({"Boolean": true})),
        ("int4", json!({"Int32": i32::MIN})),
        ("int8", json!({"Int64": i64::MAX})),
        ("float8", json!({"Float64": -0.1})),
        ("text", json!({"Text": "Zoë \u{1F600} 'quoted' \\ $1"})),
        ("bytea", json!({"Bytes": [0, 255, 10, 92]})),
        ("uuid", json!({"Uuid": uuid})),
        ("timestamptz", json!({"Timestamptz": -1_234_567_890_123_456_i64})),
        ("numeric", json!({"Numeric": "-12345678901234567890.123400"})),
        ("jsonb", json!({"Jsonb": "{\"a\": [1, null, \"x\"]}"})),
        ("boolean[]", json!({"BooleanArray": [true, false]})),
        ("int4[]", json!({"Int32Array": [1, -2]})),
        ("int8[]", json!({"Int64Array": [i64::MIN, 0]})),
        ("float8[]", json!({"Float64Array": [0.5, 1e300]})),
        ("text[]", json!({"TextArray": ["", "a,b", "{\"c\"}"]})),
        ("bytea[]", json!({"BytesArray": [[], [0, 1]]})),
        ("uuid[]", json!({"UuidArray": [uuid]})),
        ("timestamptz[]", json!({"TimestamptzArray": [0, 1_700_000_000_000_001_i64]})),
    ]
}

// Goal: a value of every type comes back as it went in, over the wall and through the server. Method: one statement that casts and returns all.
pub(crate) async fn every_type_goes_round(fixture: &mut Contract) -> anyhow::Result<()> {
    let values = values();
    let columns: Vec<String> =
        values.iter().enumerate().map(|(index, (kind, _))| format!("${}::{kind} AS c{index}", index + 1)).collect();
    let sent: Vec<Value> = values.into_iter().map(|(_, value)| value).collect();
    let answer =
        fixture.probe().await?.transact(&[statement(&format!("SELECT {}", columns.join(", ")), json!(sent))]).await?;
    let row = answer.pointer("/Ok/0/rows/0").and_then(Value::as_array).with_context(|| answer.to_string())?;
    ensure!(row.len() == sent.len(), "{answer}");
    for (sent, back) in sent.iter().zip(row) {
        ensure!(sent == back, "sent {sent}, got {back}");
    }
    ensure!(
        answer.pointer("/Ok/0/columns/3") == Some(&json!("c3"))
            && answer.pointer("/Ok/0/rows_affected") == Some(&json!(1)),
        "{answer}"
    );
    Ok(())
}

// Goal: null takes its type from the statement, whatever that is. Method: null as a parameter of every type.
pub(crate) async fn null_goes_round_in_every_type(fixture: &mut Contract) -> anyhow::Result<()> {
    let columns: Vec<String> =
        values().iter().enumerate().map(|(index, (kind, _))| format!("${}::{kind}", index + 1)).collect();
    let nulls = vec!["Null"; columns.len()];
    let answer =
        fixture.probe().await?.transact(&[statement(&format!("SELECT {}", columns.join(", ")), json!(nulls))]).await?;
    ensure!(answer.pointer("/Ok/0/rows/0") == Some(&json!(nulls)), "{answer}");
    Ok(())
}

fn insert(name: &str) -> Value {
    statement("INSERT INTO kinds (name) VALUES ($1)", json!([{"Text": name}]))
}

async fn count(fixture: &Contract, names: &[&str]) -> anyhow::Result<i64> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let query = sqlx::query_scalar("SELECT count(*) FROM kinds WHERE name = ANY($1)").bind(names);
    Ok(query.fetch_one(&fixture.probe_database).await?)
}

// Goal: all statements of a call take place, or none. Method: two inserts that work, then the same with a third that cannot; look from outside.
pub(crate) async fn a_transaction_is_all_or_nothing(fixture: &mut Contract) -> anyhow::Result<()> {
    let (probe, first, second) = (fixture.probe().await?, unique("first"), unique("second"));
    let done = probe.transact(&[insert(&first), insert(&second)]).await?;
    ensure!(done.pointer("/Ok/1/rows_affected") == Some(&json!(1)), "{done}");
    ensure!(count(fixture, &[&first, &second]).await? == 2, "what was answered as done is not there");
    let third = unique("third");
    let undone = probe.transact(&[insert(&third), insert(&first)]).await?;
    ensure!(undone.pointer("/Err/Conflict").is_some(), "{undone}");
    ensure!(count(fixture, &[&third]).await? == 0, "half a transaction is there");
    Ok(())
}

// Goal: a statement that meets another number of rows than expected undoes the call. Method: an update of a row that is not there, after an
// insert; and the same with the right number.
pub(crate) async fn another_number_of_rows_is_stale(fixture: &mut Contract) -> anyhow::Result<()> {
    let (probe, name) = (fixture.probe().await?, unique("stale"));
    let update = |of: &str| json!({"sql": "UPDATE kinds SET amount = 7 WHERE name = $1", "params": [{"Text": of}], "expected_rows": 1});
    let stale = probe.transact(&[insert(&name), update("nobody has this name")]).await?;
    ensure!(stale == json!({"Err": {"Stale": 1}}), "{stale}");
    ensure!(count(fixture, &[&name]).await? == 0, "the insert before it was kept");
    let fresh = probe.transact(&[insert(&name), update(&name)]).await?;
    ensure!(fresh.pointer("/Ok/1/rows_affected") == Some(&json!(1)) && count(fixture, &[&name]).await? == 1, "{fresh}");
    Ok(())
}

// Goal: a broken constraint is told by its name and the statement's index. Method: break one of each kind, as the second statement.
pub(crate) async fn a_conflict_names_constraint_and_statement(fixture: &mut Contract) -> anyhow::Result<()> {
    let (probe, name) = (fixture.probe().await?, unique("conflict"));
    for (breaking, constraint) in [
        (insert(&name), "kinds_name_key"),
        (statement("UPDATE kinds SET parent = -1 WHERE name = $1", json!([{"Text": name}])), "kinds_parent_fkey"),
        (statement("UPDATE kinds SET amount = -1 WHERE name = $1", json!([{"Text": name}])), "kinds_amount_check"),
    ] {
        let answer = probe.transact(&[insert(&name), breaking]).await?;
        ensure!(answer == json!({"Err": {"Conflict": {"constraint": constraint, "statement": 1}}}), "{answer}");
    }
    Ok(())
}

// Goal: what can never work is `invalid`, so that nobody tries again. Method: wrong SQL, too few parameters, a parameter of another type.
pub(crate) async fn what_is_wrong_is_invalid(fixture: &mut Contract) -> anyhow::Result<()> {
    let probe = fixture.probe().await?;
    for wrong in [
        statement("SELEKT 1", json!([])),
        statement("SELECT * FROM nowhere", json!([])),
        statement("SELECT $1::int4", json!([])),
        statement("SELECT $1::int4", json!([{"Text": "one"}])),
        statement("SELECT $1::uuid", json!([{"Uuid": "no uuid"}])),
        statement("COMMIT", json!([])),
    ] {
        let answer = probe.transact(std::slice::from_ref(&wrong)).await?;
        ensure!(answer.pointer("/Err/Invalid").is_some(), "{wrong} -> {answer}");
    }
    Ok(())
}

// Goal: a component reaches the database of its link and nothing else, because the server says so. Method: the other component asks for the
// first one's table, takes its role, reads the server's files; the first one's data is there all the while.
pub(crate) async fn another_services_data_is_out_of_reach(fixture: &mut Contract) -> anyhow::Result<()> {
    let (probe, narrow) = (fixture.probe().await?, fixture.narrow().await?);
    let own = probe.transact(&[statement("SELECT count(*) FROM kinds", json!([]))]).await?;
    ensure!(own.pointer("/Ok/0/rows/0/0/Int64").is_some(), "{own}");
    let who = narrow.transact(&[statement("SELECT current_user::text, current_database()::text", json!([]))]).await?;
    ensure!(who.pointer("/Ok/0/rows/0") == Some(&json!([{"Text": "payments"}, {"Text": "payments"}])), "{who}");
    for sql in [
        "SELECT count(*) FROM kinds",
        "SELECT count(*) FROM orders.public.kinds",
        "SET ROLE orders",
        "SET ROLE postgres",
        "SELECT pg_read_file('/etc/passwd')",
    ] {
        let answer = narrow.transact(&[statement(sql, json!([]))]).await?;
        ensure!(answer.pointer("/Err/Invalid").is_some(), "{sql} -> {answer}");
    }
    Ok(())
}

// Goal: while the server is away a call says what is known, and what it says is true; when it is back the same host works again. Method: stop
// it and ask. A lone statement goes out at once, so that a connection that turns out to be dead leaves it `uncertain`; a transaction of two
// begins first, so it is surely `unavailable`. Then start it, look, and ask again.
pub(crate) async fn a_server_that_is_away_is_unavailable_and_comes_back(fixture: &mut Contract) -> anyhow::Result<()> {
    let (probe, name) = (fixture.probe().await?, unique("away"));
    let host = fixture.shop.host()?.process();
    fixture.shop.postgres.as_mut().context("no PostgreSQL")?.stop().await?;
    let lone = probe.transact(&[insert(&name)]).await?;
    ensure!(lone.pointer("/Err/Unavailable").or(lone.pointer("/Err/Uncertain")).is_some(), "{lone}");
    for _ in 0..3 {
        let both = probe.transact(&[insert(&name), insert(&format!("{name}/2"))]).await?;
        ensure!(both.pointer("/Err/Unavailable").is_some(), "{both}");
    }
    fixture.shop.postgres.as_mut().context("no PostgreSQL")?.start().await?;
    let written =
        eventually(DEADLINE, "the database to be looked at", || async { count(fixture, &[&name]).await }).await?;
    ensure!(written == 0, "a server that was down has written");
    eventually(DEADLINE, "the database to be reached again", || async {
        let answer = probe.transact(&[insert(&name)]).await?;
        ensure!(answer.pointer("/Ok").is_some(), "{answer}");
        Ok(())
    })
    .await?;
    ensure!(count(fixture, &[&name]).await? == 1);
    ensure!(
        fixture.shop.host()?.process() == host && fixture.shop.host()?.exited().is_none(),
        "the host did not live through it"
    );
    tokio::time::timeout(Duration::from_secs(5), fixture.ready()).await?
}
