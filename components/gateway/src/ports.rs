//! The services below, as small traits, so that every route is tested natively.

use crate::error::{CancelError, CatalogError, CreateError, QueryError, WebhookError};
use crate::model::{Adjustment, Caller, Creation, NewOrder, Order, Page, Product, State};

/// `swiftcart:order/orders`.
pub trait Orders {
    /// Creates an order.
    ///
    /// # Errors
    /// See [`CreateError`].
    fn create(&self, caller: &Caller, key: Option<&str>, order: &NewOrder) -> Result<Creation, CreateError>;
    /// One of the caller's orders.
    ///
    /// # Errors
    /// See [`QueryError`].
    fn get(&self, caller: &Caller, order_id: &str) -> Result<Order, QueryError>;
    /// Takes a confirmed order of the caller's back.
    ///
    /// # Errors
    /// See [`CancelError`].
    fn cancel(&self, caller: &Caller, order_id: &str) -> Result<Order, CancelError>;
    /// The caller's orders, newest first.
    ///
    /// # Errors
    /// See [`QueryError`].
    fn list(
        &self,
        caller: &Caller,
        cursor: Option<&str>,
        state: Option<State>,
        limit: u32,
    ) -> Result<Page<Order>, QueryError>;
}

/// `swiftcart:inventory/catalog`.
pub trait Catalog {
    /// One product.
    ///
    /// # Errors
    /// See [`CatalogError`].
    fn get(&self, sku: &str) -> Result<Product, CatalogError>;
    /// Products by sku.
    ///
    /// # Errors
    /// See [`CatalogError`].
    fn list(&self, cursor: Option<&str>, limit: u32) -> Result<Page<Product>, CatalogError>;
    /// Makes or changes a product; true if it is new.
    ///
    /// # Errors
    /// See [`CatalogError`].
    fn put(&self, sku: &str, name: &str, unit_price: u64, currency: &str) -> Result<(Product, bool), CatalogError>;
    /// Changes stock by hand; true if this is the answer of an earlier call with the same key.
    ///
    /// # Errors
    /// See [`CatalogError`].
    fn adjust(&self, sku: &str, adjustment: &Adjustment) -> Result<(Product, bool), CatalogError>;
}

/// `swiftcart:payment/webhooks`.
pub trait Webhooks {
    /// Handles one event of the payment provider: the header and the bytes as they came.
    ///
    /// # Errors
    /// See [`WebhookError`].
    fn receive(&self, signature: &str, body: &[u8]) -> Result<(), WebhookError>;
}
