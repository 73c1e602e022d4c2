//! Outcomes against a real server: what each of them promises is looked up in the tables afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(missing_docs, reason = "tests")]

mod support;

use std::time::{Duration, Instant};

use support::{Server, eventually, one, run, statement};
use swiftcart_provider_postgres::{Error, Postgres, Statement, Value};

async fn server_with_table() -> (Server, Postgres) {
    let server = Server::start().await;
    let client = server.client(&[]).await;
    run(
        &client,
        "CREATE TABLE items (id integer CONSTRAINT items_key PRIMARY KEY, qty integer NOT NULL CONSTRAINT qty_not_negative CHECK (qty >= 0),
         parent integer CONSTRAINT items_parent REFERENCES items DEFERRABLE INITIALLY DEFERRED)",
        vec![],
    )
    .await;
    run(&client, "INSERT INTO items VALUES (1, 10), (2, 20)", vec![]).await;
    (server, client)
}

async fn count(client: &Postgres) -> Value {
    one(client, "SELECT count(*) FROM items", vec![]).await
}

fn expecting(sql: &str, rows: u64) -> Statement {
    Statement { expected_rows: Some(rows), ..statement(sql, vec![]) }
}

/// Goal: a conflict names constraint and statement, and undoes the whole call, alone or among others, at once or at the commit.
#[tokio::test(flavor = "multi_thread")]
async fn conflicts_name_the_constraint() {
    let (_server, client) = server_with_table().await;
    let good = statement("INSERT INTO items VALUES (3, 1)", vec![]);
    let conflict = |constraint: &str, statement| Error::Conflict { constraint: constraint.to_owned(), statement };
    for (sql, constraint) in [
        ("INSERT INTO items VALUES (1, 1)", "items_key"),
        ("UPDATE items SET qty = -1", "qty_not_negative"),
        ("INSERT INTO items VALUES (9, 1, 99)", "items_parent"),
        ("INSERT INTO items VALUES (9, NULL)", "qty"),
    ] {
        let bad = statement(sql, vec![]);
        assert_eq!(client.transact(vec![bad.clone()]).await, Err(conflict(constraint, 0)));
        assert_eq!(client.transact(vec![good.clone(), bad]).await, Err(conflict(constraint, 1)));
    }
    assert_eq!(count(&client).await, Value::Int64(2));
    assert_eq!(client.transact(vec![]).await, Ok(vec![]));
}

/// Goal: another number of rows than expected undoes everything. Method: with one statement and with two, affected and returned.
#[tokio::test(flavor = "multi_thread")]
async fn stale_rolls_back() {
    let (_server, client) = server_with_table().await;
    let change = "UPDATE items SET qty = qty + 1 WHERE id = 1";
    assert_eq!(client.transact(vec![expecting(change, 2)]).await, Err(Error::Stale { statement: 0 }));
    assert_eq!(
        client.transact(vec![statement(change, vec![]), expecting("SELECT * FROM items WHERE id = 7", 1)]).await,
        Err(Error::Stale { statement: 1 })
    );
    assert_eq!(one(&client, "SELECT qty FROM items WHERE id = 1", vec![]).await, Value::Int32(10));
    let done = client.transact(vec![expecting(change, 1), expecting("SELECT * FROM items", 2)]).await.unwrap();
    assert_eq!((done[0].rows_affected, done[1].rows.len()), (1, 2));
    assert_eq!(one(&client, "SELECT qty FROM items WHERE id = 1", vec![]).await, Value::Int32(11));
}

/// Goal: a deadlock is resolved inside. Method: two calls lock two rows in opposite order, with a pause between, many at a time.
#[tokio::test(flavor = "multi_thread")]
async fn deadlocks_are_tried_again() {
    let (_server, client) = server_with_table().await;
    run(&client, "ALTER ROLE test SET deadlock_timeout = '20ms'", vec![]).await;
    client.close().await;
    let client = _server.client(&[]).await;
    let add = |id: i32| statement("UPDATE items SET qty = qty + 1 WHERE id = $1", vec![Value::Int32(id)]);
    let pause = || statement("SELECT pg_sleep(0.05)", vec![]);
    let (forth, back) =
        tokio::join!(client.transact(vec![add(1), pause(), add(2)]), client.transact(vec![add(2), pause(), add(1)]));
    assert!(forth.is_ok() && back.is_ok(), "{forth:?} {back:?}");
    assert_eq!(one(&client, "SELECT qty FROM items WHERE id = 1", vec![]).await, Value::Int32(12));
}

