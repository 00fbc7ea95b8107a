//! From a configuration to a running operator: watches, leadership, four controllers, and the way out.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::Resource;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config as ControllerConfig, Controller, Error as ControllerError};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{ObjectRef, Store};
use meridian_crds::BillingRegion;
use meridian_daemon::Process;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use crate::caches::Caches;
use crate::client::{fenced, unfenced};
use crate::context::{Context, Memory, Pace, Shared};
use crate::control::ControlPort;
use crate::entries::{self, CatalogueKind};
use crate::fence::Fence;
use crate::foreign_secrets::ForeignSecrets;
use crate::lease::Elector;
use crate::metrics::Metrics;
use crate::reconcile::{Failed, pass};
use crate::region;
use crate::settings::Config;
use crate::watch::{self, Guarded, Queues, Scope, Wakes};

/// The name of the Lease.
const LEASE: &str = "meridian-operator";
/// Passes that an object asks for in quick succession become one.
const DEBOUNCE: Duration = Duration::from_millis(300);

/// Runs until it is told to stop, or leadership is lost: then it fails, and the pod starts again as a follower.
pub async fn run(config: Config, process: Process) -> anyhow::Result<()> {
    let cluster =
        kube::Config::infer().await.context("finding the API server: run in a pod, or set KUBECONFIG")?;
    let metrics = Metrics::default();
    metrics.register(&mut process.metrics.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
    let fence = Fence::shut();
    let client = fenced(cluster.clone(), fence.clone(), metrics.clone())?;
    let leases: Api<Lease> = Api::namespaced(unfenced(cluster)?, &config.namespace);

    let scope = Scope {
        client: client.clone(),
        namespace: config.watch_namespace.clone(),
        namespaces: config.operator.labels_namespaces,
    };
    let (caches, writers) = Caches::empty();
    let (wakes, queues) = Wakes::new();
    let _watches = watch::start(&scope, &caches, writers, &wakes);
    let context = Arc::new(Context {
        client: client.clone(),
        caches: caches.clone(),
        operator: config.operator.clone(),
        images: config.images.clone(),
        recorder: Recorder::new(
            client,
            Reporter { controller: LEASE.to_owned(), instance: Some(config.identity.clone()) },
        ),
        metrics: metrics.clone(),
        control: ControlPort::new(&config.control_url, fence.clone())?,
        pace: Pace::default(),
        memory: Memory::default(),
        foreign_secrets: ForeignSecrets::default(),
    });

    // A follower is ready too: it waits with warm caches.
    let warm = process.health.check("caches");
    tokio::select! {
        () = caches.wait_until_ready() => warm.set_ok(),
        () = process.shutdown.cancelled() => return Ok(()),
    }
    let mut elector = Elector::new(leases, LEASE, &config.identity, config.lease, fence);
    tokio::select! {
        () = elector.acquire() => {}
        () = process.shutdown.cancelled() => return Ok(()),
    }
    tracing::info!(identity = config.identity, "leading");
    metrics.leader(true);
    wakes.lead(&caches);

    let stop = CancellationToken::new();
    let mut controllers = tokio::spawn(controllers(context, queues, config.concurrency, stop.clone()));
    let lost = tokio::select! {
        () = elector.hold() => true,
        () = process.shutdown.cancelled() => false,
        ended = &mut controllers => {
            ended.context("the controllers")?;
            bail!("the controllers ended by themselves");
        }
    };
    metrics.leader(false);
    if lost {
        // The fence is shut: whatever still runs writes nothing.
        bail!("leadership was lost");
    }
    // Passes that have begun are finished under the lease, which is held on to meanwhile.
    stop.cancel();
    tokio::select! {
        ended = &mut controllers => ended.context("the controllers")?,
        () = elector.hold() => bail!("leadership was lost while stopping"),
    }
    elector.release().await.context("giving up the lease")
}

/// The four controllers, until `stop`.
pub async fn controllers(context: Shared, queues: Queues, concurrency: u16, stop: CancellationToken) {
    let Queues { regions, meters, plans, tenants } = queues;
    let caches = context.caches.clone();
    let region = |ctx: Shared, region: BillingRegion| async move { region::reconcile(&ctx, &region).await };
    tokio::join!(
        controller(caches.regions, regions, &context, concurrency, &stop, region::KIND, region),
        catalogue(caches.meters, meters, &context, concurrency, &stop),
        catalogue(caches.plans, plans, &context, concurrency, &stop),
        catalogue(caches.tenants, tenants, &context, concurrency, &stop),
    );
}

async fn catalogue<K: CatalogueKind>(
    store: Store<Guarded<K>>,
    queue: UnboundedReceiver<ObjectRef<Guarded<K>>>,
    context: &Shared,
    concurrency: u16,
    stop: &CancellationToken,
) {
    let run = |ctx: Shared, object: K| async move { entries::reconcile(&ctx, &object).await };
    controller(store, queue, context, concurrency, stop, K::NAME, run).await;
}

async fn controller<K, E, F>(
    store: Store<Guarded<K>>,
    queue: UnboundedReceiver<ObjectRef<Guarded<K>>>,
    context: &Shared,
    concurrency: u16,
    stop: &CancellationToken,
    kind: &'static str,
    run: impl Fn(Shared, K) -> F + Clone + Send + Sync + 'static,
) where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
    E: std::error::Error + Send + 'static,
    F: Future<Output = Result<Action, E>> + Send + 'static,
{
    let queue =
        futures::stream::unfold(queue, |mut queue| async { queue.recv().await.map(|item| (item, queue)) });
    // `watch` does the watching; the queue says who is to be looked at.
    Controller::for_stream(futures::stream::pending(), store)
        .with_config(ControllerConfig::default().concurrency(concurrency).debounce(DEBOUNCE))
        .reconcile_on(queue)
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(
            move |object: Arc<DeserializeGuard<K>>, ctx: Shared| pass(ctx, kind, object, run.clone()),
            |_, failed: &Failed, _| Action::requeue(failed.retry_after),
            context.clone(),
        )
        .for_each(|result| async move {
            match result {
                // Failed passes are logged where they failed; an object that is gone needs no pass.
                Ok(_) | Err(ControllerError::ReconcilerFailed(..) | ControllerError::ObjectNotFound(_)) => {}
                Err(error) => tracing::error!(kind, %error, "the controller's queue"),
            }
        })
        .await;
}
