//! Calls that share a statement, against a real server: what each is told, and what stands in the tables afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(missing_docs, reason = "tests")]

mod support;

use futures::future::join_all;
use sqlx::Executor;
use sqlx::pool::PoolConnection;
use support::{Server, eventually, one, run, statement};
use swiftcart_provider_postgres::{Error, Postgres, RowSet, Statement, Value};
use tokio::task::JoinHandle;

const INSERT: &str = "WITH calls AS (
        SELECT * FROM unnest($1::int[], $2::text[]) WITH ORDINALITY AS c (id, note, call)
    ), written AS (
        INSERT INTO items (id, note) SELECT id, note FROM calls RETURNING id, note
    )
    SELECT c.call, w.id, w.note FROM calls c JOIN written w ON w.id = c.id";

async fn server_with_table() -> (Server, Postgres) {
    let server = Server::start().await;
    let client = server.client(&[]).await;
    run(
        &client,
        "CREATE TABLE items (id integer CONSTRAINT items_key PRIMARY KEY, note text CONSTRAINT note_length CHECK (length(note) < 10))",
        vec![],
    )
    .await;
    (server, client)
}

fn insert(id: i32, note: Option<&str>) -> Statement {
    let note = note.map_or(Value::Null, |note| Value::Text(note.to_owned()));
    statement(INSERT, vec![Value::Int32(id), note])
}

async fn number(client: &Postgres, sql: &str) -> i64 {
    match one(client, sql, vec![]).await {
        Value::Int64(number) => number,
        other => panic!("{other:?}"),
    }
}

/// Waits until so many sessions of the server wait for a lock.
async fn waiting(client: &Postgres, count: i64) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    eventually("sessions wait for a lock", || async { number(client, sql).await == count }).await;
}

/// A session that has written the row with id 1 and not committed: whoever writes it too waits.
async fn holder(server: &Server) -> PoolConnection<sqlx::Postgres> {
    let mut session = server.client(&[]).await.pool().acquire().await.unwrap();
    session.execute("BEGIN").await.unwrap();
    session.execute("UPDATE items SET note = 'held' WHERE id = 1").await.unwrap();
    session
}

const TOUCH: &str = "WITH touched AS (
        UPDATE items i SET note = c.note FROM unnest($1::int[], $2::text[]) WITH ORDINALITY AS c (id, note, call) WHERE i.id = c.id
        RETURNING c.call
    )
    SELECT call FROM touched";

fn touch(id: i32, note: &str) -> Statement {
    statement(TOUCH, vec![Value::Int32(id), Value::Text(note.to_owned())])
}

/// Both flushes that may run at the same time, each with one call that waits for the row with id 1. The second call begins when the first one waits: if
/// they began together, they could share a flush.
async fn flushes_under_way(server: &Server, client: &Postgres) -> Vec<JoinHandle<Result<Vec<RowSet>, Error>>> {
    let observer = server.client(&[]).await;
    let mut calls = Vec::new();
    for count in 1..=2 {
        let client = client.clone();
        calls.push(tokio::spawn(async move { client.coalesce(vec![touch(1, "new")]).await }));
        waiting(&observer, count).await;
    }
    calls
}

/// Goal: many calls become few transactions, and each is given its own rows, whichever of its parameters are NULL.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_wait_go_together() {
    let (_server, client) = server_with_table().await;
    let call = |id: i32| {
        let client = client.clone();
        async move { client.coalesce(vec![insert(id, (id % 3 == 0).then_some("note"))]).await.unwrap() }
    };
    let answers = join_all((0..300).map(call)).await;
    for (id, sets) in (0..).zip(&answers) {
        let note = if id % 3 == 0 { Value::Text("note".to_owned()) } else { Value::Null };
        assert_eq!((sets.len(), sets[0].rows_affected), (1, 1));
        assert_eq!(sets[0].columns, ["id", "note"]);
        assert_eq!(sets[0].rows, [vec![Value::Int32(id), note]]);
    }
    assert_eq!(number(&client, "SELECT count(*) FROM items").await, 300);
    let transactions = number(&client, "SELECT count(DISTINCT xmin::text) FROM items").await;
    assert!(transactions < 100, "{transactions} transactions for 300 calls");
}

/// Goal: a call that the server refuses is the only one that is told, whether a constraint or a value is at fault.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_call_at_fault_is_told() {
    let (_server, client) = server_with_table().await;
    run(&client, "INSERT INTO items VALUES (50, 'old')", vec![]).await;
    let call = |id: i32| {
        let client = client.clone();
        let note = if id == 70 { "much too long" } else { "short" };
        async move { client.coalesce(vec![insert(id, Some(note))]).await }
    };
    let answers = join_all((0..100).map(call)).await;
    let conflict = |constraint: &str| Error::Conflict { constraint: constraint.to_owned(), statement: 0 };
    for (id, answer) in answers.into_iter().enumerate() {
        match id {
            50 => assert_eq!(answer, Err(conflict("items_key"))),
            70 => assert_eq!(answer, Err(conflict("note_length"))),
            _ => assert_eq!(answer.unwrap()[0].rows.len(), 1, "call {id}"),
        }
    }
    assert_eq!(number(&client, "SELECT count(*) FROM items WHERE note = 'short'").await, 98);
}

