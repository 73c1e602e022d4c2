//! Who may do what.

use anyhow::{Context as _, ensure};

use crate::shop::{E2e, order_id, order_of, problem};

/// Goal: no token, a wrong one, or one without the scope gets nowhere. Method: each of them on a call that works with a right one.
pub(crate) async fn tokens_are_checked(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(100, 5).await?;
    let body = order_of(&sku, 1, "pm_card_visa");
    let bare = e2e.client.request(reqwest::Method::POST, "/orders", None)?.json(&body);
    let answer = swiftcart_support::client::send(bare).await?;
    problem(&answer, 401, "unauthorized")?;
    ensure!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")), "no WWW-Authenticate");

    let base = e2e.client.token_request("mallory", "orders:write orders:read");
    let mut wrong = vec![("garbage".to_owned(), "abc.def.ghi".to_owned())];
    let mut add = |name: &str, change: &dyn Fn(&mut swiftcart_sim::token::Request)| -> anyhow::Result<()> {
        let mut request = base.clone();
        change(&mut request);
        wrong.push((name.to_owned(), e2e.client.mint(&request)?));
        Ok(())
    };
    add("issuer", &|request| request.issuer = "https://elsewhere.example".to_owned())?;
    add("audience", &|request| request.audience = "another-api".to_owned())?;
    add("expired", &|request| request.expires_in_seconds = -3600)?;
    let mut broken = e2e.client.mint(&base)?;
    broken.truncate(broken.len() - 4);
    wrong.push(("signature".to_owned(), broken));
    for (name, token) in &wrong {
        let answer = e2e.client.post_order(token, None, &body).await?;
        problem(&answer, 401, "unauthorized").with_context(|| name.clone())?;
    }
    for (scope, status) in [("orders:read", 403), ("inventory:write", 403), ("orders:write", 201)] {
        let token = e2e.client.token("scoped", scope)?;
        e2e.client.post_order(&token, None, &body).await?.expect_status(status).with_context(|| scope.to_owned())?;
    }
    let buyer = e2e.buyer()?;
    e2e.client.post_stock(&buyer, &sku, None, 5, "restock").await?.expect_status(403)?;
    Ok(())
}

/// Goal: another user's order looks as if it were not there. Method: two buyers; and a forged identity header of the edge's own.
pub(crate) async fn another_users_order_is_not_found(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(100, 5).await?;
    let (mine, theirs) = (e2e.buyer()?, e2e.client.token("eve", "orders:read orders:write")?);
    let order = order_id(&e2e.order(&mine, &sku, 1, "pm_card_visa").await?.expect_status(201)?)?;
    problem(&e2e.client.get_order(&theirs, &order).await?, 404, "not-found")?;
    problem(&e2e.client.get_order(&theirs, "not-a-uuid").await?, 404, "not-found")?;
    let list = e2e.client.get("/orders", Some(&theirs)).await?.expect_status(200)?;
    ensure!(!list.text().contains(&order), "{}", list.text());
    let forged = e2e
        .client
        .request(reqwest::Method::GET, &format!("/orders/{order}"), None)?
        .header("x-token-subject", "buyer")
        .header("x-token-issuer", "x")
        .header("x-token-scope", "orders:read");
    problem(&swiftcart_support::client::send(forged).await?, 401, "unauthorized")?;
    Ok(())
}

/// Goal: the credentials that a service is given open its own database only. Method: each service's credentials against each other's database.
pub(crate) async fn another_services_tables_are_refused(e2e: &mut E2e) -> anyhow::Result<()> {
    let urls = e2e.shop.addresses().database_urls.clone();
    ensure!(urls.len() == 4, "{} databases", urls.len());
    for (role, own) in &urls {
        for name in urls.keys().filter(|name| *name != role) {
            let (server, _) = own.rsplit_once('/').context("no database in the address")?;
            let foreign = format!("{server}/{name}");
            let refused = sqlx::postgres::PgPoolOptions::new()
                .max_connections(1)
                .connect(&foreign)
                .await
                .err()
                .map(|error| error.to_string());
            ensure!(
                refused.as_ref().is_some_and(|reason| reason.contains("permission denied")),
                "{role} in {name}: {refused:?}"
            );
        }
    }
    Ok(())
}
