//! `swiftcart:policy/links`: what the policies of the guest's own links would do with a call.

use super::bindings::swiftcart::policy::links::Host;
use crate::runtime::Guest;

impl Host for Guest {
    async fn refuses(&mut self, target: String) -> wasmtime::Result<bool> {
        Ok(self.grants.guards.get(&target).is_some_and(|guard| guard.refuses()))
    }
}
