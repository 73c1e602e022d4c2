//! `swiftcart:timer/handler`: ticks come at their interval, at once while there is work, and a failing timer disturbs no other.

use std::time::Duration;

use anyhow::ensure;
use swiftcart_support::eventually;

use crate::fixture::{Contract, DEADLINE};

async fn ticks(fixture: &Contract, name: &str) -> anyhow::Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM ticks WHERE name = $1")
        .bind(name)
        .fetch_one(&fixture.consumer_database)
        .await?)
}

// Goal: as above. Method: count the ticks of a quick timer; give forty pieces of work to one that ticks each second, which by its interval alone
// would take forty; a third timer fails all the while.
pub(crate) async fn timers_tick_and_work_makes_the_next_tick_come_at_once(
    fixture: &mut Contract,
) -> anyhow::Result<()> {
    let before = ticks(fixture, "quick").await?;
    eventually(DEADLINE, "ten ticks of the quick timer", || async {
        let now = ticks(fixture, "quick").await?;
        ensure!(now >= before + 10, "{} ticks", now - before);
        Ok(())
    })
    .await?;
    sqlx::query("INSERT INTO work (timer) SELECT 'busy' FROM generate_series(1, 40)")
        .execute(&fixture.consumer_database)
        .await?;
    eventually(Duration::from_secs(10), "forty pieces of work to be done", || async {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM work").fetch_one(&fixture.consumer_database).await?;
        ensure!(left == 0, "{left} are left");
        Ok(())
    })
    .await?;
    ensure!(ticks(fixture, "broken").await? == 0, "the failing timer wrote something");
    ensure!(
        fixture.client.metric("swiftcart_timer_failures_total", &[("timer", "broken")]).await? >= 1.0,
        "its failures are not counted"
    );
    ensure!(
        fixture.client.metric("swiftcart_timer_work_total", &[("timer", "busy")]).await? >= 40.0,
        "the work is not counted"
    );
    Ok(())
}
