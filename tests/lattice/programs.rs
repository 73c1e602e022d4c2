//! Our provider libraries as programs of their own: started by the real `wash` on our host, called and calling over wRPC. (A stock host would do the
//! same; it is not compiled here, see docs/lattice.md.)

use std::net::TcpListener;

use anyhow::{Context as _, ensure};
use redis::AsyncCommands as _;
use serde_json::{Value, json};
use sqlx::postgres::{PgPool, PgPoolOptions};
use swiftcart_support::client::ALL_SCOPES;
use swiftcart_support::eventually;
use swiftcart_tests::broker::Broker;

use crate::stage;
use crate::world::{SETTLED, SOON, World, text};

/// What the guest `consumer` writes to.
const TABLES: &str = include_str!("../contract/migrations/consumer/0001_consumer.sql");

/// Starts a program on the first host by its file, with named configs.
async fn start(world: &World, program: &str, id: &str, configs: &[&str]) -> anyhow::Result<()> {
    let file = world.built.programs.join(format!("swiftcart-{program}-provider"));
    let (reference, mark) = (format!("file://{}", text(&file)), world.events.mark());
    let mut arguments = vec!["start", "provider", &reference, id, "--host-id", world.a()];
    arguments.extend(configs.iter().flat_map(|config| ["--config", config]));
    world.wash.run(&arguments).await?.success()?;
    let started = world.events.wait(mark, SOON, "provider_started", |event| event.says("provider_id", id)).await?;
    ensure!(started.data()["image_ref"] == text(&file), "{}", started.data());
    Ok(())
}

/// Puts a link; `package` is `namespace:package`.
async fn link(
    world: &World,
    (source, target): (&str, &str),
    (package, interface): (&str, &str),
    config: (&str, &str),
) -> anyhow::Result<()> {
    let (namespace, package) = package.split_once(':').context("no package")?;
    let arguments = ["link", "put", source, target, namespace, package, "--interface", interface, config.0, config.1];
    world.wash.run(&arguments).await?.success().map(drop)
}

/// Waits until each program has said that it is healthy, since `mark`.
async fn healthy(world: &World, mark: usize, ids: &[&str]) -> anyhow::Result<()> {
    for id in ids {
        world.events.wait(mark, SOON, "health_check_passed", |event| event.says("provider_id", *id)).await?;
    }
    Ok(())
}

/// Stops a program by `wash`, and waits until nobody answers in its name.
async fn stop(world: &World, id: &str) -> anyhow::Result<()> {
    let mark = world.events.mark();
    world.wash.run(&["stop", "provider", id, "--host-id", world.a()]).await?.success()?;
    world.events.wait(mark, SOON, "provider_stopped", |event| event.says("provider_id", id)).await?;
    let subject = format!("wasmbus.rpc.{}.{id}.health", crate::world::LATTICE);
    let answer = world.lattice.client().request(subject, "".into()).await;
    ensure!(answer.is_err(), "{id} still answers");
    Ok(())
}

/// An address that nobody listens on.
fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

async fn database(world: &World) -> anyhow::Result<PgPool> {
    Ok(PgPoolOptions::new().max_connections(1).connect(&world.shop.addresses().admin_database_url).await?)
}

/// What `probe` answers to an operation over the program's edge.
async fn run(world: &World, url: &str, token: &str, operation: &Value) -> anyhow::Result<Value> {
    let answer = world.http.post(format!("{url}/run")).bearer_auth(token).json(operation).send().await?;
    let (status, body) = (answer.status(), answer.text().await?);
    ensure!(status == 200, "{status}: {body}");
    serde_json::from_str(&body).with_context(|| format!("no JSON: {body}"))
}

