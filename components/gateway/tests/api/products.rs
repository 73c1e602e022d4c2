//! The routes of products and stock.

use super::*;

#[test]
fn products_and_stock() {
    let fake = fake();
    let response = send(&fake, &request("GET", "/products/SKU-123", ""));
    assert_eq!(
        text(&response),
        r#"{"sku":"SKU-123","name":"Thing","unitPrice":1299,"currency":"USD","availableStock":7}"#
    );
    let page = send(&fake, &request("GET", "/products?limit=3", ""));
    assert!(text(&page).ends_with(r#"],"nextCursor":null}"#));
    assert_eq!(send(&fake, &request("GET", "/products/a%20b", "")).status, 400);

    let new = r#"{"name":"Thing","unitPrice":1299,"currency":"USD"}"#;
    assert_eq!(send(&fake, &request("PUT", "/products/SKU-123", new)).status, 200);
    fake.product.borrow_mut().as_mut().unwrap().1 = true;
    let made = send(&fake, &request("PUT", "/products/SKU-123", new));
    assert_eq!((made.status, made.header("location")), (201, Some("/products/SKU-123")));
    for bad in [
        new.replace("1299", "0"),
        new.replace("1299", "1000000001"),
        new.replace("Thing", ""),
        new.replace("Thing", " x"),
        new.replace("USD", "US"),
    ] {
        assert_eq!(send(&fake, &request("PUT", "/products/SKU-123", &bad)).status, 400, "{bad}");
    }

    let change =
        |body: &str| send(&fake, &header(request("POST", "/products/SKU-123/stock", body), "idempotency-key", "k"));
    let replayed = change(r#"{"delta":5,"reason":"restock"}"#);
    assert_eq!((replayed.status, replayed.header("idempotent-replayed")), (200, Some("true")));
    let asked = fake.asked.borrow().last().unwrap().clone();
    assert!(asked.starts_with("SKU-123 Adjustment { delta: 5, reason: Restock, key: Some(("), "{asked}");
    assert_eq!(Reason::Restock, Reason::Restock);
    for bad in [
        r#"{"delta":0,"reason":"restock"}"#,
        r#"{"delta":-1,"reason":"restock"}"#,
        r#"{"delta":1.5,"reason":"restock"}"#,
        r#"{"delta":1,"reason":"gift"}"#,
        r#"{"delta":1}"#,
    ] {
        assert_eq!(change(bad).status, 400, "{bad}");
    }
    assert_eq!(change(r#"{"delta":-1,"reason":"correction"}"#).status, 200);
    *fake.product.borrow_mut() = Err(CatalogError::StockBelowZero(3));
    golden("stock-below-zero", &change(r#"{"delta":-9,"reason":"correction"}"#));
    for (error, status) in [
        (CatalogError::NotFound, 404),
        (CatalogError::KeyReused, 422),
        (CatalogError::Unavailable, 503),
        (CatalogError::Internal, 500),
    ] {
        *fake.product.borrow_mut() = Err(error);
        assert_eq!(change(r#"{"delta":1,"reason":"restock"}"#).status, status);
    }
}
