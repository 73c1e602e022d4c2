//! The demo products, entered over the shop's own API. Invariant: entering them again changes nothing, because each restock has
//! a key of its own and a product is put as it is.

use anyhow::ensure;
use serde_json::json;
use swiftcart_support::client::Client;

/// The product of the example order.
pub(crate) const FIRST_SKU: &str = "SKU-123";
const CURRENCY: &str = "USD";

struct Product {
    sku: &'static str,
    name: &'static str,
    /// Minor units.
    unit_price: u64,
    stock: i64,
}

const PRODUCTS: [Product; 6] = [
    Product { sku: FIRST_SKU, name: "Espresso cup", unit_price: 1299, stock: 1000 },
    Product { sku: "SKU-124", name: "Saucer", unit_price: 799, stock: 1000 },
    Product { sku: "SKU-200", name: "Moka pot, 6 cups", unit_price: 3450, stock: 250 },
    Product { sku: "SKU-201", name: "Hand grinder", unit_price: 8900, stock: 40 },
    Product { sku: "SKU-300", name: "House blend, 1 kg", unit_price: 2150, stock: 500 },
    // One only, so that "out of stock" can be seen.
    Product { sku: "SKU-999", name: "Signed first-edition mug", unit_price: 14_900, stock: 1 },
];

/// Makes all demo products and their stock.
pub(crate) async fn products(client: &Client) -> anyhow::Result<()> {
    let token = client.token("stock-keeper", "inventory:write")?;
    for Product { sku, name, unit_price, stock } in &PRODUCTS {
        let body = json!({"name": name, "unitPrice": unit_price, "currency": CURRENCY});
        let put = client.put_product(&token, sku, &body).await?;
        ensure!(matches!(put.status, 200 | 201), "PUT /products/{sku} answered {}: {}", put.status, put.text());
        let stocked = client.post_stock(&token, sku, Some(&format!("seed-{sku}")), *stock, "restock").await?;
        ensure!(stocked.status == 200, "POST /products/{sku}/stock answered {}: {}", stocked.status, stocked.text());
    }
    Ok(())
}
