//! The scenes. Goal of each: wherever the host dies or fails, buyers who repeat their request get an answer for good, every order is decided, and all
//! books agree. Method: `enumerate`.

use crate::causes::{Cause, Left};
use crate::enumerate::{COMMIT, EDGE, HOST, MESSAGES, RELAY, Scene, TIMER, every_point, every_step};
use crate::psp::Told;
use crate::world::World;

const VISA: &str = "pm_card_visa";
const DECLINED: &str = "pm_card_chargeDeclined";
/// More than all runs of a scene sell.
const PLENTY: i64 = 1_000;

const CREATE: Scene<'static> = Scene {
    name: "create, confirmed",
    component: "gateway",
    export: EDGE,
    subject: None,
    card: VISA,
    stock: PLENTY,
    cause: Cause::Order,
};

pub(crate) async fn create_confirmed(world: &mut World) -> anyhow::Result<()> {
    every_point(world, CREATE).await
}

pub(crate) async fn create_declined(world: &mut World) -> anyhow::Result<()> {
    every_point(world, Scene { name: "create, declined", card: DECLINED, ..CREATE }).await
}

pub(crate) async fn create_out_of_stock(world: &mut World) -> anyhow::Result<()> {
    every_point(world, Scene { name: "create, out of stock", stock: 0, ..CREATE }).await
}

pub(crate) async fn stock_goes_out_for_a_confirmed_order(world: &mut World) -> anyhow::Result<()> {
    let scene =
        Scene { name: "inventory hears of a confirmed order", component: "inventory", export: MESSAGES, ..CREATE };
    every_point(world, scene).await
}

pub(crate) async fn stock_comes_back_from_a_failed_order(world: &mut World) -> anyhow::Result<()> {
    let scene = Scene {
        name: "inventory hears of a failed order",
        component: "inventory",
        export: MESSAGES,
        card: DECLINED,
        ..CREATE
    };
    every_point(world, scene).await
}

pub(crate) async fn mail_about_a_confirmed_order(world: &mut World) -> anyhow::Result<()> {
    let scene = Scene {
        name: "notification hears of a confirmed order",
        component: "notification",
        export: MESSAGES,
        ..CREATE
    };
    every_point(world, scene).await
}

const CANCEL: Scene<'static> = Scene { name: "cancel", cause: Cause::Cancellation, ..CREATE };

pub(crate) async fn cancel(world: &mut World) -> anyhow::Result<()> {
    every_point(world, CANCEL).await
}

/// Somebody who hears of what came of a cancellation.
const CANCELLED: Scene<'static> = Scene { export: MESSAGES, ..CANCEL };

pub(crate) async fn stock_comes_back_from_a_cancelled_order(world: &mut World) -> anyhow::Result<()> {
    every_point(world, Scene { name: "inventory hears of a cancelled order", component: "inventory", ..CANCELLED })
        .await
}

pub(crate) async fn money_goes_back_for_a_cancelled_order(world: &mut World) -> anyhow::Result<()> {
    every_point(world, Scene { name: "payment hears of a cancelled order", component: "payment", ..CANCELLED }).await
}

pub(crate) async fn mail_about_a_cancelled_order(world: &mut World) -> anyhow::Result<()> {
    let scene = Scene { name: "notification hears of a cancelled order", component: "notification", ..CANCELLED };
    every_point(world, scene).await
}

pub(crate) async fn an_order_hears_of_its_refund(world: &mut World) -> anyhow::Result<()> {
    every_point(world, Scene { name: "order hears of a refund", component: "order", ..CANCELLED }).await
}

/// Somebody who hears of a confirmed order that cannot be honoured, or of what came of that.
const REJECTED: Scene<'static> = Scene { export: MESSAGES, cause: Cause::Rejection, ..CREATE };

pub(crate) async fn inventory_rejects_an_order(world: &mut World) -> anyhow::Result<()> {
    every_point(world, Scene { name: "inventory rejects a confirmed order", component: "inventory", ..REJECTED }).await
}

pub(crate) async fn an_order_hears_of_its_rejection(world: &mut World) -> anyhow::Result<()> {
    every_point(world, Scene { name: "order hears of a rejection", component: "order", ..REJECTED }).await
}

pub(crate) async fn money_goes_back_for_a_rejected_order(world: &mut World) -> anyhow::Result<()> {
    every_point(world, Scene { name: "payment hears of a rejected order", component: "payment", ..REJECTED }).await
}

const SWEEP: Scene<'static> = Scene { component: "order", export: TIMER, ..CREATE };

pub(crate) async fn sweep_of_an_order_that_was_not_charged(world: &mut World) -> anyhow::Result<()> {
    let cause = Cause::OrderTimer("order-sweep", Left::Reserved);
    every_point(world, Scene { name: "sweep, not charged", cause, ..SWEEP }).await
}

pub(crate) async fn sweep_of_an_order_that_was_charged(world: &mut World) -> anyhow::Result<()> {
    let cause = Cause::OrderTimer("order-sweep", Left::Charged);
    every_point(world, Scene { name: "sweep, charged (payment settles)", cause, ..SWEEP }).await
}

pub(crate) async fn sweep_of_an_overdue_reservation(world: &mut World) -> anyhow::Result<()> {
    let cause = Cause::StockTimer("inventory-sweep", Left::Reserved);
    every_point(world, Scene { name: "sweep, overdue reservation", component: "inventory", cause, ..SWEEP }).await
}

pub(crate) async fn sweep_of_a_refund_that_was_made(world: &mut World) -> anyhow::Result<()> {
    let cause = Cause::RefundTimer("payment-sweep");
    every_point(world, Scene { name: "sweep, refund made and not written down", component: "payment", cause, ..SWEEP })
        .await
}

/// The PSP's own word.
const WEBHOOK: Scene<'static> = Scene { name: "webhook, charged", cause: Cause::Webhook(Told::Charge), ..CREATE };

pub(crate) async fn webhook_of_a_charge_that_nobody_wrote_down(world: &mut World) -> anyhow::Result<()> {
    every_point(world, WEBHOOK).await
}

pub(crate) async fn webhook_of_a_refund_that_arrived(world: &mut World) -> anyhow::Result<()> {
    every_point(world, Scene { name: "webhook, refunded", cause: Cause::Webhook(Told::Refund), ..WEBHOOK }).await
}

pub(crate) async fn outboxes_of_a_cancelled_order(world: &mut World) -> anyhow::Result<()> {
    let scene = Scene { name: "relay, cancelled order", component: HOST, export: RELAY, ..CANCEL };
    every_step(world, scene).await
}

pub(crate) async fn outboxes_of_a_rejected_order(world: &mut World) -> anyhow::Result<()> {
    let scene = Scene { name: "relay, rejected order", component: HOST, export: RELAY, ..REJECTED };
    every_step(world, scene).await
}

pub(crate) async fn offsets_of_all_who_hear_of_a_rejected_order(world: &mut World) -> anyhow::Result<()> {
    let scene = Scene { name: "commits, rejected order", component: HOST, export: COMMIT, ..REJECTED };
    every_step(world, scene).await
}
