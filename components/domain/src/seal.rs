//! The sealed box for mail addresses: X25519 + XSalsa20-Poly1305 as in libsodium's `crypto_box_seal`. Invariant: what `order` seals only
//! the holder of the secret key (`notification`) can open; the sealer itself cannot.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand_core::{CryptoRng, Error as RngError, RngCore};

/// The header of an event that carries the sealed mail address, in base64.
pub const HEADER: &str = "swiftcart-sealed-email";

/// Why something could not be sealed or opened. Never says what was inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not the base64 of 32 bytes.
    #[error("a key is the base64 of 32 bytes")]
    Key,
    /// Not base64, or sealed for another key, or changed on the way.
    #[error("the sealed box does not open with this key")]
    Box,
    /// What was sealed is no text.
    #[error("the sealed box holds no text")]
    Text,
}

/// Whom something is sealed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(crypto_box::PublicKey);

/// Who can open it. Its `Debug` shows no key.
#[derive(Clone, Debug)]
pub struct SecretKey(crypto_box::SecretKey);

fn key_bytes(text: &str) -> Result<[u8; 32], SealError> {
    let bytes = STANDARD.decode(text.trim()).map_err(|_| SealError::Key)?;
    bytes.try_into().map_err(|_| SealError::Key)
}

impl PublicKey {
    /// From the standard base64 of its 32 bytes.
    ///
    /// # Errors
    /// `Key` when it is none.
    pub fn from_base64(text: &str) -> Result<Self, SealError> {
        key_bytes(text).map(|bytes| Self(crypto_box::PublicKey::from_bytes(bytes)))
    }

    /// The standard base64 of its 32 bytes.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0.as_bytes())
    }
}

impl SecretKey {
    /// From the standard base64 of its 32 bytes.
    ///
    /// # Errors
    /// `Key` when it is none.
    pub fn from_base64(text: &str) -> Result<Self, SealError> {
        key_bytes(text).map(|bytes| Self(crypto_box::SecretKey::from_bytes(bytes)))
    }

    /// From 32 random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(crypto_box::SecretKey::from_bytes(bytes))
    }

    /// The key that others seal with.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.public_key())
    }
}

/// Lets a function that fills buffers with random bytes serve as the generator that the cipher wants.
struct Entropy<F>(F);

impl<F: FnMut(&mut [u8])> RngCore for Entropy<F> {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        (self.0)(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        (self.0)(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, buffer: &mut [u8]) {
        (self.0)(buffer);
    }

    fn try_fill_bytes(&mut self, buffer: &mut [u8]) -> Result<(), RngError> {
        (self.0)(buffer);
        Ok(())
    }
}

impl<F: FnMut(&mut [u8])> CryptoRng for Entropy<F> {}

/// Seals a text. `fill` must fill its buffer with cryptographically secure random bytes.
///
/// # Errors
/// `Box` if the cipher refuses, which it does only for texts of many gigabytes.
pub fn seal(key: &PublicKey, text: &str, fill: impl FnMut(&mut [u8])) -> Result<Vec<u8>, SealError> {
    key.0.seal(&mut Entropy(fill), text.as_bytes()).map_err(|_| SealError::Box)
}

/// Opens what was sealed for this key.
///
/// # Errors
/// `Box` when it does not open, `Text` when it is no UTF-8.
pub fn open(key: &SecretKey, sealed: &[u8]) -> Result<String, SealError> {
    let bytes = key.0.unseal(sealed).map_err(|_| SealError::Box)?;
    String::from_utf8(bytes).map_err(|_| SealError::Text)
}

/// The form in which a sealed box travels in a header.
#[must_use]
pub fn to_header(sealed: &[u8]) -> String {
    STANDARD.encode(sealed)
}

/// A sealed box from its header.
///
/// # Errors
/// `Box` when it is no base64.
pub fn from_header(text: &str) -> Result<Vec<u8>, SealError> {
    STANDARD.decode(text).map_err(|_| SealError::Box)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn counter(start: u8) -> impl FnMut(&mut [u8]) {
        let mut next = start;
        move |buffer| {
            for byte in buffer {
                *byte = next;
                next = next.wrapping_mul(5).wrapping_add(1);
            }
        }
    }

    #[test]
    fn only_the_holder_of_the_key_opens_it() {
        let secret = SecretKey::from_bytes([7; 32]);
        let sealed = seal(&secret.public_key(), "buyer@example.org", counter(1)).unwrap();
        assert_eq!(sealed.len(), "buyer@example.org".len() + 48);
        assert!(!sealed.windows(5).any(|window| window == b"buyer"));
        assert_eq!(open(&secret, &sealed).unwrap(), "buyer@example.org");
        assert_eq!(open(&SecretKey::from_bytes([8; 32]), &sealed), Err(SealError::Box));
        assert_eq!(from_header(&to_header(&sealed)).unwrap(), sealed);
    }

    #[test]
    fn no_changed_byte_and_no_cut_goes_unseen() {
        let secret = SecretKey::from_bytes([7; 32]);
        let sealed = seal(&secret.public_key(), "buyer@example.org", counter(1)).unwrap();
        for position in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[position] ^= 0x40;
            assert_eq!(open(&secret, &changed), Err(SealError::Box), "byte {position}");
            assert_eq!(open(&secret, &sealed[..position]), Err(SealError::Box), "cut at {position}");
        }
    }

    #[test]
    fn the_same_text_never_looks_the_same() {
        let key = SecretKey::from_bytes([7; 32]).public_key();
        assert_ne!(seal(&key, "a", counter(1)).unwrap(), seal(&key, "a", counter(2)).unwrap());
    }

    #[test]
    fn keys_travel_as_base64() {
        let key = SecretKey::from_bytes([7; 32]).public_key();
        assert_eq!(PublicKey::from_base64(&key.to_base64()).unwrap(), key);
        assert_eq!(PublicKey::from_base64("short"), Err(SealError::Key));
        assert!(!format!("{:?}", SecretKey::from_bytes([7; 32])).contains('7'));
    }
}
