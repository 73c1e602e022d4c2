//! From the text of a reference to a registry, a repository, and a tag or a digest. Invariant: the registry is the one that the text names
//! first; there is no default registry and no default tag.

use oci_client::Reference;

use super::RegistryError;

/// Reads `host[:port]/name:tag`, `host[:port]/name@sha256:<hex>`, or both at once: the digest then decides. In lower case, as `wash push`
/// writes and as other hosts read them.
pub(super) fn parse(text: &str) -> Result<Reference, RegistryError> {
    let fail = |reason| RegistryError::Reference { reference: text.to_owned(), reason };
    let lower = text.trim().to_ascii_lowercase();
    let lower =
        ["oci://", "https://", "http://"].iter().find_map(|scheme| lower.strip_prefix(scheme)).unwrap_or(&lower);
    let (host, rest) = lower.split_once('/').ok_or(fail("expected `host/name:tag`"))?;
    let (named, digest) = rest.split_once('@').map_or((rest, None), |(named, digest)| (named, Some(digest)));
    let (repository, tag) = named.split_once(':').map_or((named, None), |(name, tag)| (name, Some(tag)));
    let simple = |text: &str, more: &str| {
        !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric() || more.contains(letter))
    };
    if !simple(host, ".-:") {
        return Err(fail("the registry's name has a letter that host names do not have"));
    }
    if !repository.split('/').all(|part| simple(part, "._-") && !part.starts_with('.')) {
        return Err(fail(
            "the repository's name has a part that is empty or has other letters than a-z, 0-9, `.`, `_` and `-`",
        ));
    }
    if tag.is_some_and(|tag| !simple(tag, "._-") || tag.len() > 128) {
        return Err(fail("the tag is empty, too long or has other letters than a-z, 0-9, `.`, `_` and `-`"));
    }
    match (tag, digest) {
        (_, Some(digest)) if is_sha256(digest) => {
            Ok(Reference::with_digest(host.to_owned(), repository.to_owned(), digest.to_owned()))
        }
        (_, Some(_)) => Err(fail("the digest is not `sha256:` and 64 hexadecimal digits")),
        (Some(tag), None) => Ok(Reference::with_tag(host.to_owned(), repository.to_owned(), tag.to_owned())),
        (None, None) => Err(fail("it names neither a tag nor a digest")),
    }
}

/// `sha256:` and 64 lower-case hexadecimal digits: also safe as a part of a file's name.
pub(super) fn is_sha256(digest: &str) -> bool {
    let hexadecimal = |hex: &str| hex.chars().all(|digit| digit.is_ascii_digit() || ('a'..='f').contains(&digit));
    digest.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hexadecimal(hex))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_parts_are_those_of_the_text() {
        let digest = format!("sha256:{}", "a1".repeat(32));
        for (text, host, name, tag, pinned) in [
            ("registry/cart:1", "registry", "cart", Some("1"), None),
            ("127.0.0.1:5000/a/b-c/d_e:V1.2", "127.0.0.1:5000", "a/b-c/d_e", Some("v1.2"), None),
            ("oci://shop.test/cart:1", "shop.test", "cart", Some("1"), None),
            (&format!("shop.test/cart@{digest}"), "shop.test", "cart", None, Some(digest.as_str())),
            (&format!("https://shop.test:80/cart:1@{digest}"), "shop.test:80", "cart", None, Some(digest.as_str())),
        ] {
            let read = parse(text).unwrap();
            assert_eq!(
                (read.registry(), read.repository(), read.tag(), read.digest()),
                (host, name, tag, pinned),
                "{text}"
            );
        }
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for text in [
            "",
            "cart",
            "cart:1",
            "shop.test/cart",
            "shop.test/:1",
            "shop.test//cart:1",
            "shop.test/../cart:1",
            "shop.test/cart:",
            "shop.test/cart:a/b",
            "user@shop.test/cart:1",
            "shop.test/cart@sha256:12",
            "shop.test/cart@sha512:aa",
            "shop.test/ca rt:1",
            &format!("shop.test/cart@sha256:{}", "../".repeat(21) + "a"),
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