/// Goal: a component is served by the programs of the database, the key-value store, the mail server and the edge as by the built-ins: each call has its
/// effect in the real server, and the edge's client is known to the component and cannot be forged. Method: `probe`, which does what the
/// body of a request says, called through the edge; then everything is stopped.
pub(crate) async fn programs_serve_a_component(world: &mut World) -> anyhow::Result<()> {
    let (addresses, mark, at) = (world.shop.addresses().clone(), world.events.mark(), free_address()?);
    world.put_configs().await?;
    for (name, pairs) in [
        ("the-database", vec![("url", addresses.admin_database_url.as_str())]),
        ("the-store", vec![("url", addresses.redis_url.as_str())]),
        ("the-mail", vec![("url", addresses.smtp_url.as_str())]),
        ("the-door", vec![("address", at.as_str()), ("public_paths", "GET /open/*")]),
        ("nothing", vec![]),
    ] {
        world.lattice.put_config(name, &pairs).await?;
    }
    start(world, "postgres", "database", &[]).await?;
    start(world, "redis", "store", &["the-store"]).await?;
    start(world, "email", "post", &["mail"]).await?;
    start(world, "http", "door", &["edge"]).await?;
    let target = "--target-config";
    link(world, ("probe", "database"), ("swiftcart:postgres", "client"), (target, "the-database")).await?;
    link(world, ("probe", "store"), ("swiftcart:redis", "scripts"), (target, "nothing")).await?;
    link(world, ("probe", "post"), ("swiftcart:email", "sender"), (target, "the-mail")).await?;
    link(world, ("door", "probe"), ("wasi:http", "incoming-handler"), ("--source-config", "the-door")).await?;
    let guest = format!("file://{}", text(&world.built.guests.join("probe.wasm")));
    // On a busy machine compiling it takes longer than `wash` waits; what counts is that it runs.
    let _ = world.wash.run(&["start", "component", &guest, "probe", "--host-id", world.a()]).await?;
    world.events.wait(mark, SETTLED, "component_scaled", |event| event.says("component_id", "probe")).await?;
    healthy(world, mark, &["database", "store", "post", "door"]).await?;

    let (url, token) = (format!("http://{at}"), world.client.token("ann", ALL_SCOPES)?);
    eventually(SOON, "the component to know who calls", async || {
        let seen = world.http.get(format!("{url}/mine")).bearer_auth(&token).send().await?.text().await?;
        ensure!(seen.contains(r#"["x-token-subject","ann"]"#) && !seen.contains("authorization"), "{seen}");
        Ok(())
    })
    .await?;
    ensure!(world.http.get(format!("{url}/mine")).send().await?.status() == 401, "the door is open to everybody");
    let forged = world.http.get(format!("{url}/open/x")).header("x-token-subject", "admin").send().await?;
    let forged = forged.text().await?;
    ensure!(forged.contains("\"GET\"") && !forged.contains("x-token"), "{forged}");
    effects(world, &url, &token).await?;

    for id in ["door", "database", "store", "post"] {
        stop(world, id).await?;
    }
    ensure!(world.http.get(format!("{url}/open/x")).send().await.is_err(), "the port is still open");
    Ok(())
}

/// One call through each program that is called, and a look at what it did.
async fn effects(world: &World, url: &str, token: &str) -> anyhow::Result<()> {
    let name = format!("parcel-{}", uuid::Uuid::new_v4().simple());
    let database = database(world).await?;
    sqlx::query("CREATE TABLE IF NOT EXISTS parcels (name text PRIMARY KEY)").execute(&database).await?;
    let insert = json!({"transact": {"statements": [
        {"sql": "INSERT INTO parcels VALUES ($1)", "params": [{"Text": name}], "expected_rows": 1},
    ]}});
    let inserted = run(world, url, token, &insert).await?;
    ensure!(inserted.get("Ok").is_some(), "{inserted}");
    let found: i64 =
        sqlx::query_scalar("SELECT count(*) FROM parcels WHERE name = $1").bind(&name).fetch_one(&database).await?;
    ensure!(found == 1, "the row is not there");
    // The same row again: the failure comes as what it is, not as a failure of the call.
    let twice = run(world, url, token, &insert).await?;
    ensure!(twice.to_string().contains("parcels_pkey"), "{twice}");

    let source = "redis.call('SET', KEYS[1], ARGV[1]); return {KEYS[1], 7, false}";
    let script =
        json!({"script": {"script": {"name": "put", "source": source}, "keys": [name], "arguments": ["here"]}});
    let set = run(world, url, token, &script).await?;
    ensure!(set == json!({"Ok": [{"Text": name}, {"Integer": 7}, "Nil"]}), "{set}");
    let mut redis =
        redis::Client::open(world.shop.addresses().redis_url.as_str())?.get_multiplexed_async_connection().await?;
    let value: Option<String> = redis.get(&name).await?;
    ensure!(value.as_deref() == Some("here"), "{value:?}");
    let _: () = redis.del(&name).await?;

    let to = format!("{name}@example.org");
    let message = json!({"to": to, "subject": "Grüße", "text": "Zoë", "message_id": to, "headers": []});
    let sent = run(world, url, token, &json!({"send": {"message": message}})).await?;
    ensure!(sent == json!({"Ok": null}), "{sent}");
    eventually(SOON, "the mail", async || {
        let inbox = world.client.inbox().await?;
        let found = inbox.iter().find(|mail| mail.to.iter().any(|mailbox| mailbox.address == to));
        ensure!(found.is_some_and(|mail| mail.subject == "Grüße"), "{found:?}");
        Ok(())
    })
    .await
}

/// Goal: what cannot go to a program is refused in words, and not found out by a call. Method: `wasi:keyvalue`, whose buckets are resources, linked to one.
pub(crate) async fn an_interface_with_resources_is_refused_in_words(world: &mut World) -> anyhow::Result<()> {
    let mark = world.events.mark();
    let put = ["link", "put", "probe", "store", "wasi", "keyvalue", "--interface", "store"];
    world.wash.run(&put).await?.success()?;
    let guest = format!("file://{}", text(&world.built.guests.join("probe.wasm")));
    world.wash.refused(&["start", "component", &guest, "probe", "--host-id", world.a()]).await?;
    let failed = |event: &swiftcart_support::lattice::Event| event.says("component_id", "probe");
    let event = world.events.wait(mark, SOON, "component_scale_failed", failed).await?;
    let error = event.data()["error"].as_str().unwrap_or_default();
    ensure!(error.contains("wasi:keyvalue/store") && error.contains("store") && error.contains("resource"), "{error}");
    Ok(())
}

/// Goal: the program of Kafka brings messages to a component, which writes through the program of the database: no built-in is between. Method: the guest
/// `consumer` writes down what it sees; a message that fails once is brought again.
pub(crate) async fn a_program_brings_messages(world: &mut World) -> anyhow::Result<()> {
    let (addresses, mark) = (world.shop.addresses().clone(), world.events.mark());
    let topic = format!("parcels-{}", uuid::Uuid::new_v4().simple());
    let database = database(world).await?;
    sqlx::raw_sql(TABLES).execute(&database).await?;
    let sorting = [("group_id", topic.as_str()), ("topics", &topic), ("partitions", "1"), ("retry_initial_ms", "20")];
    world.put_configs().await?;
    world.lattice.put_config("sorting", &sorting).await?;
    world.lattice.put_config("the-database", &[("url", &addresses.admin_database_url)]).await?;
    start(world, "postgres", "database", &["the-database"]).await?;
    start(world, "kafka", "messages", &["kafka"]).await?;
    let guest = format!("file://{}", text(&world.built.guests.join("consumer.wasm")));
    link(world, ("sorter", "database"), ("swiftcart:postgres", "client"), ("--target-config", "the-database")).await?;
    stage::start(world, world.a(), &guest, "sorter", &[]).await?;
    link(world, ("messages", "sorter"), ("swiftcart:kafka", "handler"), ("--source-config", "sorting")).await?;
    healthy(world, mark, &["database", "messages"]).await?;

    let broker = Broker::new(&addresses.kafka_bootstrap_servers);
    // The consumer makes the topic.
    eventually(SOON, "the topic", async || {
        broker.publish(&topic, "a", br#"{"name": "first", "conduct": "ok"}"#, &[]).await
    })
    .await?;
    broker.publish(&topic, "a", br#"{"name": "second", "conduct": "retry", "times": 1}"#, &[]).await?;
    let sql = "SELECT name || ' ' || attempt FROM seen WHERE topic = $1 ORDER BY id";
    eventually(SOON, "the component to have seen all", async || {
        let seen: Vec<String> = sqlx::query_scalar(sql).bind(&topic).fetch_all(&database).await?;
        ensure!(seen == ["first 1", "second 1", "second 2"], "{seen:?}");
        Ok(())
    })
    .await?;

    stop(world, "messages").await?;
    stop(world, "database").await?;
    sqlx::raw_sql("DROP TABLE seen, gates, ticks, work").execute(&database).await?;
    Ok(())
}
