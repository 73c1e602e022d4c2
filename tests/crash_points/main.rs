//! Suite `crash-points`: the host dies or fails at every effect of every call that an order, its cancellation or its rejection sets off, before it and after it, one after the other; buyers
//! repeat their requests as real ones do; then the auditor reads all books. Invariant: which effects there are is read from an undisturbed run, so that
//! none can be forgotten.

#![allow(clippy::indexing_slicing, reason = "a case that panics has failed")]
#![allow(clippy::print_stdout, reason = "the list of effects and the counts are what this suite is run for")]

mod buyer;
mod causes;
mod control;
mod enumerate;
mod psp;
mod scenes;
mod world;

use std::process::ExitCode;

use swiftcart_tests::cases;
use world::World;

fn main() -> ExitCode {
    swiftcart_tests::run::<World>(cases![
        scenes::create_confirmed,
        scenes::create_declined,
        scenes::create_out_of_stock,
        scenes::stock_goes_out_for_a_confirmed_order,
        scenes::stock_comes_back_from_a_failed_order,
        scenes::mail_about_a_confirmed_order,
        scenes::cancel,
        scenes::stock_comes_back_from_a_cancelled_order,
        scenes::money_goes_back_for_a_cancelled_order,
        scenes::mail_about_a_cancelled_order,
        scenes::an_order_hears_of_its_refund,
        scenes::inventory_rejects_an_order,
        scenes::an_order_hears_of_its_rejection,
        scenes::money_goes_back_for_a_rejected_order,
        scenes::sweep_of_an_order_that_was_not_charged,
        scenes::sweep_of_an_order_that_was_charged,
        scenes::sweep_of_an_overdue_reservation,
        scenes::sweep_of_a_refund_that_was_made,
        scenes::webhook_of_a_charge_that_nobody_wrote_down,
        scenes::webhook_of_a_refund_that_arrived,
        scenes::outboxes_of_a_cancelled_order,
        scenes::outboxes_of_a_rejected_order,
        scenes::offsets_of_all_who_hear_of_a_rejected_order,
    ])
}
