//! A JSON Web Key Set (RFC 7517), reduced to the keys that may verify our tokens. Invariant: a key is used with the one
//! algorithm that its type allows (RSA: RS256, P-256: ES256), so the token's header cannot choose another.

use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde::Deserialize;

/// Keys that are looked at; a set with more is cut off.
const MAX_KEYS: usize = 64;
/// RSA moduli from 2048 to 8192 bits: RFC 7518, 3.3 for the lower, the cost of a verification for the upper bound.
const RSA_MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// 0x04, x and y of an uncompressed P-256 point.
const P256_POINT_BYTES: usize = 65;

pub(crate) struct KeySet {
    keys: Vec<Key>,
}

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct Document {
    /// Each key is read by itself, so that one of an unknown shape does not hide the others.
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct WebKey {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// # Errors
    /// A sentence when the text is no key set or holds no key that we could use: then the last good set stays.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(text).map_err(|error| format!("not a key set: {error}"))?;
        let keys: Vec<Key> = document
            .keys
            .into_iter()
            .take(MAX_KEYS)
            .filter_map(|value| serde_json::from_value::<WebKey>(value).ok())
            .filter_map(usable)
            .collect();
        if keys.is_empty() {
            return Err("the key set has no usable RS256 or ES256 signature key".to_owned());
        }
        Ok(Self { keys })
    }

    /// The key with this id. A token without an id is accepted only while there is no choice to make.
    pub(crate) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&DecodingKey> {
        let mut candidates = self
            .keys
            .iter()
            .filter(|key| key.algorithm == algorithm)
            .filter(|key| id.is_none() || key.id.as_deref() == id);
        let first = candidates.next()?;
        if candidates.next().is_some() { None } else { Some(&first.key) }
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }
}

fn usable(web_key: WebKey) -> Option<Key> {
    if web_key.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return None;
    }
    if web_key.key_ops.as_ref().is_some_and(|operations| !operations.iter().any(|operation| operation == "verify")) {
        return None;
    }
    let (algorithm, name, key) = match web_key.kty.as_str() {
        "RSA" => {
            let key = DecodingKey::from_rsa_components(web_key.n.as_deref()?, web_key.e.as_deref()?).ok()?;
            let DecodingKeyKind::RsaModulusExponent { n, .. } = key.kind() else { return None };
            if !RSA_MODULUS_BYTES.contains(&n.len()) {
                return None;
            }
            (Algorithm::RS256, "RS256", key)
        }
        "EC" if web_key.crv.as_deref() == Some("P-256") => {
            let key = DecodingKey::from_ec_components(web_key.x.as_deref()?, web_key.y.as_deref()?).ok()?;
            if key.try_get_as_bytes().ok()?.len() != P256_POINT_BYTES {
                return None;
            }
            (Algorithm::ES256, "ES256", key)
        }
        _ => return None,
    };
    if web_key.alg.as_deref().is_some_and(|declared| declared != name) {
        return None;
    }
    Some(Key { id: web_key.kid, algorithm, key })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    fn point(id: &str) -> serde_json::Value {
        // The example key of RFC 7517, A.1.
        json!({"kty": "EC", "crv": "P-256", "kid": id, "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
               "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"})
    }

    fn with(mut key: serde_json::Value, name: &str, value: serde_json::Value) -> serde_json::Value {
        key.as_object_mut().unwrap().insert(name.to_owned(), value);
        key
    }

    // Goal: only signature keys of the two algorithms are taken, and strange neighbours do no harm.
    #[test]
    fn takes_only_signature_keys() {
        let set = json!({"keys": [
            with(point("enc"), "use", json!("enc")),
            with(point("ops"), "key_ops", json!(["encrypt"])),
            with(point("alg"), "alg", json!("ES384")),
            with(point("curve"), "crv", json!("P-384")),
            {"kty": "oct", "kid": "secret", "k": "AAAA"},
            {"kty": "RSA", "kid": "short", "n": "AQAB", "e": "AQAB"},
            17,
            with(point("good"), "use", json!("sig")),
        ]});
        let set = KeySet::parse(set.to_string().as_bytes()).unwrap();
        assert_eq!(set.len(), 1);
        assert!(set.find(Some("good"), Algorithm::ES256).is_some());
        assert!(set.find(None, Algorithm::ES256).is_some());
        for (id, algorithm) in [("good", Algorithm::RS256), ("good", Algorithm::HS256), ("enc", Algorithm::ES256)] {
            assert!(set.find(Some(id), algorithm).is_none());
        }
    }

    // Goal: no choice is made for a token that does not make it.
    #[test]
    fn two_keys_need_an_id() {
        let set = json!({"keys": [point("one"), point("two")]}).to_string();
        let set = KeySet::parse(set.as_bytes()).unwrap();
        assert!(set.find(None, Algorithm::ES256).is_none());
        assert!(set.find(Some("two"), Algorithm::ES256).is_some());
    }

    #[test]
    fn refuses_a_set_without_a_usable_key() {
        for text in ["", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"AA"}]}"#] {
            assert!(KeySet::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
