//! The fixture: a shop of its own whose host has crash points. Invariant: time is moved on only by setting a lease back, never by waiting, and only
//! for an order that nobody works on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use redis::AsyncCommands as _;
use serde_json::json;
use sqlx::postgres::PgPool;
use swiftcart_audit::{Answer, Options, Report, Sources, audit};
use swiftcart_support::client::Client;
use swiftcart_support::eventually;
use swiftcart_support::shop::Shop;
use swiftcart_tests::Fixture;
use swiftcart_tests::shop::{Stage, database};
use tempfile::TempDir;
use uuid::Uuid;

use crate::control::Control;

/// How long something that happens by itself may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(90);
/// What one of each product costs, in cents.
pub(crate) const PRICE: i64 = 100;
/// After the last answer everything must have settled by then.
const SETTLED: Duration = Duration::from_secs(180);

/// The shop under test.
pub(crate) struct World {
    pub(crate) shop: Shop,
    pub(crate) client: Client,
    pub(crate) control: Control,
    pub(crate) orders: PgPool,
    inventory: PgPool,
    pub(crate) payments: PgPool,
    /// What buyers were told.
    pub(crate) answers: Vec<Answer>,
    /// The effects of an undisturbed create, once somebody has looked.
    pub(crate) create: Option<Vec<String>>,
    _data: TempDir,
}

impl Fixture for World {
    async fn start() -> anyhow::Result<Self> {
        let mut stage = Stage::prepare("crash-points", "SWIFTCART_CRASH_POINTS_HOST_BINARY")?;
        stage.host.manifest = manifest(&stage.root, stage.data.path())?;
        let (shop, data) = stage.open(|_| {}).await?;
        Ok(Self {
            client: shop.client()?,
            control: Control::new(shop.addresses().admin_url.as_deref().context("no admin port")?)?,
            orders: database(&shop, "orders").await?,
            inventory: database(&shop, "inventory").await?,
            payments: database(&shop, "payments").await?,
            answers: Vec::new(),
            create: None,
            shop,
            _data: data,
        })
    }

    async fn recover(&mut self) -> anyhow::Result<()> {
        let host = self.shop.host()?;
        if host.exited().is_some() || host.process().is_none() {
            host.start().await?;
        }
        self.client.psp_faults(&json!({})).await
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.shop.stop().await
    }
}

/// Sweeps that a real shop runs each second run that often here: most of a scene would be waiting for the next.
const SWEEP_MS: &str = "100";

