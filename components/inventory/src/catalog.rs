//! The products on sale and changes of their stock. Invariant: an adjustment counts once per key, and a crash at any point of it leaves the counter
//! in Redis too low at worst, never too high.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use swiftcart_domain::{money, sku};

use crate::error::{CatalogError, Error};
use crate::model::{Adjustment, AdjustmentKey, DELTA_MAX, Line, Offer, Reason};
use crate::ports::{Adjusted, Cache, Counters, Reserved, Store, Surroundings};
use crate::service::Inventory;

/// Some products, and where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// By sku.
    pub items: Vec<Offer>,
    /// None at the end.
    pub next_cursor: Option<String>,
}

impl<S: Store, C: Counters, K: Cache, O: Surroundings> Inventory<S, C, K, O> {
    /// One product.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`], `Failed`.
    pub fn get(&self, sku: &str) -> Result<Offer, CatalogError> {
        let skus = [sku.to_owned()];
        let product = self.products(&skus)?.remove(sku).ok_or(CatalogError::NotFound)?;
        let available_stock = self.available(&skus)?.remove(sku).unwrap_or(0);
        Ok(Offer { product, available_stock })
    }

    /// Up to `limit` products by sku.
    ///
    /// # Errors
    /// [`CatalogError::BadCursor`], `Failed`.
    pub fn list(&self, cursor: Option<&str>, limit: u32) -> Result<Page, CatalogError> {
        let after = cursor.map(decode_cursor).transpose()?;
        let limit = limit.clamp(1, 100);
        let mut products = self.store.page(after.as_deref(), limit + 1)?;
        let more = products.len() > limit as usize;
        products.truncate(limit as usize);
        let skus: Vec<String> = products.iter().map(|product| product.sku.clone()).collect();
        let available = if skus.is_empty() { Default::default() } else { self.available(&skus)? };
        let next_cursor = skus.last().filter(|_| more).map(|sku| URL_SAFE_NO_PAD.encode(sku));
        let items = products
            .into_iter()
            .map(|product| {
                let available_stock = available.get(&product.sku).copied().unwrap_or(0);
                Offer { product, available_stock }
            })
            .collect();
        Ok(Page { items, next_cursor })
    }

    /// Makes or changes a product; true when it is new. Idempotent by nature.
    ///
    /// # Errors
    /// `Failed`; `Internal` for what the edge must refuse (form of sku or currency, price out of range).
    pub fn put(&self, sku: &str, name: &str, unit_price: u64, currency: &str) -> Result<(Offer, bool), CatalogError> {
        let currency: money::Currency = currency.parse().map_err(refused)?;
        let unit_price = money::check_unit_price(unit_price).map_err(refused)?;
        if !sku::is_valid(sku) {
            return Err(Error::Internal("put was called with a malformed sku".to_owned()).into());
        }
        let (product, created) = self.store.put(sku, name, unit_price, currency.as_str())?;
        // Should this fail, the caller repeats the call, or the cached copy ends by itself.
        self.counters.remember(std::slice::from_ref(&product))?;
        let available_stock = self.available(&[sku.to_owned()])?.remove(sku).unwrap_or(0);
        Ok((Offer { product, available_stock }, created))
    }