/// Goal: the limits of the session hold and their breach is `Unavailable`, after which everything goes on.
#[tokio::test(flavor = "multi_thread")]
async fn limits_are_unavailable() {
    let (server, admin) = server_with_table().await;
    let client = server
        .client(&[("max_connections", "1"), ("statement_timeout_ms", "200"), ("acquire_timeout_ms", "300")])
        .await;
    let slow = statement("INSERT INTO items SELECT 5, 5 FROM pg_sleep(2)", vec![]);
    assert!(matches!(client.transact(vec![slow]).await, Err(Error::Unavailable(message)) if message.contains("57014")));
    assert_eq!(count(&client).await, Value::Int64(2));
    let held = client.pool().acquire().await.unwrap();
    assert!(matches!(client.transact(vec![statement("SELECT 1", vec![])]).await, Err(Error::Unavailable(_))));
    drop(held);
    assert_eq!(count(&client).await, Value::Int64(2));
    admin.close().await;
    assert!(matches!(admin.ping().await, Err(Error::Unavailable(_))));
}

async fn terminate(admin: &Postgres, like: &str) {
    eventually("the victim is running", || async {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE $1 AND pid <> pg_backend_pid() AND state = 'active'";
        one(admin, sql, vec![Value::Text(like.to_owned())]).await == Value::Int64(1)
    })
    .await;
}

/// Goal: a lost connection is `Uncertain` only where something may have been written. Method: the server ends the session while a
/// statement runs: a writing one alone, a reading one alone, a writing one before COMMIT was sent, and COMMIT itself.
#[tokio::test(flavor = "multi_thread")]
async fn lost_connections() {
    let (server, admin) = server_with_table().await;
    let client = server.client(&[]).await;
    let writing = || statement("INSERT INTO items SELECT 5, 5 FROM pg_sleep(3)", vec![]);

    let (result, ()) = tokio::join!(client.transact(vec![writing()]), terminate(&admin, "INSERT INTO items SELECT 5%"));
    assert!(matches!(result, Err(Error::Uncertain(_))), "{result:?}");

    let reading = statement("SELECT count(*) FROM items, pg_sleep(3)", vec![]);
    let (result, ()) =
        tokio::join!(client.transact(vec![reading]), terminate(&admin, "SELECT count(*) FROM items, pg_sleep%"));
    assert!(matches!(result, Err(Error::Unavailable(_))), "{result:?}");

    let (result, ()) = tokio::join!(
        client.transact(vec![statement("SELECT 1", vec![]), writing()]),
        terminate(&admin, "INSERT INTO items SELECT 5%")
    );
    assert!(matches!(result, Err(Error::Unavailable(_))), "{result:?}");

    // A deferred trigger runs within COMMIT, which makes its time long enough to hit.
    for sql in [
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(3); RETURN NULL; END'",
        "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON items DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()",
    ] {
        run(&admin, sql, vec![]).await;
    }
    let insert = || statement("INSERT INTO items VALUES (6, 6)", vec![]);
    let (result, ()) =
        tokio::join!(client.transact(vec![statement("SELECT 1", vec![]), insert()]), terminate(&admin, "COMMIT%"));
    assert!(matches!(result, Err(Error::Uncertain(_))), "{result:?}");

    assert_eq!(count(&client).await, Value::Int64(2));
}

/// Goal: a crashed server is `Unavailable`, and the same client goes on when it is back. Method: stop, call, start, call.
#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_server_is_found_again() {
    let (mut server, client) = server_with_table().await;
    let client_with_few = server.client(&[("max_connections", "2"), ("acquire_timeout_ms", "500")]).await;
    drop(client);
    assert_eq!(count(&client_with_few).await, Value::Int64(2));
    server.stop();
    // Long enough idle to be tested before use, so that the dead connection is found before a statement goes out on it.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let insert = || vec![statement("INSERT INTO items VALUES (7, 7)", vec![])];
    let result = client_with_few.transact(insert()).await;
    assert!(matches!(result, Err(Error::Unavailable(_))), "{result:?}");
    assert!(matches!(client_with_few.ping().await, Err(Error::Unavailable(_))));
    server.resume().await;
    eventually("the client has recovered", || async { client_with_few.ping().await.is_ok() }).await;
    assert!(client_with_few.transact(insert()).await.is_ok());
}

/// Goal: a call that is dropped half way leaves no transaction behind. Method: drop it while it waits, then look for its lock.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_call_leaves_nothing_open() {
    let (server, admin) = server_with_table().await;
    let client = server.client(&[("max_connections", "1")]).await;
    let call = client.transact(vec![
        statement("UPDATE items SET qty = 0 WHERE id = 1", vec![]),
        statement("SELECT pg_sleep(1)", vec![]),
    ]);
    assert!(tokio::time::timeout(Duration::from_millis(300), call).await.is_err());
    eventually("the lock is gone", || async {
        let update = statement("UPDATE items SET qty = qty + 1 WHERE id = 1", vec![]);
        admin.transact(vec![update]).await.is_ok()
    })
    .await;
    assert_eq!(one(&admin, "SELECT qty FROM items WHERE id = 1", vec![]).await, Value::Int32(11));
    // The only connection of the pool was replaced.
    assert_eq!(count(&client).await, Value::Int64(2));
    let open =
        one(&admin, "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'", vec![]).await;
    assert_eq!(open, Value::Int64(0));
}

