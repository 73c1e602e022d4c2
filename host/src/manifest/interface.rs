//! Names of WIT interfaces, `namespace:package/interface@version`, and whether a link grants one. Links carry no version.

use std::fmt;

use super::LinkPlan;

/// A parsed interface name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Interface {
    /// `swiftcart`
    pub namespace: String,
    /// `postgres`
    pub package: String,
    /// `client`
    pub name: String,
    /// `0.1.0`
    pub version: Option<String>,
}

impl Interface {
    /// None for names that are no interface of a package.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (path, version) = match text.split_once('@') {
            Some((path, version)) => (path, Some(version.to_owned())),
            None => (text, None),
        };
        let (namespace, rest) = path.split_once(':')?;
        let (package, name) = rest.split_once('/')?;
        if namespace.is_empty() || package.is_empty() || name.is_empty() {
            return None;
        }
        Some(Self { namespace: namespace.to_owned(), package: package.to_owned(), name: name.to_owned(), version })
    }

    /// Whether the link names this interface.
    #[must_use]
    pub fn granted_by(&self, link: &LinkPlan) -> bool {
        self.namespace == link.namespace && self.package == link.package && link.interfaces.contains(&self.name)
    }

    /// `namespace:package/interface`, as links and capabilities name it.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}:{}/{}", self.namespace, self.package, self.name)
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())?;
        match &self.version {
            Some(version) => write!(f, "@{version}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// Goal: names are taken apart and put together without loss. Method: both ways, and names that are none.
    #[test]
    fn names_go_round() {
        for name in ["wasi:http/types@0.2.2", "swiftcart:postgres/client@0.1.0", "test:calc/greet"] {
            assert_eq!(Interface::parse(name).unwrap().to_string(), name);
        }
        for name in ["run", "wasi:http", ":http/types", "wasi:/types", "wasi:http/"] {
            assert_eq!(Interface::parse(name), None, "{name}");
        }
    }
}
