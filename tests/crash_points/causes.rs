//! What sets a call off, and how that ends for the buyer. Invariant: real requests and nothing else, apart from leases that are set back and stock that
//! is lost on the way to Redis.

use anyhow::{Context as _, ensure};
use redis::AsyncCommands as _;
use serde_json::json;
use swiftcart_support::eventually;
use uuid::Uuid;

use crate::buyer::Buyer;
use crate::control::{Action, Moment, Strike, Watch};
use crate::enumerate::{EDGE, HOST, Scene, first_order, play};
use crate::psp::{Told, deliver, refund_arrives};
use crate::world::{Over, SOON, World};

/// What sets a call off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A buyer's request, or an event that follows from it.
    Order,
    /// A buyer who takes his confirmed order back, or an event that follows from it.
    Cancellation,
    /// A confirmed order that inventory cannot honour, or an event that follows from it.
    Rejection,
    /// A timer of this name that finds an order which was left like this.
    OrderTimer(&'static str, Left),
    /// A timer of this name that finds the overdue reservation of such an order.
    StockTimer(&'static str, Left),
    /// The PSP, which tells something by itself.
    Webhook(Told),
    /// A timer of this name that finds a refund which the PSP has made and nobody wrote down.
    RefundTimer(&'static str),
}

/// How an order was left PENDING by a request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Its stock is reserved and nothing more.
    Reserved,
    /// The PSP has the money and nobody wrote that down.
    Charged,
}

/// Sets off what is watched.
pub(crate) async fn begin(
    world: &mut World,
    scene: Scene<'_>,
    buyer: &Buyer,
    strike: Option<Strike>,
) -> anyhow::Result<Over> {
    let watch = Watch { component: scene.component, export: scene.export, trace: None, subject: scene.subject };
    match scene.cause {
        Cause::Order => {
            let trace = new_trace();
            world.control.arm(&Watch { trace: scene.trace(&trace), ..watch }, strike).await?;
            // Whether there is an answer, and which, is what this is about.
            let _ = buyer.ask(Some(&trace)).await;
            Ok(Over::Never)
        }
        Cause::Cancellation => {
            let order = buyer.insist_on_an_order().await?;
            world.taken(&order).await?;
            alone(world, scene).await?;
            // What follows bears the trace of the cancellation, and what came before does not.
            let trace = new_trace();
            world.control.arm(&Watch { trace: scene.trace(&trace), ..watch }, strike).await?;
            let _ = buyer.cancel(Some(&trace)).await;
            Ok(over(world, scene, buyer))
        }
        Cause::Rejection => {
            alone(world, scene).await?;
            let trace = new_trace();
            world.control.arm(&Watch { trace: scene.trace(&trace), ..watch }, strike).await?;
            // The host may have died under an answer that was on its way.
            if let Ok(status) = buyer.ask(Some(&trace)).await {
                ensure!(status == 201, "{status}: Redis was put right before the order came");
            }
            Ok(over(world, scene, buyer))
        }
        Cause::Webhook(told) => {
            match told {
                Told::Charge => leave(world, buyer, Left::Charged).await?,
                Told::Refund => refund_arrives(world, buyer).await?,
            }
            let trace = new_trace();
            world.control.arm(&Watch { trace: Some(&trace), ..watch }, strike).await?;
            // Whether it is taken is what this is about.
            let _ = deliver(world, buyer, told, Some(&trace)).await;
            Ok(match told {
                Told::Charge => Over::Never,
                Told::Refund => Over::GivenBack(world.orders.clone(), buyer.name.clone()),
            })
        }
        Cause::OrderTimer(timer, left) => {
            leave(world, buyer, left).await?;
            due(world, buyer, &Watch { subject: Some(timer), ..watch }, strike).await?;
            Ok(Over::Decided(world.orders.clone(), buyer.name.clone()))
        }
        Cause::RefundTimer(timer) => {
            let order = owe(world, buyer).await?;
            let mut transaction = world.payments.begin().await?;
            sqlx::query("UPDATE refunds SET next_try_at = now() WHERE order_id = $1::uuid AND state = 'pending'")
                .bind(&order)
                .execute(&mut *transaction)
                .await?;
            world.control.arm(&Watch { subject: Some(timer), ..watch }, strike).await?;
            transaction.commit().await?;
            if strike.is_none() {
                world.refunded().await?;
            }
            Ok(over(world, scene, buyer))
        }
        Cause::StockTimer(timer, left) => {
            leave(world, buyer, left).await?;
            world.control.arm(&Watch { subject: Some(timer), ..watch }, strike).await?;
            let over = overdue(world, buyer).await?;
            if strike.is_none() {
                eventually(SOON, "the reservation to be given back", async || {
                    ensure!(over.reached().await?, "it is still there");
                    Ok(())
                })
                .await?;
            }
            Ok(over)
        }
    }
}

/// What the host does by itself has no trace: it is watched when nothing is left to do but what is to come.
async fn alone(world: &World, scene: Scene<'_>) -> anyhow::Result<()> {
    if scene.component == HOST {
        world.refunded().await?;
        world.settled().await?;
    }
    Ok(())
}

/// Makes a refund that its message leaves pending: the PSP's answer gets lost.
async fn owe(world: &World, buyer: &Buyer) -> anyhow::Result<String> {
    let order = buyer.insist_on_an_order().await?;
    world.client.psp_faults(&json!({"refund_then_close_next": 1})).await?;
    eventually(SOON, "the cancellation", async || buyer.cancel(None).await).await?;
    eventually(SOON, "the first try of the refund", async || {
        let tried: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM refunds WHERE order_id = $1::uuid AND (reason IS NOT NULL OR state <> 'pending')",
        )
        .bind(&order)
        .fetch_one(&world.payments)
        .await?;
        ensure!(tried == 1, "none yet");
        Ok(())
    })
    .await?;
    Ok(order)
}