/// Goal: a change of a table under prepared statements goes unnoticed by callers. Method: alter the type between two calls.
#[tokio::test(flavor = "multi_thread")]
async fn changed_tables_are_prepared_again() {
    let (server, admin) = server_with_table().await;
    let client = server.client(&[("max_connections", "1")]).await;
    let read = "SELECT * FROM items WHERE id = 1";
    assert_eq!(run(&client, read, vec![]).await.columns.len(), 3);
    run(&admin, "ALTER TABLE items ADD COLUMN colour text", vec![]).await;
    assert_eq!(run(&client, read, vec![]).await.columns, ["id", "qty", "parent", "colour"]);
    run(&admin, "ALTER TABLE items ALTER COLUMN qty TYPE bigint", vec![]).await;
    let again = client.transact(vec![statement(read, vec![]), statement(read, vec![])]).await.unwrap();
    assert_eq!(again[1].rows[0][1], Value::Int64(10));
}

/// Goal: a plan made for an empty table does not last. Method: prepare and use a statement on a table with one row, fill the table,
/// see on a connection that is never given back that it is read whole, then use it through the pool until the index is used.
#[tokio::test(flavor = "multi_thread")]
async fn plans_for_empty_tables_do_not_last() {
    let server = Server::start().await;
    let admin = server.client(&[]).await;
    for sql in [
        "CREATE TABLE grown (n integer, padding text) WITH (autovacuum_enabled = off)",
        "CREATE INDEX ON grown (n)",
        "INSERT INTO grown VALUES (1, '')",
        "ANALYZE grown",
    ] {
        run(&admin, sql, vec![]).await;
    }
    let index_scans =
        async || one(&admin, "SELECT idx_scan FROM pg_stat_user_tables WHERE relname = 'grown'", vec![]).await;
    let client = server.client(&[("max_connections", "1")]).await;
    let select = "SELECT padding FROM grown WHERE n = $1";
    let mut held = client.pool().acquire().await.unwrap();
    for round in 0..2 {
        let until = Instant::now() + Duration::from_millis(1_500); // the server reports its counters once a second
        while Instant::now() < until {
            // The text that this crate makes of the statement, so that it is the same prepared statement below.
            sqlx::query(sqlx::AssertSqlSafe(format!("{select}\n/* 23 */")))
                .bind(7_i32)
                .fetch_all(&mut *held)
                .await
                .unwrap();
        }
        if round == 0 {
            run(&admin, "INSERT INTO grown SELECT n, repeat('x', 100) FROM generate_series(1, 20000) n", vec![]).await;
        }
    }
    assert_eq!(index_scans().await, Value::Int64(0), "the trap is there");
    drop(held);
    let deadline = Instant::now() + Duration::from_secs(60);
    while index_scans().await == Value::Int64(0) {
        assert!(Instant::now() < deadline, "the plan was never replaced");
        for _ in 0..100 {
            run(&client, select, vec![Value::Int32(7)]).await;
        }
    }
}

/// Goal: migrations run once, in order, also when two hosts start together; a changed one is refused.
#[tokio::test(flavor = "multi_thread")]
async fn migrations() {
    let server = Server::start().await;
    let client = server.client(&[("statement_timeout_ms", "100")]).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("0001_first.sql"), "CREATE TABLE a (x integer); SELECT pg_sleep(0.3);").unwrap();
    std::fs::write(folder.path().join("0002_second.sql"), "INSERT INTO a VALUES (1);").unwrap();
    let (one_host, another) = tokio::join!(client.migrate(folder.path()), client.migrate(folder.path()));
    assert!(one_host.is_ok() && another.is_ok(), "{one_host:?} {another:?}");
    assert_eq!(one(&client, "SELECT count(*) FROM a", vec![]).await, Value::Int64(1));
    std::fs::write(folder.path().join("0002_second.sql"), "INSERT INTO a VALUES (2);").unwrap();
    assert!(client.migrate(folder.path()).await.is_err());
    assert!(client.migrate(&folder.path().join("missing")).await.is_err());
}

/// Goal: see that the fast path is one. Method: time many single statements; this prints and asserts only a very generous bound.
#[tokio::test(flavor = "multi_thread")]
async fn single_statements_are_quick() {
    let (_server, client) = server_with_table().await;
    let started = Instant::now();
    for _ in 0..500 {
        run(&client, "SELECT qty FROM items WHERE id = $1", vec![Value::Int32(1)]).await;
    }
    let each = started.elapsed() / 500;
    assert!(each < Duration::from_millis(20), "{each:?} per statement");
}
