//! Suite `e2e`: the real shop, all five components on the real host with real PostgreSQL, Redis, Kafka, SMTP and the PSP simulator. Cases
//! run one after the other and may kill what they like; after each the faults are cleared and what was stopped runs again.

#![allow(clippy::indexing_slicing, reason = "a case that panics has failed")]

mod access;
mod bad_input;
mod breaker;
mod delivery;
mod happy;
mod idempotency;
mod refusals;
mod restart;
mod shop;

use std::process::ExitCode;

use shop::E2e;
use swiftcart_tests::cases;

fn main() -> ExitCode {
    swiftcart_tests::run::<E2e>(cases![
        happy::an_order_goes_all_the_way,
        happy::reading_orders,
        happy::products_and_stock,
        happy::documentation_is_served,
        refusals::a_declined_card_is_402_and_an_event,
        refusals::too_little_stock_is_409_and_nothing_is_charged,
        refusals::an_unreachable_psp_is_503_and_the_key_may_try_again,
        refusals::an_unknown_outcome_is_202_and_settles,
        refusals::one_unit_and_twenty_buyers,
        breaker::a_failing_psp_is_refused_fast_and_recovers,
        breaker::a_silent_psp_slows_nobody_else,
        idempotency::a_repeated_key_replays_byte_for_byte,
        idempotency::a_key_with_another_request_is_refused,
        idempotency::one_key_raced_makes_one_order,
        delivery::an_event_delivered_twice_is_applied_once,
        delivery::a_poison_message_is_dead_lettered_with_its_context,
        delivery::a_mail_server_that_was_down_gets_the_mail_once,
        restart::a_killed_host_loses_nothing,
        restart::a_terminated_host_finishes_its_work,
        access::tokens_are_checked,
        access::another_users_order_is_not_found,
        access::another_services_tables_are_refused,
        bad_input::a_bad_order_is_refused_precisely,
        bad_input::a_bad_product_is_refused_precisely,
        bad_input::broken_http_does_not_hurt,
    ])
}
