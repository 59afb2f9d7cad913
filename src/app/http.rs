//! `/metrics`, `/livez`, `/readyz`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;

use super::StageError;
use super::reconcile_stage::ReconcileStatus;

/// Serves until the future is dropped. `status` is `None` where this process does not reconcile.
pub async fn serve(
    address: SocketAddr,
    metrics: PrometheusHandle,
    status: Option<Arc<ReconcileStatus>>,
) -> Result<(), StageError> {
    let ready = move || {
        let ready = status.as_ref().is_none_or(|status| status.is_ready());
        let answer = match ready {
            true => (StatusCode::OK, "ready\n"),
            false => {
                (StatusCode::SERVICE_UNAVAILABLE, "restoring: not every assigned partition has caught up once\n")
            }
        };
        std::future::ready(answer)
    };
    let router = Router::new()
        .route("/metrics", get(move || std::future::ready(metrics.render())))
        .route("/livez", get(|| std::future::ready("alive\n")))
        .route("/readyz", get(ready));
    let listen = |source| StageError::Listen { address, source };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(listen)?;
    tracing::info!(%address, "serving /metrics, /livez and /readyz");
    axum::serve(listener, router).await.map_err(listen)
}
