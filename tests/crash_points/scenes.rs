//! The scenes. Goal of each: wherever the host dies or fails, buyers who repeat their request get an answer for good, every order is decided, and all
//! books agree. Method: `enumerate`.

use crate::enumerate::{Cause, EDGE, Left, MESSAGES, Scene, TIMER, every_point};
use crate::world::World;

const VISA: &str = "pm_card_visa";
const DECLINED: &str = "pm_card_chargeDeclined";
/// More than all runs of a scene sell.
const PLENTY: i64 = 1_000;

const CREATE: Scene = Scene {
    name: "create, confirmed",
    component: "gateway",
    export: EDGE,
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

const SWEEP: Scene = Scene { component: "order", export: TIMER, ..CREATE };

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
