//! Answers kube-scheduler: the extender protocol over mutual TLS, from the placement ledger.
//!
//! A request passes `https` (TLS with a client certificate, limits), `server` (its name, the
//! path, who owns the ledger) and one verb. `filter`, `prioritize` and `preempt` answer from memory
//! (`verbs`), `bind` writes (`bind`). Beside them run the gate that follows the Lease (`owner`), the
//! supply of budgets (`supply`), the resolver of Bindings whose outcome is unknown (`bind`), a
//! watchdog, and where they are switched on: the endpoint that leads the scheduler to the owner
//! (`endpoint_slice`), the opener of scheduling gates (`gates`) and the eviction of excess (`reclaim`).
//! Which pods have to go for which is told by `notices`.

mod bind;
mod endpoint_slice;
mod gates;
mod notices;
mod owner;
mod pace;
mod reclaim;
mod server;
mod settings;
mod supply;
mod verbs;
mod watchdog;
mod wire;

#[cfg(test)]
mod played;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::OptionFuture;
use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::bind::{Binder, Term};
use self::notices::Teller;
use self::owner::Gate;
use self::server::Service;
use self::supply::Supply;
use crate::control::Published;
use crate::https::{BindError, Clients, Files, Listener, Meters};
use crate::instruments::Instruments;
use crate::kubernetes::{Bindings, Events, Leadership, LeaseGuard, Placements};

pub use endpoint_slice::{Endpoints, keep};
pub use gates::Gatekeeper;
pub use owner::Relist;
pub use reclaim::Reclaimer;
pub use settings::{EndpointSlice, Gates, Reclaim, Settings};

/// Why the extender cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting cannot work.
    #[error("{0}")]
    Settings(String),
    /// The certificates or the address cannot be used.
    #[error("scheduler extender: {0}")]
    Bind(#[from] BindError),
}

/// What the extender works with.
pub struct Parts {
    /// The ledger.
    pub placements: Placements,
    /// Writes pods, where gates or reclaim are switched on, our endpoint and Events.
    pub client: Client,
    /// Names this process in Events.
    pub identity: String,
    /// The address under which a scheduler reaches this replica.
    pub advertise: IpAddr,
    /// Sends Bindings.
    pub bindings: Bindings,
    /// Who holds the Lease.
    pub leadership: watch::Receiver<Leadership>,
    /// Whether that still holds, asked right before each Binding.
    pub guard: LeaseGuard,
    /// Where decisions appear.
    pub published: watch::Receiver<Option<Arc<Published>>>,
    /// Reads all pods anew.
    pub relist: Relist,
    /// What a domain in breach may use beyond its budget: 0.1 = 10 %.
    pub band: f64,
    /// How long a breach counts after the last decision that said so.
    pub breach: Duration,
    /// Our metrics.
    pub instruments: Arc<Instruments>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// The extender, listening but not yet answering.
pub struct Extender {
    listener: Listener<Service>,
    binder: Binder,
    gate: Gate,
    supply: Supply,
    placements: Placements,
    edges: Edges,
}

/// The owner's work besides answering: it tells of preemptions, and does the rest where that is switched on.
struct Edges {
    client: Client,
    placements: Placements,
    guard: LeaseGuard,
    owner: watch::Receiver<bool>,
    /// Where a scheduler reaches us.
    address: SocketAddr,
    settings: Settings,
    events: Events,
    instruments: Arc<Instruments>,
}

impl Edges {
    /// Works until the gate is gone, which alone tells who owns the ledger.
    async fn run(self) {
        let Self { client, placements, guard, owner, address, settings, events, instruments } =
            self;
        let Settings { endpoint_slice: slice, gates, reclaim, .. } = settings;
        let endpoint = slice.enabled.then(|| {
            let endpoints = Endpoints { namespace: slice.namespace, name: slice.name, address };
            let still = move || guard.still_leading();
            keep(client.clone(), endpoints, owner.clone(), still)
        });
        let gatekeeper = gates.enabled.then(|| {
            let outcomes = instruments.extender.gates.clone();
            Gatekeeper::new(
                placements.clone(),
                client.clone(),
                gates.per_second,
                owner.clone(),
                outcomes,
            )
            .run()
        });
        let reclaimer = reclaim.enabled.then(|| {
            let outcomes = instruments.extender.evictions.clone();
            let pace = (reclaim.delay_seconds, reclaim.per_minute);
            let (placements, client) = (placements.clone(), client.clone());
            let reclaimer = Reclaimer::new(placements, client, pace, owner.clone(), outcomes);
            reclaimer.telling(events.clone()).run()
        });
        let teller = Teller::new(placements, events, owner.clone(), Arc::clone(&instruments));
        tokio::join!(
            OptionFuture::from(endpoint),
            OptionFuture::from(gatekeeper),
            OptionFuture::from(reclaimer),
            teller.run(),
        );
    }
}

impl std::fmt::Debug for Extender {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Extender").field("address", &self.address()).finish_non_exhaustive()
    }
}

impl Extender {
    /// Loads the certificates and listens. `pair` is the serving pair (certificate, key) where the
    /// settings name none.
    pub async fn bind(
        settings: &Settings,
        pair: (PathBuf, PathBuf),
        parts: Parts,
    ) -> Result<Self, StartError> {
        settings.validate().map_err(StartError::Settings)?;
        let Some(ca) = settings.client_ca_file.clone() else {
            return Err(StartError::Settings("extender.clientCaFile is needed".to_owned()));
        };
        let Parts { placements, bindings, leadership, guard, published, relist, band, .. } = parts;
        let (instruments, term) = (parts.instruments, Term::default());
        let binder = Binder::new(
            placements.clone(),
            bindings,
            guard.clone(),
            term.clone(),
            settings.bind_timeout(),
            Arc::clone(&instruments),
        );
        let service = Arc::new(Service {
            placements: placements.clone(),
            binder: binder.clone(),
            client_names: settings.client_names.clone(),
            instruments: Arc::clone(&instruments),
        });
        let files = Files {
            certificate: settings.cert_file.clone().unwrap_or(pair.0),
            key: settings.key_file.clone().unwrap_or(pair.1),
            clients: Clients::SignedBy(ca),
        };
        let own = &instruments.extender;
        let meters = Meters {
            connections: own.connections.clone(),
            handshake_failures: own.handshake_failures.clone(),
            expiry: own.serving_cert_expiry.clone(),
            reloads: own.serving_cert_reloads.clone(),
        };
        let listener = Listener::bind(settings.listening(), files, service, meters).await?;
        let (owning, owner) = watch::channel(false);
        let edges = Edges {
            events: Events::new(parts.client.clone(), parts.identity),
            client: parts.client,
            placements: placements.clone(),
            guard: guard.clone(),
            owner,
            address: SocketAddr::new(parts.advertise, listener.address().port()),
            settings: settings.clone(),
            instruments: Arc::clone(&instruments),
        };
        let gate = Gate {
            placements: placements.clone(),
            leadership,
            owner: owning,
            guard,
            term,
            fence: settings.fence(),
            relist,
            closer: listener.closer(),
            instruments: Arc::clone(&instruments),
        };
        let supply = Supply {
            published,
            placements: placements.clone(),
            band,
            breach: parts.breach,
            instruments,
        };
        Ok(Self { listener, binder, gate, supply, placements, edges })
    }

    /// The address that we listen on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Answers until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        tokio::join!(
            self.edges.run(),
            self.listener.run(stop.clone()),
            self.gate.run(stop.clone()),
            self.supply.run(stop.clone()),
            self.binder.resolve(stop.clone()),
            watchdog::guard(self.placements, stop),
        );
    }
}
