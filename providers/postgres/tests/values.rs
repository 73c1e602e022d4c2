//! Values against a real server: every type both ways, NULLs, and what is refused before it can do harm.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(missing_docs, reason = "tests")]

mod support;

use support::{Server, one, run, statement};
use swiftcart_provider_postgres::{Error, Value};

const UUID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

fn samples() -> Vec<(&'static str, Value)> {
    vec![
        ("boolean", Value::Boolean(true)),
        ("integer", Value::Int32(i32::MIN)),
        ("bigint", Value::Int64(i64::MAX)),
        ("double precision", Value::Float64(0.1)),
        ("text", Value::Text("żółw \u{1F422} ' \\ \n".to_owned())),
        ("bytea", Value::Bytes(vec![0, 1, 255])),
        ("uuid", Value::Uuid(UUID.to_owned())),
        ("timestamptz", Value::Timestamptz(1_700_000_000_123_456)),
        ("timestamptz", Value::Timestamptz(i64::MAX)),
        ("numeric", Value::Numeric("-12.340".to_owned())),
        ("numeric", Value::Numeric("123456789012345678901234567890.00010".to_owned())),
        ("numeric", Value::Numeric("0.000".to_owned())),
        ("numeric", Value::Numeric("NaN".to_owned())),
        ("jsonb", Value::Jsonb("{\"a\": [1, null, \"x\"]}".to_owned())),
        ("boolean[]", Value::BooleanArray(vec![true, false])),
        ("integer[]", Value::Int32Array(vec![1, -2])),
        ("bigint[]", Value::Int64Array(vec![])),
        ("double precision[]", Value::Float64Array(vec![1.5, -0.0])),
        ("text[]", Value::TextArray(vec![String::new(), "a,b\"{}".to_owned(), "NULL".to_owned()])),
        ("bytea[]", Value::BytesArray(vec![vec![], vec![7]])),
        ("uuid[]", Value::UuidArray(vec![UUID.to_owned()])),
        ("timestamptz[]", Value::TimestamptzArray(vec![0, -1])),
    ]
}

/// Goal: a value comes back as it was sent, and the server saw the same. Method: a table with one column per type; the value,
/// then NULL, then the value again through the same statement text.
#[tokio::test(flavor = "multi_thread")]
async fn every_type_round_trips() {
    let server = Server::start().await;
    let client = server.client(&[("max_connections", "1")]).await;
    for (index, (sql_type, value)) in samples().into_iter().enumerate() {
        run(&client, &format!("CREATE TABLE t{index} (v {sql_type})"), vec![]).await;
        let insert = format!("INSERT INTO t{index} VALUES ($1) RETURNING v");
        // NULL first: it must not fix the type of the parameter for the values that follow.
        assert_eq!(one(&client, &insert, vec![Value::Null]).await, Value::Null, "{sql_type}");
        assert_eq!(one(&client, &insert, vec![value.clone()]).await, value, "{sql_type}");
        assert_eq!(one(&client, &insert, vec![Value::Null]).await, Value::Null, "{sql_type}");
        let same = format!("SELECT count(*) FROM t{index} WHERE v = $1");
        assert_eq!(one(&client, &same, vec![value]).await, Value::Int64(1), "{sql_type}");
    }
    // Against the server's own reading of literals.
    let literals = run(
        &client,
        "SELECT '2000-01-01T00:00:00Z'::timestamptz, '-infinity'::timestamptz, 1::smallint, 1.5::real, 'n'::name, 'c'::char(3), 'v'::varchar,
                '{\"b\":1}'::json, '{1,2}'::smallint[], '{1.5}'::real[], '{v}'::varchar[], 1e20::numeric, 'lit', pg_notify('c', '')",
        vec![],
    )
    .await;
    assert_eq!(
        literals.rows[0],
        vec![
            Value::Timestamptz(946_684_800_000_000),
            Value::Timestamptz(i64::MIN),
            Value::Int32(1),
            Value::Float64(1.5),
            Value::Text("n".to_owned()),
            Value::Text("c  ".to_owned()),
            Value::Text("v".to_owned()),
            Value::Jsonb("{\"b\":1}".to_owned()),
            Value::Int32Array(vec![1, 2]),
            Value::Float64Array(vec![1.5]),
            Value::TextArray(vec!["v".to_owned()]),
            Value::Numeric("100000000000000000000".to_owned()),
            Value::Text("lit".to_owned()),
            Value::Null,
        ]
    );
}

/// Goal: numeric agrees with the server on many numbers. Method: compare our text with the server's `::text`.
#[tokio::test(flavor = "multi_thread")]
async fn numerics_agree_with_the_server() {
    let server = Server::start().await;
    let client = server.client(&[]).await;
    for exponent in -12..=12_i32 {
        for mantissa in ["1", "9", "10", "12345", "99999999", "100000001"] {
            let text =
                one(&client, &format!("SELECT ({mantissa}::numeric * 10::numeric ^ {exponent})::text"), vec![]).await;
            let Value::Text(text) = text else { panic!("{text:?}") };
            let number = Value::Numeric(text.clone());
            assert_eq!(one(&client, &format!("SELECT '{text}'::numeric"), vec![]).await, number);
            assert_eq!(one(&client, "SELECT $1::text", vec![number]).await, Value::Text(text));
        }
    }
}

