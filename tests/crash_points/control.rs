//! The admin port of a host with crash points. Invariant: what is sent and read here has the shape of `runtime::crash_point::armed` in the host.

use std::fmt;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use swiftcart_support::client::{http_client, send};

/// Seen from an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Before,
    After,
}

/// What happens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Fail,
    Die,
}

/// Where to strike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strike {
    /// From 1.
    pub(crate) effect: usize,
    pub(crate) moment: Moment,
    pub(crate) action: Action,
}

impl fmt::Display for Strike {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?} {:?} effect {}", self.action, self.moment, self.effect)
    }
}

/// Which calls are meant.
#[derive(Clone, Debug)]
pub(crate) struct Watch<'a> {
    pub(crate) component: &'a str,
    pub(crate) export: &'a str,
    pub(crate) trace: Option<&'a str>,
    pub(crate) subject: Option<&'a str>,
}

/// What the host says about its plan.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) struck: bool,
    /// The calls that were watched.
    pub(crate) calls: Vec<Call>,
}

/// A call that was watched.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call {
    /// What it was about.
    pub(crate) subject: String,
    /// Its effects, in order.
    pub(crate) effects: Vec<String>,
}

/// The port.
pub(crate) struct Control {
    http: reqwest::Client,
    url: String,
}

impl Control {
    pub(crate) fn new(admin_url: &str) -> anyhow::Result<Self> {
        let http = http_client().timeout(Duration::from_secs(10)).build()?;
        Ok(Self { http, url: format!("{admin_url}/v1/crash-points") })
    }

    /// Watches these calls, and strikes the first that comes so far.
    pub(crate) async fn arm(&self, watch: &Watch<'_>, strike: Option<Strike>) -> anyhow::Result<()> {
        let strike = strike.map(|strike| {
            let lower = |text: String| text.to_lowercase();
            json!({
                "effect": strike.effect,
                "moment": lower(format!("{:?}", strike.moment)),
                "action": lower(format!("{:?}", strike.action)),
            })
        });
        let plan = json!({
            "component": watch.component, "export": watch.export, "trace": watch.trace, "subject": watch.subject, "strike": strike,
        });
        send(self.http.put(&self.url).json(&plan)).await?.expect_status(200).map(drop)
    }

    /// What became of the plan in force.
    pub(crate) async fn progress(&self) -> anyhow::Result<Progress> {
        let told = send(self.http.get(&self.url)).await?.expect_status(200)?.json()?;
        let progress = &told["progress"];
        let call = |call: &Value| {
            let effects = call["effects"].as_array().into_iter().flatten();
            Call {
                subject: call["subject"].as_str().unwrap_or_default().to_owned(),
                effects: effects.filter_map(Value::as_str).map(str::to_owned).collect(),
            }
        };
        Ok(Progress {
            struck: progress["struck"].as_bool().context("no plan is in force")?,
            calls: progress["calls"].as_array().into_iter().flatten().map(call).collect(),
        })
    }
}
