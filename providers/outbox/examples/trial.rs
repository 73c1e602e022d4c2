//! THROW-AWAY: tries the two crates against a real broker and database. Not committed.
#![allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "throw-away")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use secrecy::SecretString;
use swiftcart_provider_kafka::*;
use swiftcart_provider_outbox as outbox;
use swiftcart_provider_postgres::Postgres;
use tokio_util::sync::CancellationToken;

fn env(name: &str) -> String { std::env::var(name).unwrap() }
fn bootstrap() -> String { format!("127.0.0.1:{}", env("KPORT")) }
fn connection() -> Connection { Connection::plain(bootstrap()) }
fn unique(name: &str) -> String { format!("{name}{}", std::process::id()) }
fn k(command: &str) { let s = std::process::Command::new("/tmp/kfk/k.sh").arg(command).status().unwrap(); assert!(s.success()); }

type Behaviour = Box<dyn Fn(&str, u32, u32) -> Result<(), Failure> + Send + Sync>;
/// Logs (consumer, key, seq) of handled messages.
struct Recorder { name: &'static str, log: Arc<Mutex<Vec<(&'static str, String, u32)>>>, busy: Arc<Mutex<HashSet<String>>>, overlaps: AtomicUsize, calls: AtomicUsize, sleep: Duration, behave: Behaviour }
#[async_trait]
impl Handler for Recorder {
    async fn handle(&self, m: &Message) -> Result<(), Failure> {
        let key = String::from_utf8(m.key.clone().unwrap()).unwrap();
        let seq: u32 = std::str::from_utf8(&m.payload).unwrap().parse().unwrap();
        self.calls.fetch_add(1, Ordering::Relaxed);
        if !self.busy.lock().unwrap().insert(key.clone()) { self.overlaps.fetch_add(1, Ordering::Relaxed); }
        if !self.sleep.is_zero() { tokio::time::sleep(self.sleep).await; }
        self.busy.lock().unwrap().remove(&key);
        let r = (self.behave)(&key, seq, m.attempt);
        if r.is_ok() { self.log.lock().unwrap().push((self.name, key, seq)); }
        r
    }
    fn version(&self) -> String { "sha256:trial".into() }
}
type Log = Arc<Mutex<Vec<(&'static str, String, u32)>>>;
fn recorder(name: &'static str, log: &Log, busy: &Arc<Mutex<HashSet<String>>>, sleep_ms: u64, behave: Behaviour) -> Arc<Recorder> {
    Arc::new(Recorder { name, log: log.clone(), busy: busy.clone(), overlaps: 0.into(), calls: 0.into(), sleep: Duration::from_millis(sleep_ms), behave })
}
fn config(topic: &str, group: &str, extra: &[(&str, &str)]) -> ConsumerConfig {
    let mut p = BTreeMap::from([("bootstrap_servers".to_string(), bootstrap()), ("group_id".into(), group.into()), ("topics".into(), topic.into())]);
    for (a, b) in extra { p.insert(a.to_string(), b.to_string()); }
    ConsumerConfig::from_pairs(p).unwrap()
}
fn records(topic: &str, keys: u32, seqs: std::ops::Range<u32>) -> Vec<Record> {
    seqs.flat_map(|s| (0..keys).map(move |k| (k, s))).map(|(k, s)| Record { topic: topic.into(), key: Some(format!("k{k}").into_bytes()), payload: s.to_string().into_bytes(), headers: vec![Header::new("traceparent", "00-aa")] }).collect()
}
async fn produce(records: Vec<Record>) {
    let p = Producer::new(ProducerConfig::new(connection())).unwrap();
    let n = records.len(); let t = Instant::now();
    let ok = p.send_all(records).await.into_iter().filter(|r| r.is_ok()).count();
    println!("  produced {ok}/{n} in {:?}", t.elapsed());
    assert_eq!(ok, n);
}
async fn until(what: &str, secs: u64, mut f: impl FnMut() -> bool) -> Duration {
    let t = Instant::now();
    while !f() { if t.elapsed() > Duration::from_secs(secs) { println!("  !! TIMEOUT {what}"); break; } tokio::time::sleep(Duration::from_millis(20)).await; }
    t.elapsed()
}
/// first occurrences in order per key; returns (distinct, duplicates, order violations)
fn analyse(log: &Log, skip: impl Fn(&str, u32) -> bool) -> (usize, usize, usize) {
    let log = log.lock().unwrap();
    let mut seen: HashMap<&str, Vec<u32>> = HashMap::new(); let (mut dup, mut bad) = (0, 0);
    for (_, key, seq) in log.iter() {
        let v = seen.entry(key).or_default();
        if v.contains(seq) { dup += 1; continue; }
        let expected = (0..).filter(|s| !skip(key, *s)).nth(v.len()).unwrap();
        if *seq != expected { bad += 1; }
        v.push(*seq);
    }
    (seen.values().map(Vec::len).sum(), dup, bad)
}
fn raw(topic: &str, wait: Duration) -> Vec<(String, Vec<u8>, i32, BTreeMap<String, String>)> {
    let c: BaseConsumer = rdkafka::ClientConfig::new().set("bootstrap.servers", bootstrap()).set("group.id", unique("raw")).set("auto.offset.reset", "earliest").set("enable.auto.commit", "false").create().unwrap();
    let md = c.fetch_metadata(Some(topic), Duration::from_secs(5)).unwrap();
    let mut l = rdkafka::TopicPartitionList::new();
    for p in md.topics()[0].partitions() { l.add_partition_offset(topic, p.id(), rdkafka::Offset::Beginning).unwrap(); }
    c.assign(&l).unwrap();
    let mut out = vec![]; let mut last = Instant::now();
    while last.elapsed() < wait {
        if let Some(Ok(m)) = c.poll(Duration::from_millis(100)) {
            last = Instant::now();
            let h = m.headers().map(|h| h.iter().map(|h| (h.key.to_string(), String::from_utf8_lossy(h.value.unwrap_or_default()).into_owned())).collect()).unwrap_or_default();
            out.push((String::from_utf8_lossy(m.key().unwrap_or_default()).into_owned(), m.payload().unwrap_or_default().to_vec(), m.partition(), h));
        }
    }
    out
}
struct Running { stop: CancellationToken, task: tokio::task::JoinHandle<Result<(), Error>>, status: tokio::sync::watch::Receiver<Status> }
fn run(c: ConsumerConfig, h: Arc<Recorder>) -> Running {
    let stop = CancellationToken::new(); let (s, status) = tokio::sync::watch::channel(Status::default());
    let task = tokio::spawn(Consumer::run_observed(c, h, stop.clone(), s));
    Running { stop, task, status }
}
impl Running { async fn end(self) { let t = Instant::now(); self.stop.cancel(); let r = self.task.await.unwrap(); println!("  stopped in {:?}: {r:?}", t.elapsed()); } }
fn flaky(p: f64) -> Behaviour { Box::new(move |_, _, attempt| if attempt < 6 && rand::random::<f64>() < p { Err(Failure::Retry("flaky".into())) } else { Ok(()) }) }

async fn order() {
    let topic = format!("{}.v1", unique("order")); let log = Log::default(); let busy = Default::default();
    let dead = |key: &str, seq: u32| { let n: u32 = key[1..].parse().unwrap(); (n % 10 == 0 && seq == 7) || (n % 15 == 1 && seq == 9) };
    let h = recorder("a", &log, &busy, 0, Box::new(move |key, seq, attempt| {
        let n: u32 = key[1..].parse().unwrap();
        if n % 10 == 0 && seq == 7 { return Err(Failure::Reject("bad".into())); }
        if n % 15 == 1 && seq == 9 { return Err(Failure::Retry("always".into())); }
        if attempt < 4 && rand::random::<f64>() < 0.2 { Err(Failure::Retry("flaky".into())) } else { Ok(()) }
    }));
    let r = run(config(&topic, &unique("go"), &[("retry_initial_ms", "10"), ("retry_max_ms", "100"), ("max_attempts", "5")]), h.clone());
    until("assigned", 20, || r.status.borrow().assigned_partitions == 6).await;
    produce(records(&topic, 300, 0..20)).await;
    let deaths = (0..300).flat_map(|k| (0..20).map(move |s| (k, s))).filter(|(k, s)| dead(&format!("k{k}"), *s)).count();
    let t = until("all", 60, || log.lock().unwrap().len() >= 6000 - deaths).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    println!("  {:?} handled/dup/order violations, overlaps {}, calls {}, in {t:?}", analyse(&log, dead), h.overlaps.load(Ordering::Relaxed), h.calls.load(Ordering::Relaxed));
    r.end().await;
    let dl = topic.replace(".v1", ".dlq");
    let letters = tokio::task::spawn_blocking(move || raw(&dl, Duration::from_secs(1))).await.unwrap();
    println!("  dead letters {} (expected {deaths}); one: {:?}", letters.len(), letters.first());
    let by: BTreeMap<String, usize> = letters.iter().fold(BTreeMap::new(), |mut m, l| { *m.entry(format!("{}/{}", l.3["dlq-failure-class"], l.3["dlq-attempts"])).or_default() += 1; m });
    println!("  classes {by:?}; same partition {}", letters.iter().all(|l| l.3["dlq-original-partition"] == l.2.to_string()));
}
async fn throughput() {
    let topic = format!("{}.v1", unique("thr")); let log = Log::default(); let busy = Default::default();
    let h = recorder("a", &log, &busy, 0, Box::new(|_, _, _| Ok(())));
    let r = run(config(&topic, &unique("gt"), &[]), h.clone());
    until("assigned", 20, || r.status.borrow().assigned_partitions == 6).await;
    produce(records(&topic, 2000, 0..50)).await;
    let t = until("all", 60, || log.lock().unwrap().len() >= 100_000).await;
    println!("  {:?} in {t:?} after producing", analyse(&log, |_, _| false));
    // latency of one message at a time
    let p = Producer::new(ProducerConfig::new(connection())).unwrap(); let mut l = vec![];
    for i in 0..300u32 { let t = Instant::now(); let n = log.lock().unwrap().len(); p.send(Record { topic: topic.clone(), key: Some(b"lat".to_vec()), payload: i.to_string().into_bytes(), headers: vec![] }).await.unwrap(); while log.lock().unwrap().len() == n { tokio::time::sleep(Duration::from_micros(100)).await; } l.push(t.elapsed()); }
    l.sort(); println!("  send->handled p50 {:?} p99 {:?}", l[150], l[297]);
    r.end().await;
}
async fn rebalance() {
    let topic = format!("{}.v1", unique("reb")); let log = Log::default(); let busy: Arc<Mutex<HashSet<String>>> = Default::default(); let g = unique("gr");
    let a = recorder("a", &log, &busy, 5, flaky(0.1)); let b = recorder("b", &log, &busy, 5, flaky(0.1)); let c = recorder("c", &log, &busy, 5, flaky(0.1));
    let extra = &[("retry_initial_ms", "10"), ("retry_max_ms", "100"), ("max_in_flight_per_partition", "100")];
    let ra = run(config(&topic, &g, extra), a.clone());
    until("assigned", 20, || ra.status.borrow().assigned_partitions == 6).await;
    produce(records(&topic, 300, 0..60)).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    println!("  a alone handled {}", log.lock().unwrap().len());
    let rb = run(config(&topic, &g, extra), b.clone());
    until("b assigned", 20, || rb.status.borrow().assigned_partitions == 3).await;
    println!("  b joined: a {:?} b {:?}; handled {}", *ra.status.borrow(), *rb.status.borrow(), log.lock().unwrap().len());
    tokio::time::sleep(Duration::from_millis(1000)).await;
    ra.end().await;
    let rc = run(config(&topic, &g, extra), c.clone());
    let t = until("all", 60, || analyse(&log, |_, _| false).0 >= 18_000).await;
    println!("  a/b/c {:?} distinct/dup/violations {:?} in {t:?}; overlaps {}", ["a", "b", "c"].map(|n| log.lock().unwrap().iter().filter(|l| l.0 == n).count()), analyse(&log, |_, _| false), a.overlaps.load(Ordering::Relaxed) + b.overlaps.load(Ordering::Relaxed) + c.overlaps.load(Ordering::Relaxed));
    rb.end().await; rc.end().await;
}
async fn restart() {
    let topic = format!("{}.v1", unique("res")); let log = Log::default(); let busy = Default::default(); let g = unique("gs");
    ensure_topics(&connection(), &[topic.clone()], 6, 1).await.unwrap();
    produce(records(&topic, 200, 0..50)).await;
    for i in 0..5 {
        let h = recorder("a", &log, &busy, 2, flaky(0.1));
        let r = run(config(&topic, &g, &[("group_instance_id", "one"), ("session_timeout_ms", "6000"), ("retry_initial_ms", "10")]), h);
        let before = log.lock().unwrap().len();
        until("some", 20, || log.lock().unwrap().len() > before).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        r.end().await;
        println!("  round {i}: {:?}", analyse(&log, |_, _| false));
    }
    let r = run(config(&topic, &g, &[("group_instance_id", "one")]), recorder("a", &log, &busy, 0, Box::new(|_, _, _| Ok(()))));
    until("all", 30, || analyse(&log, |_, _| false).0 >= 10_000).await;
    println!("  end: {:?}", analyse(&log, |_, _| false));
    r.end().await;
}
async fn kill() {
    let topic = format!("{}.v1", unique("kil")); let log = Log::default(); let busy = Default::default();
    let h = recorder("a", &log, &busy, 0, flaky(0.05));
    let r = run(config(&topic, &unique("gk"), &[("retry_initial_ms", "10")]), h.clone());
    until("assigned", 20, || r.status.borrow().assigned_partitions == 6).await;
    let stop = CancellationToken::new(); let s2 = stop.clone(); let t2 = topic.clone();
    let p = tokio::spawn(async move {
        let p = Producer::new(ProducerConfig::new(connection())).unwrap(); let (mut seq, mut failed, mut gap) = (0, 0, Duration::ZERO);
        while !s2.is_cancelled() { let t = Instant::now(); failed += p.send_all(records(&t2, 50, seq..seq + 1)).await.iter().filter(|r| r.is_err()).count(); gap = gap.max(t.elapsed()); seq += 1; tokio::time::sleep(Duration::from_millis(5)).await; }
        (seq, failed, gap)
    });
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        tokio::task::spawn_blocking(|| { k("kill"); std::thread::sleep(Duration::from_secs(2)); k("start") }).await.unwrap();
        println!("  broker killed and restarted; handled {}", log.lock().unwrap().len());
    }
    tokio::time::sleep(Duration::from_secs(3)).await; stop.cancel();
    let (seq, failed, gap) = p.await.unwrap();
    let t = until("all", 40, || analyse(&log, |_, _| false).0 >= (seq * 50) as usize).await;
    println!("  sent {} failed {failed}, longest send_all {gap:?}; distinct/dup/violations {:?}, caught up {t:?}", seq * 50, analyse(&log, |_, _| false));
    let raws = tokio::task::spawn_blocking(move || raw(&topic, Duration::from_secs(1))).await.unwrap();
    println!("  in the log: {} (doubled {})", raws.len(), raws.len() as i64 - (seq * 50) as i64);
    r.end().await;
}
async fn down() {
    let topic = format!("{}.v1", unique("dow")); let log = Log::default(); let busy = Default::default(); let t0 = Instant::now();
    let h = recorder("a", &log, &busy, 0, Box::new(move |_, _, _| if t0.elapsed() > Duration::from_secs(3) && t0.elapsed() < Duration::from_secs(7) { Err(Failure::DependencyDown("db".into())) } else { Ok(()) }));
    let r = run(config(&topic, &unique("gd"), &[("max_attempts", "2"), ("retry_max_ms", "1000"), ("max_in_flight_per_partition", "50")]), h.clone());
    until("assigned", 20, || r.status.borrow().assigned_partitions == 6).await;
    let t2 = topic.clone();
    for s in 0..80 { produce_quiet(records(&t2, 50, s..s + 1)).await; tokio::time::sleep(Duration::from_millis(80)).await; if s % 10 == 0 { println!("  {:?} {:?} handled {} calls {}", t0.elapsed(), *r.status.borrow(), log.lock().unwrap().len(), h.calls.load(Ordering::Relaxed)); } }
    until("all", 30, || log.lock().unwrap().len() >= 4000).await;
    println!("  {:?} at {:?}, {:?}", analyse(&log, |_, _| false), t0.elapsed(), *r.status.borrow());
    r.end().await;
    let dl = topic.replace(".v1", ".dlq");
    println!("  dead letters {}", tokio::task::spawn_blocking(move || raw(&dl, Duration::from_secs(1))).await.unwrap().len());
}
async fn produce_quiet(r: Vec<Record>) { static P: std::sync::OnceLock<Producer> = std::sync::OnceLock::new(); for x in P.get_or_init(|| Producer::new(ProducerConfig::new(connection())).unwrap()).send_all(r).await { x.unwrap(); } }
async fn late() {
    let topic = format!("{}.v1", unique("lat")); let log = Log::default(); let busy = Default::default();
    k("stop"); std::thread::sleep(Duration::from_secs(3));
    println!("  ensure without broker: {:?}", { let t = Instant::now(); (ensure_topics(&connection(), &[topic.clone()], 6, 1).await, t.elapsed()) });
    let r = run(config(&topic, &unique("gl"), &[]), recorder("a", &log, &busy, 0, Box::new(|_, _, _| Ok(()))));
    tokio::time::sleep(Duration::from_secs(12)).await;
    tokio::task::spawn_blocking(|| k("start")).await.unwrap();
    println!("  assigned after {:?}", until("assigned", 40, || r.status.borrow().assigned_partitions == 6).await);
    produce(records(&topic, 10, 0..10)).await;
    until("all", 10, || log.lock().unwrap().len() >= 100).await;
    println!("  {:?}", analyse(&log, |_, _| false));
    k("stop"); tokio::time::sleep(Duration::from_secs(3)).await;
    println!("  stop while the broker is away:"); r.end().await;
    tokio::task::spawn_blocking(|| k("start")).await.unwrap();
}
async fn relay() {
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", env("PGPORT"));
    let topic = format!("{}.v1", unique("out")); let table = unique("outbox");
    let pairs: Vec<(String, String)> = [("bootstrap_servers", bootstrap().as_str()), ("url", &url), ("table", &table), ("topics", &topic), ("delivery_timeout_ms", "5000")].map(|(a, b)| (a.to_string(), b.to_string())).into();
    let pg = Arc::new(Postgres::connect(swiftcart_provider_postgres::Config::from_pairs([("url".to_string(), url.clone()), ("max_connections".into(), "20".into())]).unwrap()).await.unwrap());
    let ddl = format!("CREATE TABLE {table} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id uuid NOT NULL UNIQUE, topic text NOT NULL, key text NOT NULL, payload text NOT NULL, headers jsonb NOT NULL DEFAULT '{{}}', created_at timestamptz NOT NULL DEFAULT now(), published_at timestamptz)");
    sqlx::query(sqlx::AssertSqlSafe(ddl)).execute(pg.pool()).await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!("CREATE INDEX ON {table} (id) WHERE published_at IS NULL"))).execute(pg.pool()).await.unwrap();
    let stop = CancellationToken::new();
    let start = |stop: CancellationToken| { let c = outbox::Config::from_pairs(pairs.clone()).unwrap(); let p = Arc::new(Producer::new(c.producer.clone()).unwrap()); let r = outbox::Relay::new(c, pg.clone(), p).unwrap(); tokio::spawn(async move { r.run(stop).await }) };
    let first = CancellationToken::new();
    let r1 = start(first.clone()); let r2 = start(stop.clone());
    let insert = |key: String, payload: String, headers: String| { let pg = pg.clone(); let topic = topic.clone(); let sql = format!("INSERT INTO {table} (event_id, topic, key, payload, headers) VALUES (gen_random_uuid(), $1, $2, $3, $4::jsonb)"); async move { sqlx::query(sqlx::AssertSqlSafe(sql)).bind(topic).bind(key).bind(payload).bind(headers).execute(pg.pool()).await.map(|_| ()) } };
    tokio::time::sleep(Duration::from_secs(2)).await;
    insert("poison".into(), "x".repeat(1_100_000), "{}".into()).await.unwrap();
    insert("poison".into(), "0".into(), "{}".into()).await.unwrap();
    insert("malformed".into(), "0".into(), "[]".into()).await.unwrap();
    // latency, one at a time
    let mut l = vec![];
    for i in 0..50 { let t = Instant::now(); insert("lat".into(), i.to_string(), r#"{"ce_id":"x"}"#.into()).await.unwrap(); loop { let n: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table} WHERE key = 'lat' AND published_at IS NULL"))).fetch_one(pg.pool()).await.unwrap(); if n == 0 { break; } tokio::time::sleep(Duration::from_millis(1)).await; } l.push(t.elapsed()); }
    l.sort(); println!("  commit->published p50 {:?} max {:?}", l[25], l[49]);
    // writers: 8 tasks x 40 keys, sequences per key
    let n_seq = 150; let mut set = tokio::task::JoinSet::new();
    for w in 0..8 { let futures: Vec<_> = (0..n_seq).flat_map(|s| (0..20).map(move |k| (k, s))).map(|(k, s)| insert(format!("w{w}-{k}"), s.to_string(), r#"{"ce_id":"x"}"#.into())).collect(); set.spawn(async move { for f in futures { f.await.unwrap(); } }); }
    let chaos = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let killed: Vec<bool> = sqlx::query_scalar("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted").fetch_all(pg.pool()).await.unwrap();
        println!("  terminated the lock holder: {killed:?}");
        tokio::time::sleep(Duration::from_secs(2)).await;
        tokio::task::spawn_blocking(|| { k("kill"); std::thread::sleep(Duration::from_secs(8)); k("start") }).await.unwrap();
        println!("  broker killed, away for 8 s");
        first.cancel(); println!("  first relay ended: {:?}", r1.await.unwrap());
    };
    let (_, _) = tokio::join!(chaos, async { while set.join_next().await.is_some() {} println!("  all inserted"); });
    let t = Instant::now();
    loop { let n: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table} WHERE published_at IS NULL"))).fetch_one(pg.pool()).await.unwrap(); if n <= 3 || t.elapsed() > Duration::from_secs(60) { println!("  {n} unpublished (expected 3) after {:?}", t.elapsed()); break; } tokio::time::sleep(Duration::from_millis(50)).await; }
    let raws = tokio::task::spawn_blocking(move || raw(&topic, Duration::from_secs(1))).await.unwrap();
    let log = Log::default();
    for (key, payload, _, _) in raws.iter().filter(|r| r.0.starts_with('w')) { log.lock().unwrap().push(("", key.clone(), std::str::from_utf8(payload).unwrap().parse().unwrap())); }
    println!("  in Kafka distinct/dup/violations {:?} of {}; poison key there: {}; headers {:?}", analyse(&log, |_, _| false), 8 * 20 * n_seq, raws.iter().any(|r| r.0 == "poison"), raws[0].3);
    // bulk throughput
    sqlx::query(sqlx::AssertSqlSafe(format!("INSERT INTO {table} (event_id, topic, key, payload, headers) SELECT gen_random_uuid(), '{}', 'b' || n, repeat('x', 600), '{{\"ce_id\":\"1\"}}' FROM generate_series(1, 50000) n", pairs[3].1))).execute(pg.pool()).await.unwrap_err();
    sqlx::query("SET statement_timeout=0").execute(pg.pool()).await.ok();
    stop.cancel(); println!("  second relay ended: {:?}", r2.await.unwrap());
}
#[tokio::main]
async fn main() {
    tracing_subscriber::fmt().with_env_filter(std::env::var("RUST_LOG").unwrap_or("warn".into())).with_target(false).init();
    for what in std::env::args().skip(1) {
        println!("== {what}"); let t = Instant::now();
        match what.as_str() { "order" => order().await, "throughput" => throughput().await, "rebalance" => rebalance().await, "restart" => restart().await, "kill" => kill().await, "down" => down().await, "late" => late().await, "relay" => relay().await, _ => panic!() }
        println!("== {what} took {:?}", t.elapsed());
    }
    let _ = SecretString::default();
}