/// Only giving back is also done by somebody else than the one who hears of it.
fn over(world: &World, scene: Scene<'_>, buyer: &Buyer) -> Over {
    match scene.component {
        "payment" => Over::GivenBack(world.orders.clone(), buyer.name.clone()),
        _ => Over::Never,
    }
}

/// Waits for how it ends for the buyer, who repeats his request if he got no answer.
pub(crate) async fn end(world: &World, cause: Cause, buyer: &Buyer) -> anyhow::Result<String> {
    match cause {
        Cause::Order => {
            eventually(SOON, "a decided answer", async || {
                world.lapse(&buyer.name, false).await?;
                Ok(buyer.ask(None).await?.to_string())
            })
            .await
        }
        Cause::Cancellation => eventually(SOON, "the cancellation", async || buyer.cancel(None).await).await,
        Cause::Rejection => {
            buyer.insist_on_an_order().await?;
            eventually(SOON, "the order to fail", async || {
                let states = world.states(&buyer.name).await?;
                ensure!(states == ["FAILED"], "{states:?}");
                Ok("FAILED".to_owned())
            })
            .await
        }
        Cause::Webhook(told) => {
            eventually(SOON, "the event to be taken", async || deliver(world, buyer, told, None).await).await?;
            if told == Told::Charge {
                world.swept(&buyer.name).await?;
            }
            world.refunded().await?;
            Ok(world.states(&buyer.name).await?.join(", "))
        }
        Cause::RefundTimer(_) => {
            world.refunded().await?;
            Ok(world.states(&buyer.name).await?.join(", "))
        }
        Cause::OrderTimer(..) | Cause::StockTimer(..) => {
            world.swept(&buyer.name).await?;
            Ok(world.states(&buyer.name).await?.join(", "))
        }
    }
}

fn new_trace() -> String {
    Uuid::new_v4().simple().to_string()
}

/// Makes an order that its request leaves PENDING: a crash point does it.
async fn leave(world: &mut World, buyer: &Buyer, left: Left) -> anyhow::Result<()> {
    let effects = match &world.create {
        Some(effects) => effects.clone(),
        None => {
            let sku = world.product(10).await?;
            let effects = Box::pin(watch_create(world, &sku)).await?;
            world.create.insert(effects).clone()
        }
    };
    let number = |what: &str| {
        let found = effects.iter().position(|effect| effect.contains(what));
        found.map(|index| index + 1).with_context(|| format!("a create has no effect {what}: {effects:?}"))
    };
    let (effect, moment) = match left {
        Left::Reserved => (number(".reserve")?, Moment::After),
        // What follows the PSP's answer is writing it down.
        Left::Charged => (number(" http POST ")? + 1, Moment::Before),
    };
    let trace = new_trace();
    let watch = Watch { component: "gateway", export: EDGE, trace: Some(&trace), subject: None };
    world.control.arm(&watch, Some(Strike { effect, moment, action: Action::Fail })).await?;
    let answer = buyer.ask(Some(&trace)).await;
    world.struck(&Over::Never).await?;
    let states = world.states(&buyer.name).await?;
    ensure!(states == ["PENDING"], "the order was to be left PENDING and is {states:?}: {answer:?}");
    Ok(())
}

async fn watch_create(world: &mut World, sku: &str) -> anyhow::Result<Vec<String>> {
    let scene = Scene {
        name: "create",
        component: "gateway",
        export: EDGE,
        subject: None,
        card: "pm_card_visa",
        stock: 10,
        cause: Cause::Order,
    };
    first_order(world, sku, scene.card).await?;
    Ok(play(world, scene, sku, None).await?.effects)
}

/// Lets the sweep find a buyer's order in the moment in which its call is watched, not before.
async fn due(world: &World, buyer: &Buyer, watch: &Watch<'_>, strike: Option<Strike>) -> anyhow::Result<()> {
    let mut transaction = world.orders.begin().await?;
    sqlx::query(
        "UPDATE orders SET lease_until = now() - interval '1 minute' WHERE user_id = $1::uuid AND state = 'PENDING'",
    )
    .bind(&buyer.name)
    .execute(&mut *transaction)
    .await?;
    world.control.arm(watch, strike).await?;
    transaction.commit().await?;
    Ok(())
}

/// Sets the end of a buyer's reservation back.
async fn overdue(world: &World, buyer: &Buyer) -> anyhow::Result<Over> {
    let order: String = sqlx::query_scalar("SELECT id::text FROM orders WHERE user_id = $1::uuid")
        .bind(&buyer.name)
        .fetch_one(&world.orders)
        .await?;
    let mut redis = world.redis().await?;
    let _: () = redis.hset(format!("reservation:{order}"), "expires", 1).await?;
    let _: () = redis.zadd("reservations:expiry", &order, 1).await?;
    Ok(Over::Released(redis, order))
}
