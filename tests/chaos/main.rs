//! Suite `chaos`: a real shop under a steady load of orders while everything that it needs is killed, stalled or made to fail, one fault after the
//! other; then the auditor reads all books. Invariant: a run is told by its seed, and a failed one says how to run it again.
//!
//! `cargo xtask test chaos -- --seed 7 --faults 1000 --rate 20 --json report.json`; `--only postgres` keeps to faults with that in their name. What is left out
//! has its default; other arguments choose cases.

#![allow(clippy::indexing_slicing, reason = "a case that panics has failed")]

mod books;
mod brokers;
mod fault;
mod lattice;
mod load;
mod races;
mod report;
mod settings;
mod storm;
mod world;

use std::process::ExitCode;

use swiftcart_tests::cases;
use world::Chaos;

fn main() -> ExitCode {
    let arguments = match settings::read(std::env::args()) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    swiftcart_tests::run_with::<Chaos>(
        arguments,
        cases![
            races::one_key_raced_a_hundred_ways,
            races::one_unit_and_a_thousand_buyers,
            storm::every_fault_under_load,
            books::a_falsified_row_is_named,
            brokers::each_broker_of_three_dies_under_load,
            lattice::nats_and_wadm_die_under_load,
        ],
    )
}
