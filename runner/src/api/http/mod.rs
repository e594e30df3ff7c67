//! InfluxDB 3's HTTP API: its paths, fields, texts and, where it answers right, its status codes.

mod body;
mod databases;
mod dead_letters;
mod engine;
mod environment;
mod flight;
mod format;
mod params;
mod plugin_test;
mod plugins;
mod progress;
mod query;
mod reply;
mod triggers;
mod write;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{any, get, post, put};
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::clock::SharedClock;
use crate::dispatch::Engine;
use crate::host::DataApi;

use reply::json;

/// What the handlers share.
#[derive(Clone)]
pub struct HttpApi {
    /// The triggers.
    pub engine: Arc<Engine>,
    /// The data, when the runner holds it itself.
    pub data: Option<Arc<dyn DataApi>>,
    /// The time.
    pub clock: SharedClock,
    /// Identity of this process, in `/ping`.
    pub process_id: Uuid,
    /// Largest request body, bytes.
    pub request_bytes_max: usize,
}

/// Serves the API until `stop` resolves; requests that run are finished.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    api: HttpApi,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("TCP_NODELAY: {error}");
        }
    });
    axum::serve(listener, router(api)).with_graceful_shutdown(stop).await
}

fn router(api: HttpApi) -> Router {
    let triggers = "/api/v3/configure/processing_engine_trigger";
    let environment = "/api/v3/configure/plugin_environment";
    let letters = "/api/v3/configure/dead_letter";
    Router::new()
        .route("/health", get(|| async { "OK" }))
        .route("/ping", get(ping))
        .route("/metrics", get(metrics))
        .route("/api/v3/write_lp", post(write::v3))
        .route("/api/v2/write", post(write::v2))
        .route("/write", post(write::v1))
        .route("/api/v3/query_sql", get(query::get).post(query::post))
        .route("/api/v3/configure/database", get(databases::list).post(databases::create).delete(databases::delete))
        .route(triggers, post(triggers::create).delete(triggers::delete))
        .route(&format!("{triggers}/requirements"), put(triggers::requirements))
        .route(&format!("{triggers}/enable"), post(triggers::enable))
        .route(&format!("{triggers}/disable"), post(triggers::disable))
        .route("/api/v3/plugin_test/wal", post(plugin_test::wal))
        .route("/api/v3/plugin_test/schedule", post(plugin_test::schedule))
        .route("/api/v3/plugin_test/request", post(plugin_test::request))
        .route("/api/v3/plugins/files", post(plugins::create_file).put(plugins::update_file))
        .route("/api/v3/plugins/directory", put(plugins::update_directory))
        .route(environment, get(environment::show))
        .route(&format!("{environment}/diff"), post(environment::diff))
        .route(&format!("{environment}/lock"), post(environment::lock))
        .route(&format!("{environment}/sync"), post(environment::sync))
        .route(&format!("{environment}/install_packages"), post(environment::install_packages))
        .route(&format!("{environment}/install_requirements"), post(environment::install_requirements))
        .route(letters, get(dead_letters::list))
        .route(&format!("{letters}/{{id}}"), get(dead_letters::get).delete(dead_letters::discard))
        .route(&format!("{letters}/{{id}}/replay"), post(dead_letters::replay))
        .route("/api/v3/engine/", any(engine::call_root))
        .route("/api/v3/engine/{*path}", any(engine::call))
        .route("/api/v3/databases/{database}/engine/{*path}", any(engine::call_in))
        .route_service(flight::ROUTE, flight::service(api.clone()))
        .method_not_allowed_fallback(not_found)
        .fallback(not_found)
        .with_state(api)
}

async fn ping(axum::extract::State(api): axum::extract::State<HttpApi>) -> axum::response::Response {
    let version = env!("CARGO_PKG_VERSION");
    let body = serde_json::json!({
        "product_name": "Bulkhead",
        "version": version,
        "revision": option_env!("BULKHEAD_REVISION").unwrap_or("unknown"),
        "process_id": api.process_id.to_string(),
    });
    ([("x-influxdb-version", version), ("x-influxdb-build", "Bulkhead")], json(StatusCode::OK, &body)).into_response()
}

/// Everything that is counted. Asking the kernel about workers must not hold up other requests.
async fn metrics(axum::extract::State(api): axum::extract::State<HttpApi>) -> axum::response::Response {
    match tokio::task::spawn_blocking(move || api.engine.metrics()).await {
        Ok(text) => {
            ([(axum::http::header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn not_found() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "Not found")
}
