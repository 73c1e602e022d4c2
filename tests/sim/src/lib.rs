//! Stand-ins for the two outside parties that no developer's machine can run: the payment service provider and the token issuer.
//! Invariant: both speak the real protocol (Stripe's API shape, OIDC discovery with real keys), so the product has no test path in it.

pub mod issuer;
pub mod keys;
pub mod psp;
pub mod serve;
pub mod token;
