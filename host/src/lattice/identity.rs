//! Who this host is on a lattice: an nkey of type server, whose public half is the host's id.

use nkeys::{KeyPair, KeyPairType};
use secrecy::{ExposeSecret, SecretString};

use super::LatticeError;

/// A host's id and its name for people.
#[derive(Clone, Debug)]
pub struct Identity {
    /// 56 letters, the first one `N`: what wash takes for a host id.
    pub id: String,
    /// For people.
    pub friendly_name: String,
}

impl Identity {
    /// From a seed, so that a host keeps its id, or new.
    ///
    /// # Errors
    /// When the seed is none, or one of another type.
    pub fn new(seed: Option<&SecretString>, friendly_name: Option<&str>) -> Result<Self, LatticeError> {
        let key = match seed {
            Some(seed) => KeyPair::from_seed(seed.expose_secret()).map_err(|_| LatticeError::Seed)?,
            None => KeyPair::new_server(),
        };
        if key.key_pair_type() != KeyPairType::Server {
            return Err(LatticeError::Seed);
        }
        let id = key.public_key();
        let short: String = id.chars().take(8).collect();
        let friendly_name = friendly_name.map_or_else(|| format!("swiftcart-{}", short.to_lowercase()), str::to_owned);
        Ok(Self { id, friendly_name })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn an_id_is_one_that_wash_takes_and_a_seed_keeps_it() {
        let new = Identity::new(None, None).unwrap();
        assert!(new.id.len() == 56 && new.id.starts_with('N'), "{}", new.id);
        let key = KeyPair::new_server();
        let seed = SecretString::from(key.seed().unwrap());
        let kept = Identity::new(Some(&seed), Some("left")).unwrap();
        assert_eq!((kept.id, kept.friendly_name.as_str()), (key.public_key(), "left"));
        for wrong in ["", "SNABC", &KeyPair::new_user().seed().unwrap()] {
            assert!(Identity::new(Some(&SecretString::from(wrong.to_owned())), None).is_err(), "{wrong}");
        }
    }
}
