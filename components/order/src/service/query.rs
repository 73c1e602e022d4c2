//! Reading orders. Invariant: a caller sees only its own; another's is as if it did not exist.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use swiftcart_domain::ids;
use uuid::Uuid;

use super::Orders;
use crate::error::QueryError;
use crate::model::{Caller, Order, State};
use crate::ports::Position;

/// The largest page.
const LIMIT_MAX: u32 = 100;

/// A page of orders, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The orders.
    pub items: Vec<Order>,
    /// Where the next page begins, if there is more.
    pub next_cursor: Option<String>,
}

fn encode(position: Position) -> String {
    let mut bytes = position.created_at.to_be_bytes().to_vec();
    bytes.extend_from_slice(position.id.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(cursor: &str) -> Option<Position> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (created_at, id) = bytes.split_first_chunk::<8>()?;
    let created_at = i64::from_be_bytes(*created_at);
    // PostgreSQL and RFC 3339 both know these years; what lies outside was never in a cursor of ours.
    let known = (0..=253_402_300_799_999_999).contains(&created_at);
    Some(Position { created_at, id: Uuid::from_slice(id).ok()? }).filter(|_| known)
}

impl Orders<'_> {
    /// One of the caller's orders.
    ///
    /// # Errors
    /// `NotFound` also for an id that is none.
    pub fn get(&self, caller: &Caller, order_id: &str) -> Result<Order, QueryError> {
        let order_id = ids::parse_order_id(order_id).ok_or(QueryError::NotFound)?;
        self.store.get(caller.user_id, order_id)?.ok_or(QueryError::NotFound)
    }

    /// The caller's orders after a cursor, newest first. `limit` is taken as 1..100.
    ///
    /// # Errors
    /// `BadCursor` for a cursor that is none of ours.
    pub fn list_orders(
        &self,
        caller: &Caller,
        cursor: Option<&str>,
        state: Option<State>,
        limit: u32,
    ) -> Result<Page, QueryError> {
        let after = cursor.map(|cursor| decode(cursor).ok_or(QueryError::BadCursor)).transpose()?;
        let limit = limit.clamp(1, LIMIT_MAX);
        // One more than asked for tells whether there is a next page.
        let mut items = self.store.list(caller.user_id, after, state, limit + 1)?;
        let more = items.len() > usize::try_from(limit).unwrap_or(usize::MAX);
        items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let last = items.last().filter(|_| more).map(|order| Position { created_at: order.created_at, id: order.id });
        Ok(Page { items, next_cursor: last.map(encode) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn a_cursor_is_opaque_and_exact() {
        let position = Position { created_at: 1_759_235_696_000_001, id: Uuid::from_u128(7) };
        let cursor = encode(position);
        assert_eq!(cursor.len(), 32);
        assert_eq!(decode(&cursor), Some(position));
        for bad in ["", "x", "AAAA", &cursor[1..], &format!("{cursor}AAAA"), "________________________________", "ä"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
