//! Queries over Arrow Flight, as InfluxDB 3's client libraries send them: `DoGet` with a ticket in JSON, on the port of the
//! HTTP API.

use std::collections::BTreeMap;

use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult, Ticket,
};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use serde::Deserialize;
use serde_json::Value;
use tonic::{Request, Response, Status, Streaming};

use super::HttpApi;
use super::query::parameter;
use crate::host::{HostError, Query};

/// Paths of the service.
pub(super) const ROUTE: &str = "/arrow.flight.protocol.FlightService/{*method}";

/// The service.
pub(super) fn service(api: HttpApi) -> FlightServiceServer<Flight> {
    FlightServiceServer::new(Flight { api })
}

/// Answers `DoGet`; nothing else is used by the clients.
pub(super) struct Flight {
    api: HttpApi,
}

/// What a client asks for.
#[derive(Deserialize)]
struct Question {
    #[serde(alias = "db", alias = "namespace_name", alias = "bucket")]
    database: String,
    #[serde(alias = "query")]
    sql_query: String,
    #[serde(default)]
    query_type: Option<String>,
    #[serde(default)]
    params: Option<BTreeMap<String, Value>>,
}

type Answer<T> = Result<Response<T>, Status>;
type Items<T> = BoxStream<'static, Result<T, Status>>;

fn unsupported<T>(what: &str) -> Result<T, Status> {
    Err(Status::unimplemented(format!("Flight {what} is not supported; query with DoGet")))
}

#[tonic::async_trait]
impl FlightService for Flight {
    type HandshakeStream = Items<HandshakeResponse>;
    type ListFlightsStream = Items<FlightInfo>;
    type DoGetStream = Items<FlightData>;
    type DoPutStream = Items<PutResult>;
    type DoActionStream = Items<arrow_flight::Result>;
    type ListActionsStream = Items<ActionType>;
    type DoExchangeStream = Items<FlightData>;

    async fn do_get(&self, request: Request<Ticket>) -> Answer<Self::DoGetStream> {
        let ticket = request.into_inner().ticket;
        let question: Question = serde_json::from_slice(&ticket)
            .map_err(|error| Status::invalid_argument(format!("the ticket cannot be read: {error}")))?;
        if let Some(other) = question.query_type.filter(|kind| kind != "sql") {
            return Err(Status::invalid_argument(format!("query type `{other}` is not supported, only `sql`")));
        }
        let parameters = question.params.unwrap_or_default().into_iter().map(parameter);
        let parameters = parameters.collect::<Result<_, _>>().map_err(|refusal| Status::invalid_argument(refusal.1))?;
        let query = Query { trigger: None, database: question.database, sql: question.sql_query, parameters };
        let rows = self.api.engine.host().query(query).await.map_err(|error| status(&error))?;
        let batches = rows.batches.map_err(|error| FlightError::Tonic(Box::new(status(&error))));
        let encoded = FlightDataEncoderBuilder::new().with_schema(rows.schema).build(batches);
        Ok(Response::new(encoded.map_err(Status::from).boxed()))
    }

    async fn handshake(&self, _: Request<Streaming<HandshakeRequest>>) -> Answer<Self::HandshakeStream> {
        unsupported("Handshake")
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Answer<Self::ListFlightsStream> {
        unsupported("ListFlights")
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Answer<FlightInfo> {
        unsupported("GetFlightInfo")
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Answer<PollInfo> {
        unsupported("PollFlightInfo")
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Answer<SchemaResult> {
        unsupported("GetSchema")
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Answer<Self::DoPutStream> {
        unsupported("DoPut")
    }

    async fn do_action(&self, _: Request<Action>) -> Answer<Self::DoActionStream> {
        unsupported("DoAction")
    }

    async fn list_actions(&self, _: Request<Empty>) -> Answer<Self::ListActionsStream> {
        unsupported("ListActions")
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Answer<Self::DoExchangeStream> {
        unsupported("DoExchange")
    }
}

fn status(error: &HostError) -> Status {
    match error {
        HostError::DatabaseNotFound(_) => Status::not_found(error.to_string()),
        HostError::Planning(text) | HostError::Execution(text) | HostError::InvalidWrite(text) => {
            Status::invalid_argument(text)
        }
        HostError::Limit(text) => Status::resource_exhausted(text),
        HostError::Unavailable(text) => Status::unavailable(text),
    }
}
