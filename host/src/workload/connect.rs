//! Makes the provider clients that the links of each component ask for. A service that is not there yet is tried again until it is; a
//! configuration that cannot work ends the start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use swiftcart_provider_email as email;
use swiftcart_provider_http as http;
use swiftcart_provider_postgres::{self as postgres, Postgres};
use swiftcart_provider_redis::{self as redis, Redis};

use super::settings::{self, Fingerprint, settings_by_kind};
use crate::capability::Grants;
use crate::limits;
use crate::link::Surroundings;
use crate::manifest::{ComponentPlan, Plan};
use crate::policy::{Guard, Guards};

/// What the links of one component granted it, and under which settings.
#[derive(Clone, Default)]
pub(crate) struct Connected {
    /// The clients.
    pub grants: Arc<Grants>,
    /// Fingerprints of the settings that made them, by kind of capability.
    made_of: BTreeMap<String, Fingerprint>,
}

/// Connects everything that a component's links grant. What `before` has under the same settings is used on. Where links may come late, those
/// that are there may not say all that a capability needs: it is not granted then, and connected when the rest comes.
///
/// # Errors
/// A configuration that cannot work, naming the component and the capability.
pub(crate) async fn connect(
    plan: &Plan,
    component: &ComponentPlan,
    migrations_root: Option<&Path>,
    before: &Connected,
    surroundings: &Surroundings,
) -> anyhow::Result<Connected> {
    let late_links = surroundings.late_links;
    let mut grants = Grants {
        config: component.config.pairs().collect(),
        guards: guards(plan, component, &surroundings.guards),
        ..Grants::default()
    };
    let mut made_of = BTreeMap::new();
    for (kind, pairs) in settings_by_kind(plan, component)? {
        let context = || format!("the link from {} to a capability {kind}", component.name);
        let fingerprint = settings::fingerprint(&pairs);
        if before.made_of.get(&kind) == Some(&fingerprint) {
            made_of.insert(kind.clone(), fingerprint);
            grants.take_over(&before.grants, &kind);
            continue;
        }
        match settings::check_kind(&kind, &pairs) {
            Err(error) if late_links && !before.made_of.contains_key(&kind) => {
                tracing::warn!(
                    component = component.name,
                    capability = kind,
                    error = format!("{error:#}"),
                    "not granted yet: its links do not say enough"
                );
                continue;
            }
            checked => checked.with_context(context)?,
        }
        made_of.insert(kind.clone(), fingerprint);
        match kind.as_str() {
            "postgres" => {
                grants.postgres =
                    Some(Arc::new(database(pairs, migrations_root, &component.name).await.with_context(context)?))
            }
            "redis" => grants.redis = Some(Arc::new(key_value(pairs, &component.name).await.with_context(context)?)),
            "email" => {
                let config = email::Config::from_pairs(pairs).with_context(context)?;
                grants.email = Some(Arc::new(email::Mailer::new(config).with_context(context)?));
            }
            "http-client" => {
                let config = http::ClientConfig::from_pairs(pairs).with_context(context)?;
                grants.http = Some(Arc::new(http::Client::new(config).with_context(context)?));
            }
            _ => {}
        }
    }
    Ok(Connected { grants: Arc::new(grants), made_of })
}

/// What stands before each of a component's links.
fn guards(plan: &Plan, component: &ComponentPlan, guards: &Guards) -> BTreeMap<String, Arc<Guard>> {
    let guarded = plan.links_from(&component.name).flat_map(|link| {
        link.paths().map(|path| (guards.of(&component.name, &link.target, &path), path)).collect::<Vec<_>>()
    });
    guarded.map(|(guard, path)| (path, guard)).collect()
}

/// A pool of connections, with the schema brought up to date if the settings name migrations. `whose` is for the log.
///
/// # Errors
/// A configuration that cannot work, or a migration that failed.
pub(crate) async fn database(
    pairs: BTreeMap<String, String>,
    migrations_root: Option<&Path>,
    whose: &str,
) -> anyhow::Result<Postgres> {
    let config = postgres::Config::from_pairs(pairs)?;
    let migrations = config.migrations.as_deref().map(|name| migrations_folder(migrations_root, name)).transpose()?;
    let client = until_there(
        "PostgreSQL",
        whose,
        || Postgres::connect(config.clone()),
        |error| matches!(error, postgres::Error::Unavailable(_)),
    )
    .await?;
    if let Some(folder) = migrations {
        client.migrate(&folder).await.with_context(|| format!("migrations in {}", folder.display()))?;
    }
    Ok(client)
}

fn migrations_folder(root: Option<&Path>, name: &str) -> anyhow::Result<PathBuf> {
    let root = root
        .ok_or_else(|| anyhow!("it names migrations ({name}), but the host was started without --migrations-root"))?;
    if name.is_empty() || name.contains(['/', '\\', '.']) {
        bail!("migrations: {name:?} is not the name of a folder in {}", root.display());
    }
    Ok(root.join(name))
}

async fn key_value(pairs: BTreeMap<String, String>, whose: &str) -> anyhow::Result<Redis> {
    let config = redis::Config::from_pairs(pairs)?;
    until_there(
        "Redis",
        whose,
        || Redis::connect(config.clone()),
        |error| matches!(error, redis::Error::Unavailable(_)),
    )
    .await
}

/// Tries until the service is there; says so while it is not.
async fn until_there<T, E, F>(
    what: &str,
    whose: &str,
    mut connect: impl FnMut() -> F,
    is_away: impl Fn(&E) -> bool,
) -> anyhow::Result<T>
where
    F: Future<Output = Result<T, E>>,
    E: std::error::Error + Send + Sync + 'static,
{
    loop {
        match connect().await {
            Ok(client) => return Ok(client),
            Err(error) if is_away(&error) => {
                tracing::warn!(whose, %error, "{what} is not there yet; trying again");
                tokio::time::sleep(limits::CONNECT_RETRY).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
