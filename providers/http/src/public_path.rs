//! Which requests need no token. Invariant: matching looks at the raw path, and a path that some reader could take for
//! another one (dot segments, doubled slashes, encoded dots or slashes) is never public.

use std::str::FromStr;

use http::Method;

/// One entry of `public_paths`: `METHOD /path`, or `METHOD /path/*` for everything below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicPath {
    method: Method,
    /// With its last `/` if `below`.
    path: String,
    below: bool,
}

impl FromStr for PublicPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("`{}`: expected `METHOD /path` or `METHOD /path/*`", text.trim());
        let (method, path) = text.trim().split_once(' ').ok_or_else(expected)?;
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| expected())?;
        let (path, below) = match path.strip_suffix('*') {
            Some(rest) if rest.ends_with('/') => (rest, true),
            Some(_) => return Err(expected()),
            None => (path, false),
        };
        if !is_plain(path) || path.contains(['*', '?', '#', ' ']) {
            return Err(expected());
        }
        Ok(Self { method, path: path.to_owned(), below })
    }
}

impl PublicPath {
    fn matches(&self, method: &Method, path: &str) -> bool {
        // HEAD is GET without the body (RFC 9110, 9.3.2), so it asks for nothing more.
        let same_method = *method == self.method || (*method == Method::HEAD && self.method == Method::GET);
        same_method && if self.below { path.starts_with(&self.path) } else { path == self.path }
    }
}

pub(crate) fn is_public(rules: &[PublicPath], method: &Method, raw_path: &str) -> bool {
    is_plain(raw_path) && rules.iter().any(|rule| rule.matches(method, raw_path))
}

/// Whether every reader sees the same segments in this path.
fn is_plain(path: &str) -> bool {
    if !path.starts_with('/') || path.contains("//") || path.contains('\\') {
        return false;
    }
    let lower = path.to_ascii_lowercase();
    // An encoded percent sign could become one of the others when somebody decodes twice.
    if ["%2e", "%2f", "%5c", "%25", "%00"].iter().any(|encoded| lower.contains(encoded)) {
        return false;
    }
    !path.split('/').any(|segment| {
        // `;` begins path parameters for some readers: `..;x` would be a dot segment to them.
        matches!(segment.split(';').next(), Some("." | ".."))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn rules() -> Vec<PublicPath> {
        ["GET /products", "GET /products/*", "POST /webhooks/stripe"].iter().map(|rule| rule.parse().unwrap()).collect()
    }

    // Goal: exactly what is listed is public, and tricks with the path are not.
    #[test]
    fn matches_raw_paths() {
        for (method, path) in [
            (Method::GET, "/products"),
            (Method::HEAD, "/products"),
            (Method::GET, "/products/A-1"),
            (Method::GET, "/products/a%20b"),
            (Method::POST, "/webhooks/stripe"),
        ] {
            assert!(is_public(&rules(), &method, path), "{method} {path}");
        }
        for (method, path) in [
            (Method::GET, "/orders"),
            (Method::POST, "/products"),
            (Method::GET, "/productsX"),
            (Method::GET, "//products"),
            (Method::GET, "/products//x"),
            (Method::GET, "/products/../orders"),
            (Method::GET, "/products/./x"),
            (Method::GET, "/products/.."),
            (Method::GET, "/products/%2e%2e/orders"),
            (Method::GET, "/products/.%2E/orders"),
            (Method::GET, "/products/..%2forders"),
            (Method::GET, "/products/..%5Corders"),
            (Method::GET, "/products/%252e%252e/orders"),
            (Method::GET, "/products/..;/orders"),
            (Method::GET, "/Products"),
            (Method::GET, "products"),
            (Method::GET, "*"),
            (Method::HEAD, "/webhooks/stripe"),
        ] {
            assert!(!is_public(&rules(), &method, path), "{method} {path}");
        }
    }

    #[test]
    fn refuses_malformed_rules() {
        for rule in ["", "/products", "GET products", "GET /products*", "GET /a/*/b", "GET /a/../b", "GET  /a"] {
            assert!(rule.parse::<PublicPath>().is_err(), "{rule}");
        }
    }
}