/// `wadm/local.yaml` with fixed names of the consumers in their groups, so that a host that was killed gets its partitions back at once and not after the
/// ten seconds in which the group still waits for the dead one; and with faster sweeps.
fn manifest(root: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let path = root.join("wadm/local.yaml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let mut made = String::new();
    let (mut groups, mut sweeps) = (0, 0);
    for line in text.lines() {
        let mut line = line.to_owned();
        for sweep in ["order-sweep", "inventory-sweep", "payment-sweep"] {
            let faster = line.replace(&format!("{sweep}=1000,"), &format!("{sweep}={SWEEP_MS},"));
            sweeps += usize::from(faster != line);
            line = faster;
        }
        made.push_str(&format!("{line}\n"));
        if let Some((indent, group)) = line.split_once("group_id: ").filter(|(indent, _)| indent.trim().is_empty()) {
            made.push_str(&format!("{indent}group_instance_id: crash-points-{group}\n"));
            groups += 1;
        }
    }
    ensure!(groups > 0 && sweeps == 3, "{}: {groups} consumers, {sweeps} sweeps each second", path.display());
    let path = folder.join("crash-points.yaml");
    std::fs::write(&path, made)?;
    Ok(path)
}

/// How to see that the work is done in which a point was to strike.
pub(crate) enum Over {
    /// It cannot be done without the point.
    Never,
    /// This buyer has no order that is PENDING.
    Decided(PgPool, String),
    /// This buyer has an order that was given back, by whomever.
    GivenBack(PgPool, String),
    /// This order has no reservation.
    Released(redis::aio::MultiplexedConnection, String),
}

impl Over {
    pub(crate) async fn reached(&self) -> anyhow::Result<bool> {
        match self {
            Self::Never => Ok(false),
            Self::Decided(orders, user) => {
                let pending: i64 =
                    sqlx::query_scalar("SELECT count(*) FROM orders WHERE user_id = $1::uuid AND state = 'PENDING'")
                        .bind(user)
                        .fetch_one(orders)
                        .await?;
                Ok(pending == 0)
            }
            Self::GivenBack(orders, user) => {
                let given_back: i64 = sqlx::query_scalar(
                    "SELECT count(*) FROM orders WHERE user_id = $1::uuid AND refund_state = 'succeeded'",
                )
                .bind(user)
                .fetch_one(orders)
                .await?;
                Ok(given_back > 0)
            }
            Self::Released(redis, order) => {
                let score: Option<f64> = redis.clone().zscore("reservations:expiry", order).await?;
                Ok(score.is_none())
            }
        }
    }
}

impl World {
    /// A product that no other case uses.
    pub(crate) async fn product(&self, stock: i64) -> anyhow::Result<String> {
        let sku = format!("CRASH-{}", Uuid::new_v4().simple());
        if stock > 0 {
            self.client.stock_product(&sku, PRICE, "USD", stock).await?;
        } else {
            let keeper = self.client.token("stock-keeper", "inventory:write")?;
            let body = json!({"name": "Sold out", "unitPrice": PRICE, "currency": "USD"});
            self.client.put_product(&keeper, &sku, &body).await?.expect_status(201)?;
        }
        Ok(sku)
    }

    /// A product of which Redis promises one and there is none: it was written off, and the word of that to Redis got lost.
    pub(crate) async fn lost_product(&self) -> anyhow::Result<String> {
        let sku = self.product(1).await?;
        let written = sqlx::query(
            "WITH lost AS (UPDATE products SET on_hand = 0 WHERE sku = $1 AND on_hand = 1 RETURNING sku)
             INSERT INTO inventory_movements (sku, kind, delta, adjustment_id)
             SELECT sku, 'correction', -1, gen_random_uuid() FROM lost",
        )
        .bind(&sku)
        .execute(&self.inventory)
        .await?;
        ensure!(written.rows_affected() == 1, "there was no stock of {sku} to lose");
        Ok(sku)
    }

    /// What the comparison of Redis with the books comes to, some seconds later: a counter that is wrong is forgotten.
    pub(crate) async fn forget(&self, sku: &str) -> anyhow::Result<()> {
        Ok(self.redis().await?.del(format!("available_stock:{sku}")).await?)
    }

    pub(crate) async fn redis(&self) -> anyhow::Result<redis::aio::MultiplexedConnection> {
        let client = redis::Client::open(self.shop.addresses().redis_url.as_str())?;
        Ok(client.get_multiplexed_async_connection().await?)
    }

    /// Waits until an order's goods have left the shelf.
    pub(crate) async fn taken(&self, order: &str) -> anyhow::Result<()> {
        eventually(SOON, "the goods to leave the shelf", async || {
            let moved: i64 = sqlx::query_scalar("SELECT count(*) FROM inventory_movements WHERE order_id = $1::uuid")
                .bind(order)
                .fetch_one(&self.inventory)
                .await?;
            ensure!(moved == 1, "{moved} movements");
            Ok(())
        })
        .await
    }

    /// Waits until no refund is owed. One that nobody touched for a second was taken up by somebody who died, or waits for its next try: that is due now.
    pub(crate) async fn refunded(&self) -> anyhow::Result<()> {
        eventually(SOON, "the refunds", async || {
            sqlx::query(
                "UPDATE refunds SET next_try_at = now()
                 WHERE state = 'pending' AND next_try_at > now() AND updated_at < now() - interval '1 second'",
            )
            .execute(&self.payments)
            .await?;
            let owed: i64 = sqlx::query_scalar("SELECT count(*) FROM orders WHERE refund_state = 'pending'")
                .fetch_one(&self.orders)
                .await?;
            ensure!(owed == 0, "{owed} are owed");
            Ok(())
        })
        .await
    }

    /// Waits until the point has struck, and starts the host again if it died of it; or until the work is over without it: false. That happens to a timer
    /// whose call began in the very moment before it was to be watched, and to a refund that payment's sweep was faster to take up.
    pub(crate) async fn struck(&mut self, over: &Over) -> anyhow::Result<bool> {
        let (control, host) = (&self.control, self.shop.host()?);
        let (struck, died) = eventually(SOON, "the crash point to strike", || {
            // Only when all of the process is gone are its ports free.
            let exited = host.exited().is_some();
            async move {
                if exited {
                    return Ok((true, true));
                }
                let missed = over.reached().await?;
                let progress = control.progress().await?;
                // What a watched call does, it asked for before: one effect alone is a timer's look that found nothing.
                let alone = progress.calls.iter().all(|call| call.effects.len() < 2);
                let missed = missed && (alone || matches!(over, Over::GivenBack(..)));
                ensure!(progress.struck || missed, "no call came so far: {:?}", progress.calls);
                Ok((progress.struck, false))
            }
        })
        .await?;
        if died {
            host.start().await?;
        }
        Ok(struck)
    }

    /// Lets the leases of a buyer's orders run out, so that the same key may go on; with `sweep` also the grace of the sweep. An order whose buyer was
    /// told 202 is the sweep's in any case.
    pub(crate) async fn lapse(&self, user: &str, sweep: bool) -> anyhow::Result<()> {
        sqlx::query(
            "UPDATE orders SET lease_until = now() - CASE WHEN answered_pending OR $2 THEN interval '1 minute' ELSE interval '0' END
             WHERE user_id = $1::uuid AND state = 'PENDING'",
        )
        .bind(user)
        .bind(sweep)
        .execute(&self.orders)
        .await?;
        Ok(())
    }

    /// The states of a buyer's orders, oldest first.
    pub(crate) async fn states(&self, user: &str) -> anyhow::Result<Vec<String>> {
        let rows =
            sqlx::query_scalar("SELECT state FROM orders WHERE user_id = $1::uuid ORDER BY created_at").bind(user);
        Ok(rows.fetch_all(&self.orders).await?)
    }

    /// Waits until none of a buyer's orders is PENDING, with nobody but the sweep to work on them.
    pub(crate) async fn swept(&self, user: &str) -> anyhow::Result<()> {
        eventually(SOON, "the sweep to decide the order", async || {
            self.lapse(user, true).await?;
            let states = self.states(user).await?;
            ensure!(states.iter().all(|state| state != "PENDING"), "{states:?}");
            Ok(())
        })
        .await
    }

    /// Waits until nothing is left to happen.
    pub(crate) async fn settled(&self) -> anyhow::Result<()> {
        let open = swiftcart_audit::settle(&Sources::of(self.shop.addresses()), SETTLED).await?;
        ensure!(open.is_empty(), "it does not settle: {}", open.join("; "));
        Ok(())
    }

    /// Waits until nothing is left to happen and reads all books; any finding fails the case, and what does not settle is one.
    pub(crate) async fn audited(&self) -> anyhow::Result<Report> {
        let options = Options { wait: Some(SETTLED), answers: self.answers.clone(), ..Options::default() };
        let report = audit(&Sources::of(self.shop.addresses()), &options).await?;
        if !report.is_clean() || report.judged == 0 {
            bail!("the books do not agree:\n{report}");
        }
        Ok(report)
    }
}
