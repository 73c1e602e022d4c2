//! Ids. Invariants: order ids sort by time of creation; a user and an event have the same id wherever and whenever it is worked out.

use uuid::Uuid;

/// A new order id: UUIDv7 of the creation time (milliseconds since the epoch, negative times count as 0) and ten random bytes.
#[must_use]
pub fn order_id(created_at_micros: i64, random: &[u8; 10]) -> Uuid {
    let millis = u64::try_from(created_at_micros / 1_000).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, random).into_uuid()
}

/// An order id from its text: hyphenated hex digits. Any other spelling of a UUID is refused, so that an order has one path.
#[must_use]
pub fn parse_order_id(text: &str) -> Option<Uuid> {
    if text.len() == uuid::fmt::Hyphenated::LENGTH { Uuid::try_parse(text).ok() } else { None }
}

/// The user of an access token: the subject if it is a UUID, else the UUIDv5 (namespace URL) of `<issuer>#<subject>`.
#[must_use]
pub fn user_id(issuer: &str, subject: &str) -> Uuid {
    parse_order_id(subject)
        .unwrap_or_else(|| Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{issuer}#{subject}").as_bytes()))
}

/// The id of the one event of a type that an order can have: UUIDv5 of the event type in the order's namespace. Worked out instead of
/// drawn, so that a step that is run twice cannot make two events.
#[must_use]
pub fn event_id(order_id: &Uuid, event_type: &str) -> Uuid {
    Uuid::new_v5(order_id, event_type.as_bytes())
}

/// The id of an event about one of several refunds of an order.
#[must_use]
pub fn refund_event_id(order_id: &Uuid, event_type: &str, refund_id: &str) -> Uuid {
    event_id(order_id, &format!("{event_type} {refund_id}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn order_ids_are_version_7_and_sort_by_time() {
        let early = order_id(1_759_235_696_000_000, &[0xff; 10]);
        let late = order_id(1_759_235_696_001_000, &[0; 10]);
        assert_eq!(early.get_version_num(), 7);
        assert_eq!(early.get_variant(), uuid::Variant::RFC4122);
        assert!(early < late);
        assert_ne!(order_id(5, &[1; 10]), order_id(5, &[2; 10]));
        assert_eq!(parse_order_id(&early.to_string()), Some(early));
    }

    #[test]
    fn only_the_hyphenated_form_is_an_order_id() {
        for bad in [
            "",
            "x",
            "67e5504410b1426f9247bb680e5fe0c8",
            "{67e55044-10b1-426f-9247-bb680e5fe0c8}",
            "urn:uuid:67e55044-10b1-426f-9247-bb680e5fe0c8",
        ] {
            assert_eq!(parse_order_id(bad), None, "{bad}");
        }
        assert!(parse_order_id("67E55044-10b1-426f-9247-bb680e5fe0c8").is_some());
    }

    #[test]
    fn a_user_is_the_subject_or_the_name_of_both() {
        let subject = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        assert_eq!(user_id("https://issuer", subject).to_string(), subject);
        // Worked out by hand with Python: uuid.uuid5(uuid.NAMESPACE_URL, "https://issuer.example#alice").
        assert_eq!(user_id("https://issuer.example", "alice").to_string(), "3421556a-ad68-55b6-9dfa-aa00013225b0");
        assert_ne!(user_id("https://a", "alice"), user_id("https://b", "alice"));
    }

    #[test]
    fn an_event_has_one_id() {
        let order = order_id(5, &[1; 10]);
        assert_eq!(event_id(&order, "OrderConfirmed"), event_id(&order, "OrderConfirmed"));
        assert_ne!(event_id(&order, "OrderConfirmed"), event_id(&order, "OrderFailed"));
    }
}
