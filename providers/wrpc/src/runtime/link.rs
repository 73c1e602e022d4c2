//! Links as hosts send them, and as the programs use them: with the settings of our side only, secrets opened.

use nkeys::XKey;
use serde::Deserialize;

use super::host_data::{HostData, Pairs, secret_pairs};

/// A link as it comes over the wire. No `Debug`: configs may hold secrets.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Link {
    /// Who calls.
    pub(crate) source_id: String,
    /// Who is called.
    pub(crate) target: String,
    /// Sets links of one source and interface apart; `default` if not given.
    pub(crate) name: String,
    /// For example `wasi`.
    pub(crate) wit_namespace: String,
    /// For example `keyvalue`.
    pub(crate) wit_package: String,
    /// For example `store`; without a version.
    pub(crate) interfaces: Vec<String>,
    /// Settings of the caller's side.
    pub(crate) source_config: Pairs,
    /// Settings of the callee's side.
    pub(crate) target_config: Pairs,
    /// Sealed secrets of the caller's side.
    pub(crate) source_secrets: Option<Vec<u8>>,
    /// Sealed secrets of the callee's side.
    pub(crate) target_secrets: Option<Vec<u8>>,
}

/// What tells links of one provider apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LinkId {
    /// The component at the other end.
    pub(crate) peer: String,
    /// The link's name.
    pub(crate) name: String,
    /// Namespace and package, `ns:package`.
    pub(crate) package: String,
}

impl std::fmt::Display for LinkId {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{} ({}, {})", self.peer, self.package, self.name)
    }
}

/// Which end of a link we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// We call.
    Source,
    /// We are called.
    Target,
}

/// A link of ours, ready for use.
pub(crate) struct OwnLink {
    pub(crate) id: LinkId,
    pub(crate) role: Role,
    /// `ns:package/interface`, without versions.
    pub(crate) interfaces: Vec<String>,
    /// Our side's settings, secrets included.
    pub(crate) pairs: Pairs,
}

/// Why a link is not taken. Never quotes a setting.
#[derive(Debug, thiserror::Error, PartialEq)]
pub(crate) enum LinkError {
    /// It is not ours.
    #[error("we are neither source nor target of it")]
    NotOurs,
    /// There are secrets and no keys.
    #[error("it has secrets, and the host gave no keys to open them")]
    NoKeys,
    /// The secrets cannot be opened or read.
    #[error("its secrets cannot be opened")]
    Sealed,
}

/// Opens what the host sealed for us.
pub(crate) struct Opener {
    own_id: String,
    keys: Option<(XKey, XKey)>,
    /// Where the host sends links: our public key, or our id if the host has no keys at all.
    pub(crate) address: String,
}

impl Opener {
    /// Takes the keys of the host's data.
    ///
    /// # Errors
    /// When a key is there and cannot be used.
    pub(crate) fn new(data: &HostData) -> Result<Self, LinkError> {
        let (seed, host) = (data.provider_xkey_private_key.trim(), data.host_xkey_public_key.trim());
        let own_id = data.provider_key.clone();
        if seed.is_empty() {
            return Ok(Self { address: own_id.clone(), own_id, keys: None });
        }
        let own = XKey::from_seed(seed).map_err(|_| LinkError::Sealed)?;
        let address = own.public_key();
        let keys = if host.is_empty() {
            None
        } else {
            Some((own, XKey::from_public_key(host).map_err(|_| LinkError::Sealed)?))
        };
        Ok(Self { own_id, keys, address })
    }

    /// What identifies a link, and our end of it.
    ///
    /// # Errors
    /// When it is not ours.
    pub(crate) fn identify(&self, link: &Link) -> Result<(LinkId, Role), LinkError> {
        let (role, peer) = if link.source_id == self.own_id {
            (Role::Source, &link.target)
        } else if link.target == self.own_id {
            (Role::Target, &link.source_id)
        } else {
            return Err(LinkError::NotOurs);
        };
        let name = if link.name.is_empty() { "default" } else { &link.name };
        let package = format!("{}:{}", link.wit_namespace, link.wit_package);
        Ok((LinkId { peer: peer.clone(), name: name.to_owned(), package }, role))
    }

    /// Makes a link ready for use.
    ///
    /// # Errors
    /// When it is not ours or its secrets cannot be opened.
    pub(crate) fn open(&self, link: Link) -> Result<OwnLink, LinkError> {
        let (id, role) = self.identify(&link)?;
        let (mut pairs, sealed) = match role {
            Role::Source => (link.source_config, link.source_secrets),
            Role::Target => (link.target_config, link.target_secrets),
        };
        if let Some(sealed) = sealed.filter(|sealed| !sealed.is_empty()) {
            let (own, host) = self.keys.as_ref().ok_or(LinkError::NoKeys)?;
            let json = own.open(&sealed, host).map_err(|_| LinkError::Sealed)?;
            let secrets = serde_json::from_slice(&json).map_err(|_| LinkError::Sealed)?;
            pairs.extend(secret_pairs(secrets).map_err(|_| LinkError::Sealed)?);
        }
        let interfaces = link.interfaces.iter().map(|interface| format!("{}/{interface}", id.package)).collect();
        Ok(OwnLink { id, role, interfaces, pairs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(host: &XKey, own: &XKey) -> HostData {
        HostData {
            provider_key: "db".to_owned(),
            host_xkey_public_key: host.public_key(),
            provider_xkey_private_key: own.seed().unwrap(),
            ..HostData::default()
        }
    }

    fn link(target_secrets: Option<Vec<u8>>) -> Link {
        Link {
            source_id: "shelf".to_owned(),
            target: "db".to_owned(),
            wit_namespace: "wasi".to_owned(),
            wit_package: "keyvalue".to_owned(),
            interfaces: vec!["store".to_owned()],
            source_config: Pairs::from([("theirs".to_owned(), "1".to_owned())]),
            target_config: Pairs::from([("url".to_owned(), "plain".to_owned())]),
            target_secrets,
            ..Link::default()
        }
    }

    #[test]
    fn sealed_secrets_fill_our_side() {
        let (host, own) = (XKey::new(), XKey::new());
        let opener = Opener::new(&data(&host, &own)).unwrap();
        assert_eq!(opener.address, own.public_key());
        let secrets = br#"{"shelf-url":{"kind":"String","value":"secret"}}"#;
        let sealed = host.seal(secrets, &XKey::from_public_key(&own.public_key()).unwrap()).unwrap();
        let opened = opener.open(link(Some(sealed))).unwrap();
        assert_eq!(opened.pairs, Pairs::from([("url".to_owned(), "secret".to_owned())]));
        assert_eq!((opened.id.name.as_str(), opened.role), ("default", Role::Target));
        assert_eq!(opened.interfaces, ["wasi:keyvalue/store"]);
        let foreign = XKey::new().seal(secrets, &own).unwrap();
        assert_eq!(opener.open(link(Some(foreign))).err(), Some(LinkError::Sealed));
    }

    #[test]
    fn without_keys_links_come_by_id_and_secrets_are_refused() {
        let opener = Opener::new(&HostData { provider_key: "db".to_owned(), ..HostData::default() }).unwrap();
        assert_eq!(opener.address, "db");
        assert!(opener.open(link(None)).is_ok());
        assert_eq!(opener.open(link(Some(vec![1]))).err(), Some(LinkError::NoKeys));
        let strange = Link { source_id: "a".to_owned(), target: "b".to_owned(), ..Link::default() };
        assert_eq!(opener.identify(&strange).err(), Some(LinkError::NotOurs));
    }
}
