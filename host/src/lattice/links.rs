//! The rules of links, as values: what may be put, what is replaced, what is deleted. Links of one source stand together in one entry of
//! the lattice's data, so that putting a link is one compare-and-set.

use super::wire::{Link, LinkKey, is_token};
use crate::limits;

/// Why a link is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("the {what} `{value}` cannot be used: letters, digits, `-` and `_`")]
    Id { what: &'static str, value: String },
    #[error("the link from `{0}` has no interfaces")]
    NoInterfaces(String),
    #[error(
        "`{source_id}` has a link named `{name}` for {interface} already, to `{target}`: give this one another name"
    )]
    Taken { source_id: String, name: String, interface: String, target: String },
    #[error("`{0}` has too many links: the limit is {max}", max = limits::MAX_LINKS_PER_SOURCE)]
    TooMany(String),
}

/// Checks what can be checked of a link alone.
pub(crate) fn check(link: &Link) -> Result<(), LinkError> {
    let names = [("source", &link.source_id), ("target", &link.target), ("link name", &link.name)];
    let wit = [("namespace", &link.wit_namespace), ("package", &link.wit_package)];
    let interfaces = link.interfaces.iter().map(|interface| ("interface", interface));
    for (what, value) in names.into_iter().chain(wit).chain(interfaces) {
        if !is_token(value) {
            return Err(LinkError::Id { what, value: value.clone() });
        }
    }
    if link.interfaces.is_empty() { Err(LinkError::NoInterfaces(link.source_id.clone())) } else { Ok(()) }
}

/// Puts a link among those of its source: replaces the one of the same ends and package, else adds it. Whether anything changed.
pub(crate) fn put(links: &mut Vec<Link>, link: &Link) -> Result<bool, LinkError> {
    let same_package =
        |other: &&Link| other.wit_namespace == link.wit_namespace && other.wit_package == link.wit_package;
    let rivals =
        links.iter().filter(same_package).filter(|other| other.name == link.name && other.target != link.target);
    for rival in rivals {
        if let Some(interface) = rival.interfaces.iter().find(|interface| link.interfaces.contains(interface)) {
            return Err(LinkError::Taken {
                source_id: link.source_id.clone(),
                name: link.name.clone(),
                interface: format!("{}:{}/{interface}", link.wit_namespace, link.wit_package),
                target: rival.target.clone(),
            });
        }
    }
    let place =
        links.iter().position(|other| same_package(&other) && other.name == link.name && other.target == link.target);
    if place.is_none() && links.len() >= limits::MAX_LINKS_PER_SOURCE {
        return Err(LinkError::TooMany(link.source_id.clone()));
    }
    match place.and_then(|place| links.get_mut(place)) {
        Some(old) if old == link => return Ok(false),
        Some(old) => *old = link.clone(),
        None => links.push(link.clone()),
    }
    Ok(true)
}

/// Deletes the links that the key names; gives them back.
pub(crate) fn delete(links: &mut Vec<Link>, key: &LinkKey) -> Vec<Link> {
    let named = |link: &Link| {
        link.name == key.name && link.wit_namespace == key.wit_namespace && link.wit_package == key.wit_package
    };
    let (gone, left) = std::mem::take(links).into_iter().partition(named);
    *links = left;
    gone
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn link(target: &str, name: &str, interfaces: &[&str]) -> Link {
        Link {
            source_id: "cart".into(),
            target: target.into(),
            name: name.into(),
            wit_namespace: "wasi".into(),
            wit_package: "keyvalue".into(),
            interfaces: interfaces.iter().map(|interface| (*interface).to_owned()).collect(),
            ..Link::default()
        }
    }

    /// Goal: the same link twice changes nothing, new settings replace it, another target needs another name. Method: one after the other.
    #[test]
    fn putting_adds_replaces_or_is_refused() {
        let mut links = Vec::new();
        assert_eq!(put(&mut links, &link("redis", "default", &["store"])), Ok(true));
        assert_eq!(put(&mut links, &link("redis", "default", &["store"])), Ok(false));
        let changed = Link { target_config: vec!["new".into()], ..link("redis", "default", &["store", "batch"]) };
        assert_eq!(put(&mut links, &changed), Ok(true));
        assert_eq!(links, [changed]);
        let error = put(&mut links, &link("other", "default", &["batch"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`cart` has a link named `default` for wasi:keyvalue/batch already, to `redis`: give this one another name"
        );
        assert_eq!(put(&mut links, &link("other", "default", &["atomics"])), Ok(true));
        assert_eq!(put(&mut links, &link("other", "second", &["batch"])), Ok(true));
        assert_eq!(links.len(), 3);
    }

    #[test]
    fn deleting_takes_what_the_key_names() {
        let mut links = vec![link("redis", "default", &["store"]), link("other", "second", &["store"])];
        let key = |name: &str| LinkKey {
            source_id: "cart".into(),
            name: name.into(),
            wit_namespace: "wasi".into(),
            wit_package: "keyvalue".into(),
        };
        assert_eq!(delete(&mut links, &key("third")), []);
        assert_eq!(delete(&mut links, &key("second")), [link("other", "second", &["store"])]);
        assert_eq!(links, [link("redis", "default", &["store"])]);
    }

    #[test]
    fn names_that_cannot_be_subjects_are_refused() {
        assert_eq!(check(&link("redis", "default", &["store"])), Ok(()));
        for bad in [
            link("", "default", &["store"]),
            link("a.b", "default", &["store"]),
            link("a", "*", &["store"]),
            link("a", "b", &["store@1.0"]),
        ] {
            assert!(matches!(check(&bad), Err(LinkError::Id { .. })), "{bad:?}");
        }
        assert_eq!(check(&link("a", "b", &[])), Err(LinkError::NoInterfaces("cart".into())));
    }
}
