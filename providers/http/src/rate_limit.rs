//! The rate limit: GCRA for each user, or for each peer address where nobody was verified. Invariant: the table holds only
//! keys that used some of their quota lately; everything else is swept.
//!
//! The address is that of the TCP peer. A forwarding header is not believed, because anybody can write one.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DefaultKeyedStateStore,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio_util::sync::CancellationToken;

use crate::problem::{Problem, Refusal};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    User(String),
    Address(IpAddr),
}

impl Key {
    /// One subscriber usually has a whole IPv6 /64, so that is what counts as one address.
    pub(crate) fn address(peer: IpAddr) -> Self {
        Self::Address(match peer.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
            address @ IpAddr::V4(_) => address,
        })
    }
}

type Limiter = RateLimiter<Key, DefaultKeyedStateStore<Key>, DefaultClock, StateInformationMiddleware>;

pub(crate) struct RateLimit {
    limiter: Limiter,
    clock: DefaultClock,
    requests_per_second: NonZeroU32,
    burst: NonZeroU32,
}

/// What is left of somebody's quota, as told in every answer (draft-ietf-httpapi-ratelimit-headers-10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// `q`: the whole quota, our burst.
    quota: u32,
    /// `w`: seconds in which an empty quota fills up again.
    window_seconds: u64,
    /// `r`: requests that may come at once.
    remaining: u32,
    /// `t`: seconds until the quota is full again or, when refused, until the next request may come.
    reset_seconds: u64,
}

impl RateLimit {
    pub(crate) fn new(requests_per_second: u32, burst: u32) -> Self {
        let at_least_one = |value: u32| NonZeroU32::new(value).unwrap_or(NonZeroU32::MIN);
        let (requests_per_second, burst) = (at_least_one(requests_per_second), at_least_one(burst));
        let quota = Quota::per_second(requests_per_second).allow_burst(burst);
        Self {
            limiter: RateLimiter::keyed(quota).with_middleware::<StateInformationMiddleware>(),
            clock: DefaultClock::default(),
            requests_per_second,
            burst,
        }
    }

    /// Takes one request from the key's quota.
    ///
    /// # Errors
    /// 429 with the wait, and the allowance for the answer's fields.
    pub(crate) fn check(&self, key: &Key) -> (Allowance, Result<(), Refusal>) {
        match self.limiter.check_key(key) {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                let used = u64::from(self.burst.get().saturating_sub(remaining));
                (self.allowance(remaining, self.seconds_for(used)), Ok(()))
            }
            Err(until) => {
                let wait = whole_seconds(until.wait_time_from(self.clock.now()));
                let refusal =
                    Refusal::new(Problem::RateLimited, "Slow down: the quota is used up for now.").retry_after(wait);
                (self.allowance(0, wait), Err(refusal))
            }
        }
    }

    /// Forgets keys whose quota is full again, until `stop`.
    pub(crate) async fn sweep(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SWEEP_INTERVAL) => {}
            }
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
            #[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
            metrics::gauge!("swiftcart_http_rate_limit_keys").set(self.limiter.len() as f64);
        }
    }

    fn allowance(&self, remaining: u32, reset_seconds: u64) -> Allowance {
        let quota = self.burst.get();
        Allowance { quota, window_seconds: self.seconds_for(u64::from(quota)), remaining, reset_seconds }
    }

    /// Whole seconds in which that many requests come back.
    fn seconds_for(&self, requests: u64) -> u64 {
        requests.div_ceil(u64::from(self.requests_per_second.get()))
    }
}

impl Allowance {
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        let Self { quota, window_seconds, remaining, reset_seconds } = self;
        let fields = [
            (RATE_LIMIT_POLICY, format!(r#""default";q={quota};w={window_seconds}"#)),
            (RATE_LIMIT, format!(r#""default";r={remaining};t={reset_seconds}"#)),
        ];
        for (name, value) in fields {
            // Digits and these signs are always a valid header value.
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }
}

/// Rounded up, at least one: "retry after 0 seconds" would be an invitation to be refused again.
fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    // Goal: the burst passes, the next is refused, and one key does not use up another's quota.
    #[test]
    fn refuses_over_the_burst() {
        let limit = RateLimit::new(1, 3);
        let one = Key::User("one".into());
        for left in [2, 1, 0] {
            let (allowance, verdict) = limit.check(&one);
            assert!(verdict.is_ok());
            assert_eq!(
                allowance,
                Allowance { quota: 3, window_seconds: 3, remaining: left, reset_seconds: u64::from(3 - left) }
            );
        }
        let (allowance, verdict) = limit.check(&one);
        assert_eq!(verdict.unwrap_err().problem, Problem::RateLimited);
        assert_eq!((allowance.remaining, allowance.reset_seconds), (0, 1));
        assert!(limit.check(&Key::User("two".into())).1.is_ok());

        let mut headers = HeaderMap::new();
        allowance.write(&mut headers);
        assert_eq!(headers["ratelimit-policy"], r#""default";q=3;w=3"#);
        assert_eq!(headers["ratelimit"], r#""default";r=0;t=1"#);
    }

    #[test]
    fn addresses_of_one_subscriber_are_one() {
        let key = |text: &str| Key::address(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8:0:1::1"), key("2001:db8::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    }

    #[test]
    fn waits_are_rounded_up() {
        assert_eq!(whole_seconds(Duration::ZERO), 1);
        assert_eq!(whole_seconds(Duration::from_millis(1001)), 2);
        assert_eq!(whole_seconds(Duration::from_secs(3)), 3);
    }
}
