//! Suite `lattice`: unmodified wash 0.43.0 and wadm 0.21.1 drive our hosts, on real servers. Two hosts (`zone=a`, `zone=b`) share one lattice;
//! cases run one after the other and may kill what they like; after each both hosts run again and nothing runs on them.

#![allow(
    clippy::indexing_slicing,
    reason = "JSON is indexed by name: what is not there is null; a case that panics has failed"
)]

mod applications;
mod audit;
mod bad_builds;
mod builds;
mod components;
mod configs;
mod dead_letters;
mod death;
mod links;
mod load;
mod membership;
mod outage;
mod policies;
mod programs;
mod providers;
mod remote;
mod settings;
mod stage;
mod swap;
mod world;

use std::process::ExitCode;

use swiftcart_tests::cases;
use world::World;

fn main() -> ExitCode {
    swiftcart_tests::run::<World>(cases![
        membership::hosts_are_found_and_tell_what_they_are,
        membership::heartbeats_come_in_time_and_say_everything,
        membership::labels_are_set_and_taken_away,
        membership::auctions_are_won_by_matching_hosts_alone,
        membership::a_host_is_stopped,
        membership::a_terminated_host_says_so,
        membership::another_lattice_is_another_world,
        membership::what_nobody_knows_is_refused_in_words,
        components::a_component_is_started_called_scaled_and_stopped,
        components::a_file_is_read_again_at_each_start,
        components::what_cannot_start_is_refused_with_the_reason,
        components::an_update_replaces_the_code,
        configs::a_config_is_put_read_and_deleted,
        configs::a_changed_config_reaches_a_running_component,
        configs::a_secret_arrives_and_shows_nowhere,
        links::a_link_is_put_listed_and_deleted,
        links::a_second_target_for_one_import_is_refused,
        links::links_change_while_calls_flow,
        policies::a_link_gets_a_policy_by_wash,
        providers::a_builtin_is_started_linked_and_stopped,
        providers::what_is_no_provider_is_refused,
        providers::an_external_provider_lives_under_our_host,
        programs::programs_serve_a_component,
        programs::a_program_brings_messages,
        programs::an_interface_with_resources_is_refused_in_words,
        applications::an_application_is_deployed_upgraded_and_undeployed,
        applications::the_shop_runs_on_two_hosts,
        policies::the_policy_before_payment_is_changed_under_a_running_shop,
        applications::components_come_from_a_registry,
        remote::a_remote_call_is_a_local_call,
        remote::hosts_with_the_same_component_share_its_calls,
        remote::a_callee_that_is_nowhere_is_told_in_time,
        swap::updates_under_load_lose_nothing,
        swap::upgrades_by_wadm_lose_nothing,
        swap::order_and_a_consumer_are_swapped_under_load,
        dead_letters::a_poisoned_batch_is_replayed_after_the_fix_and_applied_once,
        bad_builds::a_build_without_an_export_is_refused,
        bad_builds::a_build_with_an_unlinked_import_is_refused,
        bad_builds::a_build_that_traps_is_rolled_back,
        death::a_killed_hosts_work_moves,
        outage::hosts_outlive_their_server,
    ])
}
