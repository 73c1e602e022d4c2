//! Tokens that were verified lately, so that a client that sends many requests with one token has its signature checked once. Invariants: only what
//! was verified is here, under its digest and never itself; it counts only under the very key set that verified it, and its times are looked at anew
//! each time; the table is bounded.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use sha2::{Digest, Sha256};

use crate::identity::Verified;

/// Tokens that are kept; about 10 MB. When the table is full it begins anew: each token is then verified once more.
const LIMIT: usize = 10_000;

/// SHA-256 of a token.
pub(crate) type TokenDigest = [u8; 32];

#[derive(Default)]
pub(crate) struct KnownTokens(RwLock<HashMap<TokenDigest, Known>>);

struct Known {
    /// The key set that was in use.
    fetch: u64,
    verified: Arc<Verified>,
}

impl KnownTokens {
    pub(crate) fn digest(token: &[u8]) -> TokenDigest {
        Sha256::digest(token).into()
    }

    /// What the token says, if it was verified with the key set of this fetch.
    pub(crate) fn find(&self, digest: &TokenDigest, fetch: u64) -> Option<Arc<Verified>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.get(digest).filter(|known| known.fetch == fetch).map(|known| Arc::clone(&known.verified))
    }

    /// Keeps what was verified with the key set of this fetch.
    pub(crate) fn keep(&self, digest: TokenDigest, fetch: u64, verified: Arc<Verified>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= LIMIT && !known.contains_key(&digest) {
            known.clear();
        }
        known.insert(digest, Known { fetch, verified });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(subject: &str) -> Arc<Verified> {
        Arc::new(Verified::for_tests(subject))
    }

    /// Goal: a token counts only under the key set that verified it. Method: the same token after another fetch.
    #[test]
    fn another_key_set_verifies_anew() {
        let (known, digest) = (KnownTokens::default(), KnownTokens::digest(b"a"));
        known.keep(digest, 1, verified("one"));
        assert!(known.find(&digest, 1).is_some_and(|found| found.identity.subject == "one"));
        assert!(known.find(&digest, 2).is_none());
        assert!(known.find(&KnownTokens::digest(b"b"), 1).is_none());
        known.keep(digest, 2, verified("one"));
        assert!(known.find(&digest, 2).is_some() && known.find(&digest, 1).is_none());
    }

    /// Goal: the table never grows beyond its limit. Method: one more than that.
    #[test]
    fn is_bounded() {
        let known = KnownTokens::default();
        for number in 0..=LIMIT {
            known.keep(KnownTokens::digest(&number.to_be_bytes()), 1, verified("one"));
        }
        assert!(known.find(&KnownTokens::digest(&LIMIT.to_be_bytes()), 1).is_some());
        assert!(known.0.read().is_ok_and(|known| known.len() <= LIMIT));
    }
}
