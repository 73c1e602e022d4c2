//! A sku: the shop's name of a product. Invariant: `[A-Za-z0-9._-]{1,64}`, so it is safe in a path, a Redis key, and a log line.

/// The largest number of characters in a sku.
pub const LENGTH_MAX: usize = 64;

/// Whether a text is a sku.
#[must_use]
pub fn is_valid(text: &str) -> bool {
    (1..=LENGTH_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sku_is_short_and_plain() {
        for good in ["SKU-123", "a", "0", "a.b_c-D", &"x".repeat(64)] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["", " ", "a b", "a/b", "a:b", "ä", "a\n", "a%20", &"x".repeat(65)] {
            assert!(!is_valid(bad), "{bad:?}");
        }
    }
}
