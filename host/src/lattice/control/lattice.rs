//! Requests about the lattice's data: links and configs. Any host may serve them for all, so nothing here depends on what runs on this one.

use serde_json::json;

use super::{Control, read};
use crate::lattice::links;
use crate::lattice::settings::SECRET_PREFIX;
use crate::lattice::store::StoreError;
use crate::lattice::wire::{ConfigMap, Link, LinkKey, Reply, is_token};
use crate::limits;
use crate::manifest::LinkPolicy;

impl Control {
    pub(super) fn links(&self) -> Reply {
        Reply::with(self.member.store.links().iter().map(Link::json).collect())
    }

    pub(super) async fn put_link(&self, body: &[u8]) -> Reply {
        let link: Link = match read(body) {
            Ok(link) => link,
            Err(reply) => return reply,
        };
        let outcome = match self.check_link(&link).await {
            Ok(()) => self.store_link(&link).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => {
                self.member.events.link_set(&link).await;
                self.tell_put(&link).await;
                Reply::done("")
            }
            Err(error) => {
                self.member.events.link_failed(&link, &error).await;
                Reply::refused(error)
            }
        }
    }

    async fn check_link(&self, link: &Link) -> Result<(), String> {
        links::check(link).map_err(|error| error.to_string())?;
        let names: Vec<String> = link.configs().cloned().collect();
        self.member.store.load_configs(&names).await?;
        let store = &self.member.store;
        match names.iter().find(|name| store.known_config(name).is_none() || store.is_deleted(name)) {
            Some(name) => Err(format!("the lattice has no config `{name}`")),
            None => self.check_policy(link),
        }
    }

    /// A policy that is misspelt would protect nobody.
    fn check_policy(&self, link: &Link) -> Result<(), String> {
        let settings = self.member.known_policy(&link.source_config).map_err(|error| error.to_string())?;
        LinkPolicy::read(&settings).map(drop).map_err(|errors| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            let Link { source_id, target, wit_namespace, wit_package, .. } = link;
            format!("link `{source_id}` -> `{target}` ({wit_namespace}:{wit_package}): {}", errors.join("; "))
        })
    }

    async fn store_link(&self, link: &Link) -> Result<(), String> {
        let changed = self.member.store.change_links(&link.source_id, |links| links::put(links, link)).await;
        changed.map(|_| ()).map_err(|error| error.to_string())
    }

    pub(super) async fn delete_link(&self, body: &[u8]) -> Reply {
        let key: LinkKey = match read(body) {
            Ok(key) => key,
            Err(reply) => return reply,
        };
        if !is_token(&key.source_id) {
            return Reply::refused(format!("`{}` is no id", key.source_id));
        }
        let deleted = self
            .member
            .store
            .change_links(&key.source_id, |links| Ok::<_, std::convert::Infallible>(links::delete(links, &key)));
        let gone: Vec<Link> = match deleted.await {
            Ok(gone) => gone,
            Err(StoreError::Refused(never)) => match never {},
            Err(error) => return Reply::refused(error.to_string()),
        };
        for link in &gone {
            self.tell_deleted(link).await;
            self.member.events.link_deleted(&key, Some(link)).await;
        }
        if gone.is_empty() {
            self.member.events.link_deleted(&key, None).await;
        }
        Reply::done("")
    }

    /// Providers that do not seal secrets hear of links on this subject. Links with secrets are not for them.
    async fn tell_put(&self, link: &Link) {
        if link.configs().any(|name| name.starts_with(SECRET_PREFIX)) {
            return;
        }
        let merged = |names: &[String]| -> ConfigMap {
            names.iter().filter_map(|name| self.member.store.known_config(name)).flatten().collect()
        };
        self.tell(link, "put", &merged(&link.source_config), &merged(&link.target_config)).await;
    }

    async fn tell_deleted(&self, link: &Link) {
        let none = ConfigMap::new();
        self.tell(link, "del", &none, &none).await;
    }

    async fn tell(&self, link: &Link, what: &str, source_config: &ConfigMap, target_config: &ConfigMap) {
        let mut data = link.json();
        if let Some(map) = data.as_object_mut() {
            map.insert("source_config".to_owned(), json!(source_config));
            map.insert("target_config".to_owned(), json!(target_config));
        }
        for id in [&link.source_id, &link.target] {
            let subject = format!("wasmbus.rpc.{}.{id}.linkdefs.{what}", self.member.lattice);
            if let Err(error) = self.member.rpc.publish(subject, data.to_string().into()).await {
                tracing::warn!(%error, "a provider does not hear of a link");
            }
        }
    }

    pub(super) async fn config(&self, name: &str) -> Reply {
        if !is_token(name) {
            return Reply::refused(format!("`{name}` is no name of a config"));
        }
        match self.member.store.stored_config(name).await {
            Ok(Some(config)) => Reply::with(json!(config)),
            Ok(None) => Reply::done("Configuration not found"),
            Err(error) => Reply::refused(error),
        }
    }

    pub(super) async fn put_config(&self, name: &str, body: &[u8]) -> Reply {
        if !is_token(name) {
            return Reply::refused(format!("`{name}` is no name of a config: letters, digits, `-` and `_`"));
        }
        if body.len() > limits::MAX_CONFIG_BYTES {
            return Reply::refused(format!("a config has at most {} bytes", limits::MAX_CONFIG_BYTES));
        }
        let config: ConfigMap = match read(body) {
            Ok(config) => config,
            Err(reply) => return reply,
        };
        match self.member.store.put_config(name, &config).await {
            Ok(()) => {
                self.member.events.config(name, false).await;
                Reply::done("")
            }
            Err(error) => Reply::refused(error),
        }
    }

    pub(super) async fn delete_config(&self, name: &str) -> Reply {
        if !is_token(name) {
            return Reply::refused(format!("`{name}` is no name of a config"));
        }
        match self.member.store.delete_config(name).await {
            Ok(()) => {
                self.member.events.config(name, true).await;
                Reply::done("")
            }
            Err(error) => Reply::refused(error),
        }
    }
}
