//! What the host promises to components and to the world, on real servers: each case drives a capability through real WebAssembly, by HTTP
//! with real tokens. Invariant: cases share one host but no data; whatever a case stops is running again after it.
#![allow(clippy::indexing_slicing, reason = "JSON is indexed by name: what is not there is null")]

mod calls;
mod consume;
mod dead_letters;
mod edge;
mod fixture;
mod lifecycle;
mod mail;
mod outgoing;
mod policy;
mod postgres;
mod probe;
mod publish;
mod redis;
mod refusals;
mod target;
mod timer;

use std::process::ExitCode;

use swiftcart_tests::cases;

fn main() -> ExitCode {
    swiftcart_tests::run::<fixture::Contract>(cases![
        refusals::a_good_application_passes,
        refusals::imports_need_links_that_fit,
        refusals::the_manifest_must_make_sense,
        refusals::files_must_be_components,
        refusals::run_refuses_too,
        refusals::settings_are_checked_before_anything_serves,
        postgres::every_type_goes_round,
        postgres::null_goes_round_in_every_type,
        postgres::a_transaction_is_all_or_nothing,
        postgres::another_number_of_rows_is_stale,
        postgres::a_conflict_names_constraint_and_statement,
        postgres::what_is_wrong_is_invalid,
        postgres::another_services_data_is_out_of_reach,
        postgres::a_server_that_is_away_is_unavailable_and_comes_back,
        calls::every_type_passes_by_value,
        calls::parameters_and_bits_pass_unchanged,
        calls::a_trap_is_uncertain_and_hurts_its_caller_alone,
        calls::a_trap_without_words_is_a_500,
        calls::an_overloaded_callee_is_unavailable,
        calls::an_endless_loop_is_cut_and_starves_nobody,
        calls::memory_has_a_limit,
        calls::warm_instances_are_reused_and_fresh_ones_are_not,
        calls::a_guest_has_no_surroundings,
        consume::order_is_kept_per_key_through_retries,
        consume::a_slow_key_holds_up_no_other,
        consume::a_rejected_message_is_a_dead_letter_with_its_story,
        consume::a_trap_is_retried_and_then_buried,
        consume::a_missing_dependency_pauses_and_buries_nothing,
        consume::a_killed_host_resumes_without_loss,
        dead_letters::letters_are_listed_shown_and_replayed_once,
        dead_letters::a_loop_ends_parked_and_is_discarded,
        dead_letters::only_the_group_that_failed_takes_a_replay,
        dead_letters::one_run_at_a_time_works_on_a_topic,
        dead_letters::a_killed_run_is_taken_up_where_it_ended,
        dead_letters::lag_rises_and_falls_with_an_outage,
        publish::the_outbox_reaches_the_topic_in_order_with_its_headers,
        publish::a_rolled_back_row_is_never_published,
        publish::one_trace_from_the_client_to_the_consumer,
        edge::a_request_needs_a_token_that_holds,
        edge::a_public_path_needs_none,
        edge::an_answer_is_whole_or_an_error,
        edge::identity_headers_cannot_be_forged,
        edge::too_much_is_refused_by_kind,
        edge::a_slow_body_is_given_up,
        edge::the_rate_is_limited_per_user,
        edge::an_answer_has_a_deadline,
        redis::scripts_run_atomically_with_their_values,
        redis::script_errors_are_told_apart,
        redis::keyvalue_stores_counts_and_lists,
        redis::a_server_that_is_away_is_unavailable_and_comes_back,
        mail::a_mail_arrives_as_written,
        mail::a_bad_mail_is_invalid,
        mail::a_server_that_is_away_is_unavailable_and_comes_back,
        outgoing::only_allowed_hosts_are_reached,
        outgoing::the_trace_goes_along_and_nothing_is_forged,
        outgoing::an_answer_is_not_waited_for_beyond_the_deadline,
        timer::timers_tick_and_work_makes_the_next_tick_come_at_once,
        policy::a_breaker_opens_lets_probes_through_and_recovers,
        policy::a_deadline_cuts_and_slow_calls_open_the_breaker,
        policy::a_full_bulkhead_refuses_at_once,
        policy::only_what_did_nothing_is_tried_again,
        policy::an_operator_holds_a_breaker,
        lifecycle::configuration_reaches_the_component,
        lifecycle::the_admin_port_tells_what_runs,
        lifecycle::a_running_request_is_finished_before_the_end,
    ])
}
