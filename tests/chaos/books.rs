//! The auditor itself, on a real shop.

use std::process::Output;

use anyhow::{Context as _, ensure};
use serde_json::json;
use swiftcart_support::client::Client;
use tokio::process::Command;
use uuid::Uuid;

use crate::world::{Chaos, Form, World, given};

/// Goal: the program ends with 0 on right books, and names the id and ends with 1 when one row of a real database is false. Method: one order; then its
/// stock movement is made larger, an order's state is changed behind the shop's back, and both are put right again.
pub(crate) async fn a_falsified_row_is_named(chaos: &mut Chaos) -> anyhow::Result<()> {
    let world = chaos.world(Form::Alone).await?;
    let sku = world.product(10).await?;
    let order = order(&world.client, &sku).await?;
    let right = program(world).await?;
    ensure!(right.status.code() == Some(0), "right books: {}", told(&right));

    let inventory = database(world, "inventory").await?;
    let orders = database(world, "orders").await?;
    let falsify = async |pool: &sqlx::PgPool, statement: &'static str| -> anyhow::Result<()> {
        let changed = sqlx::query(statement).bind(&order).execute(pool).await?.rows_affected();
        ensure!(changed == 1, "{statement} changed {changed} rows");
        Ok(())
    };
    falsify(&inventory, "UPDATE inventory_movements SET delta = delta - 1 WHERE order_id = $1::uuid").await?;
    let wrong = program(world).await?;
    let text = told(&wrong);
    ensure!(wrong.status.code() == Some(1), "a false movement: {text}");
    ensure!(
        text.contains(&format!("stock-applied-once: {order}")) && text.contains(&format!("stock-adds-up: {sku}")),
        "{text}"
    );
    falsify(&inventory, "UPDATE inventory_movements SET delta = delta + 1 WHERE order_id = $1::uuid").await?;

    falsify(&orders, "UPDATE orders SET state = 'FAILED', failure_code = 'payment_declined' WHERE id = $1::uuid")
        .await?;
    let wrong = program(world).await?;
    let text = told(&wrong);
    ensure!(wrong.status.code() == Some(1), "a false state: {text}");
    for invariant in ["charged-iff-confirmed", "order-events", "stock-applied-once"] {
        ensure!(text.contains(&format!("{invariant}: {order}")), "{invariant} does not name {order}: {text}");
    }
    falsify(&orders, "UPDATE orders SET state = 'CONFIRMED', failure_code = NULL WHERE id = $1::uuid").await?;
    let right = program(world).await?;
    ensure!(right.status.code() == Some(0), "put right again: {}", told(&right));
    Ok(())
}

async fn order(client: &Client, sku: &str) -> anyhow::Result<String> {
    let token = client.token(&format!("buyer-{}", Uuid::new_v4()), "orders:read orders:write")?;
    let body = json!({"items": [{"sku": sku, "qty": 2}], "currency": "USD", "payment": {"method": "pm_card_visa"}});
    let answer = client.post_order(&token, Some(&Uuid::new_v4().to_string()), &body).await?.expect_status(201)?;
    answer.json()?["orderId"].as_str().map(str::to_owned).context("no orderId")
}

async fn program(world: &World) -> anyhow::Result<Output> {
    let mut command = Command::new(given("SWIFTCART_AUDIT_BINARY")?);
    command.arg("--data-dir").arg(world.shop.data_dir()).args(["--wait", "120"]);
    command.output().await.context("running the auditor")
}

fn told(output: &Output) -> String {
    format!("{}\n{}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn database(world: &World, name: &str) -> anyhow::Result<sqlx::PgPool> {
    let url = world.shop.addresses().database_urls.get(name).with_context(|| format!("no database {name}"))?;
    Ok(sqlx::PgPool::connect(url).await?)
}
