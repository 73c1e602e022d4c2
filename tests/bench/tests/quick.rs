//! The benchmarks themselves, as short as they can be: their figures mean nothing here, but a benchmark that does not run is no benchmark.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::process::Command;

use serde_json::Value;

/// Name, further arguments, variants that must have run, ratios that must be told.
type Case = (&'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);

/// Goal: every benchmark runs against real servers, accounts for what it did, and writes the file whose shape is kept: runs of every variant, and the
/// ratios that are asked of it. Method: each with `--quick`, one after the other, since they measure; of `orders` the variant that needs no other program.
#[test]
fn every_benchmark_runs_and_writes_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [Case; 5] = [
        ("echo", &[], &["warm", "fresh", "axum"], &["warm/axum", "fresh/axum"]),
        ("call", &[], &["host", "warm", "fresh", "wrpc"], &["wrpc/warm", "wrpc/fresh"]),
        ("swap", &[], &[], &[]),
        ("cold", &[], &["start-compiling-ms", "start-cached-ms", "idle-component-kib", "warm-instance-kib"], &[]),
        ("orders", &["--variants", "shop", "--audit"], &["shop"], &[]),
    ];
    for (name, arguments, variants, ratios) in cases {
        let file = folder.path().join(format!("{name}.json"));
        let mut bench = Command::new(env!("CARGO_BIN_EXE_swiftcart-bench"));
        bench.args([name, "--quick", "--json"]).arg(&file).args(arguments);
        let status = bench.status().expect("starting the benchmark");
        assert!(status.success(), "{name} ended with {status}");
        let text = std::fs::read(&file).unwrap_or_else(|error| panic!("{name} wrote no file: {error}"));
        let document: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!((&document["benchmark"], &document["made"]["quick"]), (&Value::from(name), &Value::from(true)));
        let runs = document["runs"].as_array().unwrap();
        assert!(!runs.is_empty(), "{name} has no runs");
        for variant in variants {
            assert!(runs.iter().any(|run| run["variant"] == *variant), "{name} has no run of {variant}: {document}");
        }
        for ratio in ratios {
            let median = document["ratios"][ratio]["median"].as_f64();
            assert!(median.is_some_and(|median| median > 0.0), "{name} has no ratio {ratio}: {document}");
        }
    }
}