/// Goal: types match as the statement needs. Method: a bigint for an integer column, arrays through unnest, parameters used nowhere else.
#[tokio::test(flavor = "multi_thread")]
async fn parameters_fit_common_statements() {
    let server = Server::start().await;
    let client = server.client(&[]).await;
    run(
        &client,
        "CREATE TABLE lines (id uuid, qty integer, sku text, price numeric(10,2), at timestamptz, extra json)",
        vec![],
    )
    .await;
    let inserted = run(
        &client,
        "INSERT INTO lines SELECT $1, q, s, $4, $5, $6 FROM unnest($2, $3) AS u(q, s)",
        vec![
            Value::Uuid(UUID.to_uppercase()),
            Value::Int64Array(vec![1, 2]),
            Value::TextArray(vec!["a".to_owned(), "b".to_owned()]),
            Value::Numeric("1.5".to_owned()),
            Value::Null,
            Value::Jsonb("{\"z\" : 1}".to_owned()),
        ],
    )
    .await;
    assert_eq!((inserted.rows_affected, inserted.columns.len(), inserted.rows.len()), (2, 0, 0));
    let read = run(&client, "SELECT id, qty, price, at FROM lines ORDER BY qty LIMIT $1", vec![Value::Int32(1)]).await;
    assert_eq!(read.columns, ["id", "qty", "price", "at"]);
    assert_eq!(read.rows_affected, 1);
    assert_eq!(
        read.rows,
        [[Value::Uuid(UUID.to_owned()), Value::Int32(1), Value::Numeric("1.50".to_owned()), Value::Null]]
    );
}

/// Goal: what cannot be delivered is refused, and then nothing was written. Method: count the rows afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_statements_are_invalid_and_write_nothing() {
    let server = Server::start().await;
    let client = server.client(&[("max_connections", "2")]).await;
    run(&client, "CREATE TYPE colour AS ENUM ('red')", vec![]).await;
    run(&client, "CREATE TABLE t (day date, c colour, n integer)", vec![]).await;
    let text = |text: &str| Value::Text(text.to_owned());
    let wrong = [
        (statement("INSERT INTO t (day) VALUES (now()) RETURNING day", vec![]), "column `day`"),
        (statement("INSERT INTO t (c) VALUES ('red') RETURNING c", vec![]), "column `c`"),
        (statement("INSERT INTO t (n) VALUES ($1)", vec![text("1")]), "42804"),
        (statement("INSERT INTO t (n) VALUES ($1), ($2)", vec![Value::Int32(1)]), "2 parameters"),
        (statement("INSERT INTO t (n) VALUES (1); DELETE FROM t", vec![]), "42601"),
        (statement("SELECT $1", vec![text("a\0b")]), "22021"),
        (statement("SELEC 1", vec![]), "42601"),
        (statement("SELECT 1/0", vec![]), "22012"),
        (statement("SELECT $1::jsonb", vec![Value::Jsonb("{".to_owned())]), "22P02"),
        (statement("BEGIN", vec![]), "BEGIN"),
        (statement("SELECT '{1,NULL}'::integer[] AS a", vec![]), "NULL"),
    ];
    for (statement, hint) in wrong {
        for statements in [vec![statement.clone()], vec![statement.clone(), support::statement("SELECT 1", vec![])]] {
            match client.transact(statements).await {
                Err(Error::Invalid(message)) => assert!(message.contains(hint), "{message:?} should name {hint:?}"),
                other => panic!("{statement:?}: {other:?}"),
            }
        }
    }
    assert_eq!(one(&client, "SELECT count(*) FROM t", vec![]).await, Value::Int64(0));

    // A value that only shows itself after the commit: the answer does not claim that nothing was written.
    let late = statement("INSERT INTO t (n) VALUES (1) RETURNING '{1,NULL}'::integer[]", vec![]);
    assert!(matches!(client.transact(vec![late.clone()]).await, Err(Error::Uncertain(_))));
    assert_eq!(one(&client, "SELECT count(*) FROM t", vec![]).await, Value::Int64(1));
    assert!(matches!(client.transact(vec![late.clone(), late]).await, Err(Error::Invalid(_))));
    assert_eq!(one(&client, "SELECT count(*) FROM t", vec![]).await, Value::Int64(1));

    // More than a component may get.
    let huge = statement("SELECT repeat('x', 1000000) FROM generate_series(1, 80)", vec![]);
    assert!(matches!(client.transact(vec![huge]).await, Err(Error::Invalid(_))));
}
