//! The fixture: a shop of its own whose host has crash points. Invariant: time is moved on only by setting a lease back, never by waiting, and only
//! for an order that nobody works on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use redis::AsyncCommands as _;
use serde_json::json;
use sqlx::postgres::{PgPool, PgPoolOptions};
use swiftcart_audit::{Answer, Options, Report, Sources, audit};
use swiftcart_support::client::Client;
use swiftcart_support::eventually;
use swiftcart_support::shop::{HostOptions, Shop, ShopOptions};
use swiftcart_tests::Fixture;
use tempfile::TempDir;
use uuid::Uuid;

use crate::control::Control;

/// How long something that happens by itself may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(90);
/// After the last answer everything must have settled by then.
const SETTLED: Duration = Duration::from_secs(180);

/// The shop under test.
pub(crate) struct World {
    pub(crate) shop: Shop,
    pub(crate) client: Client,
    pub(crate) control: Control,
    pub(crate) orders: PgPool,
    /// What buyers were told.
    pub(crate) answers: Vec<Answer>,
    /// The effects of an undisturbed create, once somebody has looked.
    pub(crate) create: Option<Vec<String>>,
    _data: TempDir,
}

impl Fixture for World {
    async fn start() -> anyhow::Result<Self> {
        let root = given("SWIFTCART_REPOSITORY_ROOT")?;
        let data = TempDir::new()?;
        let mut host = HostOptions::new(
            &given("SWIFTCART_CRASH_POINTS_HOST_BINARY")?,
            &manifest(&root, data.path())?,
            &given("SWIFTCART_ARTIFACT_ROOT")?,
            &root.join("migrations"),
        );
        host.environment.push(("SWIFTCART_HOST_LOG_FORMAT".to_owned(), "text".to_owned()));
        let mut options = ShopOptions::new(data.path(), &given("SWIFTCART_SIM_BINARY")?).with_host(host);
        options.nats = false;
        let shop = Shop::start(options).await?;
        let orders = shop.addresses().database_urls.get("orders").context("no database of orders")?;
        Ok(Self {
            client: shop.client()?,
            control: Control::new(shop.addresses().admin_url.as_deref().context("no admin port")?)?,
            orders: PgPoolOptions::new().max_connections(3).connect(orders).await?,
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
        Ok(())
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.shop.stop().await
    }
}

fn given(name: &str) -> anyhow::Result<PathBuf> {
    std::env::var(name)
        .map(PathBuf::from)
        .with_context(|| format!("{name} is not set; run this as `cargo xtask test crash-points`"))
}

/// `wadm/local.yaml` with fixed names of the consumers in their groups, so that a host that was killed gets its partitions back at once and not after the
/// ten seconds in which the group still waits for the dead one.
fn manifest(root: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let path = root.join("wadm/local.yaml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let mut made = String::new();
    let mut groups = 0;
    for line in text.lines() {
        made.push_str(&format!("{line}\n"));
        if let Some((indent, group)) = line.split_once("group_id: ").filter(|(indent, _)| indent.trim().is_empty()) {
            made.push_str(&format!("{indent}group_instance_id: crash-points-{group}\n"));
            groups += 1;
        }
    }
    ensure!(groups > 0, "{} has no consumer", path.display());
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
            self.client.stock_product(&sku, 100, "USD", stock).await?;
        } else {
            let keeper = self.client.token("stock-keeper", "inventory:write")?;
            let body = json!({"name": "Sold out", "unitPrice": 100, "currency": "USD"});
            self.client.put_product(&keeper, &sku, &body).await?.expect_status(201)?;
        }
        Ok(sku)
    }

    /// Waits until the point has struck, and starts the host again if it died of it; or until the work is over without it: false. That happens to a timer
    /// whose call began in the very moment before it was to be watched.
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
                let missed = missed && progress.calls.iter().all(|effects| effects.len() < 2);
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

    /// Reads all books; any finding fails the case.
    pub(crate) async fn audited(&self) -> anyhow::Result<Report> {
        let options = Options { wait: Some(SETTLED), answers: self.answers.clone(), ..Options::default() };
        let report = audit(&Sources::of(self.shop.addresses()), &options).await?;
        if !report.is_clean() || report.judged == 0 {
            bail!("the books do not agree:\n{report}");
        }
        Ok(report)
    }
}
