//! Requests that start, change and stop components and providers. They are checked and queued here; what comes of them is told by events.

use std::time::Instant;

use serde_json::json;

use super::{Control, read};
use crate::lattice::commands::component::Command;
use crate::lattice::wire::{Auction, Reply, Scale, StartProvider, StopProvider, Update, is_token};

impl Control {
    pub(super) fn auction_component(&self, body: &[u8]) -> Option<Reply> {
        let auction = self.auction(body)?;
        if self.member.inventory().components.contains_key(&auction.component_id) {
            return None;
        }
        Some(Reply::with(json!({
            "component_ref": auction.component_ref, "component_id": auction.component_id,
            "host_id": self.member.identity.id, "constraints": auction.constraints,
        })))
    }

    pub(super) fn auction_provider(&self, body: &[u8]) -> Option<Reply> {
        let auction = self.auction(body)?;
        // wash sends the link's name here instead of an id; nothing runs under that one.
        if self.member.inventory().providers.contains_key(&auction.component_id) {
            return None;
        }
        Some(Reply::with(json!({
            "provider_ref": auction.component_ref, "provider_id": auction.component_id,
            "host_id": self.member.identity.id, "constraints": auction.constraints,
        })))
    }

    /// Who cannot be chosen stays silent.
    fn auction(&self, body: &[u8]) -> Option<Auction> {
        let auction: Auction = read(body).ok()?;
        self.member.labels.satisfy(&auction.constraints).then_some(auction)
    }

    pub(super) fn scale(&self, body: &[u8]) -> Reply {
        let scale: Scale = match read(body) {
            Ok(scale) => scale,
            Err(reply) => return reply,
        };
        if let Some(reply) = self.misdirected(&scale.host_id, &scale.component_id) {
            return reply;
        }
        if self.member.inventory().providers.contains_key(&scale.component_id) {
            return Reply::refused(format!("`{}` is the id of a provider that runs here", scale.component_id));
        }
        let running = self.components.running(&scale.component_id);
        let message = match running {
            Some(running) if scale.count > 0 && running.version.reference != scale.component_ref => {
                format!("component ID updating from {} to {}", running.version.reference, scale.component_ref)
            }
            _ => String::new(),
        };
        let id = scale.component_id.clone();
        match self.components.submit(&id, Command::Scale { scale, arrived: Instant::now() }) {
            Ok(()) => Reply::done(message),
            Err(error) => Reply::refused(error.to_string()),
        }
    }

    pub(super) fn update(&self, body: &[u8]) -> Reply {
        let update: Update = match read(body) {
            Ok(update) => update,
            Err(reply) => return reply,
        };
        if let Some(reply) = self.misdirected(&update.host_id, &update.component_id) {
            return reply;
        }
        let (id, new) = (update.component_id.clone(), update.new_component_ref.clone());
        let Some(running) = self.components.running(&id) else {
            return Reply::refused(format!("component ID not found: {id}"));
        };
        let old = running.version.reference;
        // A file may have other bytes under the same reference: `wash dev` and `xtask dev` build in place.
        if old == new && !new.starts_with("file://") {
            return Reply::done(format!("component ID {id} already updated to {new}"));
        }
        match self.components.submit(&id, Command::Update { update, arrived: Instant::now() }) {
            Ok(()) => Reply::done(format!("component ID updating from {old} to {new}")),
            Err(error) => Reply::refused(error.to_string()),
        }
    }

    pub(super) fn start_provider(&self, body: &[u8]) -> Reply {
        let start: StartProvider = match read(body) {
            Ok(start) => start,
            Err(reply) => return reply,
        };
        if let Some(reply) = self.misdirected(&start.host_id, &start.provider_id) {
            return reply;
        }
        if self.member.inventory().components.contains_key(&start.provider_id) {
            return Reply::refused(format!("`{}` is the id of a component that runs here", start.provider_id));
        }
        match self.providers.start(start) {
            Ok(()) => Reply::done("successfully started provider"),
            Err(error) => Reply::refused(error.to_string()),
        }
    }

    pub(super) fn stop_provider(&self, body: &[u8]) -> Reply {
        let stop: StopProvider = match read(body) {
            Ok(stop) => stop,
            Err(reply) => return reply,
        };
        if let Some(reply) = self.misdirected(&stop.host_id, &stop.provider_id) {
            return reply;
        }
        match self.providers.stop(&stop.provider_id) {
            Ok(()) => Reply::done("successfully stopped provider"),
            Err(error) => Reply::refused(error.to_string()),
        }
    }

    fn misdirected(&self, host: &str, id: &str) -> Option<Reply> {
        if self.is_for_another(host) {
            return Some(Reply::refused(format!("this host is {}", self.member.identity.id)));
        }
        (!is_token(id)).then(|| Reply::refused(format!("`{id}` is no id: letters, digits, `-` and `_`")))
    }
}