/// Goal: what cannot be shared is refused before anything is written.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_shared_is_refused() {
    let (_server, client) = server_with_table().await;
    let unnamed = "INSERT INTO items SELECT * FROM unnest($1::int[], $2::text[]) AS c (id, note) RETURNING id";
    let mut expecting = insert(1, None);
    expecting.expected_rows = Some(1);
    for statements in [
        vec![statement(unnamed, vec![Value::Int32(1), Value::Null])],
        vec![statement(INSERT, vec![Value::Int32(1), Value::TextArray(vec![])])],
        vec![statement(INSERT, vec![Value::Int32(1)])],
        vec![statement(INSERT, vec![Value::Text("one".to_owned()), Value::Null])],
        vec![statement("COMMIT", vec![Value::Int32(1)])],
        vec![expecting],
    ] {
        let answer = client.coalesce(statements.clone()).await;
        assert!(matches!(answer, Err(Error::Invalid(_))), "{statements:?}: {answer:?}");
    }
    // The queue of two texts is there by now; a single text that looks like both must not find it.
    let lock =
        "SELECT c.call, pg_advisory_xact_lock(c.id)::text FROM unnest($1::int[]) WITH ORDINALITY AS c (id, call)";
    client.coalesce(vec![statement(lock, vec![Value::Int32(1)]), touch(1, "none")]).await.unwrap();
    let both = statement(&format!("{lock}\0{TOUCH}"), vec![Value::Int32(1)]);
    let answer = client.coalesce(vec![both]).await;
    assert!(matches!(&answer, Err(Error::Invalid(why)) if why.contains("NUL")), "{answer:?}");
    assert_eq!(number(&client, "SELECT count(*) FROM items").await, 0);
    assert_eq!(client.coalesce(Vec::new()).await, Ok(Vec::new()));
}

/// Goal: a call whose owner has gone before its flush never runs; those beside it do. Method: the flushes that may run stand behind a lock.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_call_never_runs() {
    let (server, client) = server_with_table().await;
    run(&client, "INSERT INTO items VALUES (1, 'old'), (2, 'old'), (3, 'old')", vec![]).await;
    let mut holder = holder(&server).await;
    let calls = flushes_under_way(&server, &client).await;
    let mut gone = Box::pin(client.coalesce(vec![touch(2, "new")]));
    let mut stays = Box::pin(client.coalesce(vec![touch(3, "new")]));
    assert!(futures::poll!(&mut gone).is_pending() && futures::poll!(&mut stays).is_pending());
    drop(gone);
    holder.execute("ROLLBACK").await.unwrap();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap()[0].rows_affected, 1);
    }
    assert_eq!(stays.await.unwrap()[0].rows_affected, 1);
    let notes = "SELECT string_agg(id || note, ' ' ORDER BY id) FROM items";
    assert_eq!(one(&client, notes, vec![]).await, Value::Text("1new 2old 3new".to_owned()));
}

/// Goal: behind flushes that do not end a call is told in time that nothing was written, and nothing is.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_does_not_wait_for_ever() {
    let (server, _) = server_with_table().await;
    let client = server.client(&[("acquire_timeout_ms", "200")]).await;
    run(&client, "INSERT INTO items VALUES (1, 'old'), (2, 'old')", vec![]).await;
    let mut holder = holder(&server).await;
    let calls = flushes_under_way(&server, &client).await;
    let late = client.coalesce(vec![touch(2, "late")]).await;
    assert!(matches!(late, Err(Error::Unavailable(_))), "{late:?}");
    holder.execute("ROLLBACK").await.unwrap();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap()[0].rows_affected, 1, "one that was begun is waited for");
    }
    assert_eq!(number(&client, "SELECT count(*) FROM items WHERE note = 'late'").await, 0);
}

/// Goal: several statements are one transaction for all calls, and a session that ends under them leaves each of them with "nobody knows".
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_session_is_uncertain_for_all() {
    let (server, client) = server_with_table().await;
    run(&client, "INSERT INTO items VALUES (1, 'old'), (2, 'old')", vec![]).await;
    let lock = |id: i32| {
        let sql =
            "SELECT c.call, pg_advisory_xact_lock(c.id)::text FROM unnest($1::int[]) WITH ORDINALITY AS c (id, call)";
        statement(sql, vec![Value::Int32(id)])
    };
    let sets = client.coalesce(vec![lock(2), touch(2, "both")]).await.unwrap();
    assert_eq!((sets.len(), sets[1].rows_affected), (2, 1));

    let mut holder = holder(&server).await;
    let calls = flushes_under_way(&server, &client).await;
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    assert_eq!(number(&client, end).await, 2);
    for call in calls {
        let answer = call.await.unwrap();
        assert!(matches!(answer, Err(Error::Uncertain(_))), "{answer:?}");
    }
    holder.execute("ROLLBACK").await.unwrap();
    assert_eq!(client.coalesce(vec![touch(1, "again")]).await.unwrap()[0].rows_affected, 1, "the queue goes on");
}

/// Goal: a close waits for the flush under way and for nothing else, although sessions are kept between flushes. Method: close while a flush waits for a
/// lock, after one that left its session idle.
#[tokio::test(flavor = "multi_thread")]
async fn a_close_ends_with_the_flush_under_way() {
    let (server, client) = server_with_table().await;
    run(&client, "INSERT INTO items VALUES (1, 'old'), (2, 'old')", vec![]).await;
    client.coalesce(vec![touch(2, "before")]).await.unwrap();
    let mut held = holder(&server).await;
    let (observer, calling) = (server.client(&[]).await, client.clone());
    let call = tokio::spawn(async move { calling.coalesce(vec![touch(1, "late")]).await });
    waiting(&observer, 1).await;
    let closing = tokio::spawn(async move { client.close().await });
    tokio::task::yield_now().await;
    held.execute("COMMIT").await.unwrap();
    assert_eq!(call.await.unwrap().unwrap()[0].rows_affected, 1);
    tokio::time::timeout(std::time::Duration::from_secs(20), closing).await.unwrap().unwrap();
}
