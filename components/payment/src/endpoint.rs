//! The PSP's base address. Invariant: taken apart once, from config; a path is only ever appended.

/// Why a text is no base address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("config `base_url` must be http://host[:port][/prefix] or https://..., without query and without credentials")]
pub struct EndpointError;

/// Where the PSP is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// TLS or not.
    pub https: bool,
    /// Host and port.
    pub authority: String,
    /// Empty or `/...`, without a slash at its end.
    pub prefix: String,
}

impl Endpoint {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        let (https, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(EndpointError),
        };
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) || rest.contains(['?', '#', '@']) {
            return Err(EndpointError);
        }
        let (authority, prefix) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        if authority.is_empty() {
            return Err(EndpointError);
        }
        Ok(Self { https, authority: authority.to_owned(), prefix: prefix.trim_end_matches('/').to_owned() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn takes_apart_what_is_a_base_address_and_refuses_the_rest() {
        let endpoint = |https, authority: &str, prefix: &str| Endpoint {
            https,
            authority: authority.to_owned(),
            prefix: prefix.to_owned(),
        };
        assert_eq!(Endpoint::parse("https://api.stripe.com"), Ok(endpoint(true, "api.stripe.com", "")));
        assert_eq!(Endpoint::parse("http://127.0.0.1:8080/"), Ok(endpoint(false, "127.0.0.1:8080", "")));
        assert_eq!(Endpoint::parse("http://[::1]:80/psp/"), Ok(endpoint(false, "[::1]:80", "/psp")));
        for bad in
            ["", "api.stripe.com", "ftp://x", "http://", "http:///x", "https://user:pw@x", "http://x?y", "http://x y"]
        {
            assert_eq!(Endpoint::parse(bad), Err(EndpointError), "{bad}");
        }
    }
}