    /// Changes the stock; true when this is the answer of an earlier call with the same key.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn adjust(
        &self,
        sku: &str,
        delta: i64,
        reason: Reason,
        key: Option<AdjustmentKey>,
    ) -> Result<(Offer, bool), CatalogError> {
        if delta == 0 || delta.unsigned_abs() > DELTA_MAX || (delta < 0 && reason == Reason::Restock) {
            return Err(Error::Internal(format!("adjust was called with {} of {delta}", reason.as_str())).into());
        }
        let id = self.surroundings.new_id();
        let fingerprint = Adjustment::fingerprint(sku, delta, reason);
        if let Some(answer) = self.replay(key.as_ref(), &fingerprint)? {
            // The first call may have died before it told Redis.
            self.counters.forget(&id.to_string(), sku)?;
            return Ok((answer, true));
        }
        let skus = [sku.to_owned()];
        let product = self.products(&skus)?.remove(sku).ok_or(CatalogError::NotFound)?;
        if delta < 0 {
            self.hold_for_correction(&id.to_string(), sku, delta.unsigned_abs())?;
        }
        // The hold of a negative delta is already in the counter.
        let available_stock = match self.available(&skus) {
            Ok(available) => available.get(sku).copied().unwrap_or(0).saturating_add_signed(delta.max(0)),
            Err(error) => return self.undo(&id.to_string(), sku, error.into()),
        };
        let adjustment =
            Adjustment { id, sku: sku.to_owned(), delta, reason, key, answer: Offer { product, available_stock } };
        match self.store.adjust(&adjustment) {
            Ok(Adjusted::Done) => {
                // The counter is forgotten rather than changed: a script that adds could run twice, or beside a refill that counted the delta.
                // The write is done, so a failure here must not look like one; until it is repaired the counter is too low at worst.
                if self.counters.forget(&id.to_string(), sku).is_ok() {
                    let _ = self.refill(&skus);
                }
                Ok((adjustment.answer, false))
            }
            Ok(Adjusted::BelowZero) => {
                self.counters.forget(&id.to_string(), sku)?;
                Err(CatalogError::StockBelowZero(self.available(&skus)?.get(sku).copied().unwrap_or(0)))
            }
            Ok(Adjusted::KeyTaken) => {
                self.counters.forget(&id.to_string(), sku)?;
                match self.replay(adjustment.key.as_ref(), &fingerprint)? {
                    Some(answer) => Ok((answer, true)),
                    None => Err(Error::Unavailable("the answer kept for the key has just expired".to_owned()).into()),
                }
            }
            // Perhaps written: the hold stays until the sweep has asked PostgreSQL.
            Err(error @ Error::Uncertain(_)) => Err(error.into()),
            Err(error) => self.undo(&id.to_string(), sku, error.into()),
        }
    }

    fn replay(&self, key: Option<&AdjustmentKey>, fingerprint: &str) -> Result<Option<Offer>, CatalogError> {
        let Some(key) = key else { return Ok(None) };
        match self.store.find_adjustment(key)? {
            Some((known, answer)) if known == fingerprint => Ok(Some(answer)),
            Some(_) => Err(CatalogError::KeyReused),
            None => Ok(None),
        }
    }

    /// Takes stock away in Redis before PostgreSQL, as a reservation that leaves no marker, so that nobody can buy it meanwhile.
    fn hold_for_correction(&self, id: &str, sku: &str, quantity: u64) -> Result<(), CatalogError> {
        let quantity = u32::try_from(quantity).map_err(|_| Error::Internal("a correction is too large".to_owned()))?;
        match self.hold(id, 0, &[Line { sku: sku.to_owned(), quantity }])? {
            Reserved::Done => Ok(()),
            Reserved::Short(shortages) => {
                Err(CatalogError::StockBelowZero(shortages.first().map_or(0, |shortage| shortage.available)))
            }
            Reserved::Closed | Reserved::Missing(_) => {
                Err(Error::Unavailable("the counter changes too fast".to_owned()).into())
            }
        }
    }

    /// Nothing was written: drops the hold. If Redis does not hear it, the hold lapses.
    fn undo<T>(&self, id: &str, sku: &str, error: CatalogError) -> Result<T, CatalogError> {
        let _ = self.counters.forget(id, sku);
        Err(error)
    }
}

fn refused(error: money::MoneyError) -> Error {
    Error::Internal(format!("put was called wrongly: {error}"))
}

fn decode_cursor(cursor: &str) -> Result<String, CatalogError> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| CatalogError::BadCursor)?;
    String::from_utf8(bytes).ok().filter(|text| sku::is_valid(text)).ok_or(CatalogError::BadCursor)
}
