//! Suite `e2e`: the real shop, all five components on the real host with real PostgreSQL, Redis, Kafka, SMTP and the PSP simulator. Cases
//! run one after the other and may kill what they like; after each the faults are cleared and what was stopped runs again.

#![allow(clippy::indexing_slicing, reason = "a case that panics has failed")]

mod access;
mod bad_input;
mod breaker;
mod cancel;
mod deadline;
mod delivery;
mod drift;
mod happy;
mod idempotency;
mod refund;
mod refusals;
mod restart;
mod saga;
mod shop;
mod webhooks;

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
        deadline::a_clients_deadline_cuts_the_whole_chain,
        idempotency::a_repeated_key_replays_byte_for_byte,
        idempotency::a_key_with_another_request_is_refused,
        idempotency::one_key_raced_makes_one_order,
        cancel::a_confirmed_order_is_cancelled,
        cancel::what_cannot_be_cancelled_is_told_why,
        cancel::ten_cancellations_at_once_are_one,
        saga::an_order_that_cannot_be_honoured_fails,
        saga::a_refund_is_shown_once,
        saga::a_refund_of_nothing_is_set_aside,
        delivery::an_event_delivered_twice_is_applied_once,
        delivery::a_poison_message_is_dead_lettered_with_its_context,
        delivery::a_mail_server_that_was_down_gets_the_mail_once,
        delivery::an_outage_in_the_middle_of_a_stream_is_worked_off,
        refund::both_ends_of_one_order_give_back_once,
        refund::an_order_that_was_not_charged_gets_nothing,
        refund::a_refund_survives_a_psp_that_is_away,
        refund::a_charge_that_was_left_open_is_settled,
        refund::a_refund_that_is_refused_is_failed,
        refund::a_refund_that_the_psp_fails_is_shown,
        refund::an_end_that_comes_first_bars_the_confirmation,
        refund::what_cannot_be_honoured_is_rejected_for_good,
        webhooks::only_a_signature_opens_the_door,
        webhooks::a_refund_by_hand_is_heard_of,
        webhooks::a_refund_on_its_way_ends_with_the_event,
        drift::a_false_counter_is_put_right,
        drift::a_redis_that_loses_everything_oversells_nothing,
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
