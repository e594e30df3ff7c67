//! Rows as JSON, JSON lines, CSV, a table for people, or Parquet.

use std::str::FromStr;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use parquet::arrow::ArrowWriter;

use super::reply::Refusal;
use crate::host::{HostError, Rows};
use crate::limits;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    JsonLines,
    Csv,
    Pretty,
    Parquet,
}

impl FromStr for Format {
    type Err = Refusal;

    fn from_str(name: &str) -> Result<Self, Refusal> {
        match name {
            "json" => Ok(Self::Json),
            "jsonl" | "json_lines" => Ok(Self::JsonLines),
            "csv" => Ok(Self::Csv),
            "pretty" => Ok(Self::Pretty),
            "parquet" => Ok(Self::Parquet),
            other => Err(Refusal::bad_request(format!(
                "unknown format `{other}`, expected one of `json`, `jsonl`, `csv`, `pretty`, `parquet`"
            ))),
        }
    }
}

impl Format {
    /// The format that an `Accept` header names, JSON otherwise.
    pub(super) fn accepted(header: Option<&str>) -> Self {
        let all = [Self::JsonLines, Self::Csv, Self::Pretty, Self::Parquet];
        let header = header.unwrap_or_default();
        all.into_iter()
            .find(|format| header.contains(format.content_type().split(';').next().unwrap_or_default()))
            .unwrap_or(Self::Json)
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::JsonLines => "application/jsonl",
            Self::Csv => "text/csv",
            Self::Pretty => "text/plain; charset=utf-8",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    fn response(self, body: Body) -> Response {
        ([(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type()))], body).into_response()
    }
}

/// All rows at once.
pub(super) fn batches(format: Format, schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<Response, Refusal> {
    let mut writer = Writer::new(format, &schema).map_err(internal)?;
    let mut bytes = Vec::new();
    for batch in &batches {
        bytes.extend(writer.write(batch).map_err(internal)?);
    }
    bytes.extend(writer.finish().map_err(internal)?);
    Ok(format.response(bytes.into()))
}

/// Rows as they come. A failure before the first row is an answer with its status; a later one cuts the answer off.
pub(super) async fn rows(format: Format, rows: Rows) -> Result<Response, Refusal> {
    let Rows { schema, mut batches } = rows;
    let first = batches.try_next().await?;
    let rest = stream::iter(first.map(Ok)).chain(batches).boxed();
    let writer = Writer::new(format, &schema).map_err(internal)?;
    if matches!(format, Format::Pretty | Format::Parquet) {
        return Ok(format.response(collected(writer, rest).await?.into()));
    }
    Ok(format.response(Body::from_stream(encoded(writer, rest))))
}

/// Formats that are complete only at the end.
async fn collected(
    mut writer: Writer,
    mut batches: BoxStream<'static, Result<RecordBatch, HostError>>,
) -> Result<Bytes, Refusal> {
    let mut bytes = 0;
    while let Some(batch) = batches.try_next().await? {
        bytes += batch.get_array_memory_size();
        if bytes > limits::QUERY_RESULT_BYTES_MAX {
            let max = limits::QUERY_RESULT_BYTES_MAX;
            let text = format!(
                "the result has more than {max} bytes, which is the limit `query_result_bytes_max`; use format `jsonl` or `csv`"
            );
            return Err(Refusal(StatusCode::UNPROCESSABLE_ENTITY, text));
        }
        writer.write(&batch).map_err(internal)?;
    }
    writer.finish().map(Bytes::from).map_err(internal)
}

/// Formats that are written batch by batch.
fn encoded(
    writer: Writer,
    batches: BoxStream<'static, Result<RecordBatch, HostError>>,
) -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
    stream::try_unfold((Some(writer), batches), |(writer, mut batches)| async move {
        let Some(mut writer) = writer else { return Ok(None) };
        let broken = |error: String| std::io::Error::other(error);
        match batches.try_next().await.map_err(|error| broken(error.to_string()))? {
            Some(batch) => {
                let bytes = writer.write(&batch).map_err(|error| broken(error.to_string()))?;
                Ok(Some((Bytes::from(bytes), (Some(writer), batches))))
            }
            None => {
                let bytes = writer.finish().map_err(|error| broken(error.to_string()))?;
                Ok(Some((Bytes::from(bytes), (None, batches))))
            }
        }
    })
}

fn internal(error: ArrowError) -> Refusal {
    Refusal(StatusCode::INTERNAL_SERVER_ERROR, format!("the rows cannot be written in this format: {error}"))
}

/// Turns batches into bytes.
enum Writer {
    Json(Box<arrow::json::ArrayWriter<Vec<u8>>>),
    JsonLines(Box<arrow::json::LineDelimitedWriter<Vec<u8>>>),
    Csv { header: Option<SchemaRef> },
    Pretty { schema: SchemaRef, batches: Vec<RecordBatch> },
    Parquet(Box<ArrowWriter<Vec<u8>>>),
}

impl Writer {
    fn new(format: Format, schema: &SchemaRef) -> Result<Self, ArrowError> {
        Ok(match format {
            Format::Json => Self::Json(Box::new(arrow::json::ArrayWriter::new(Vec::new()))),
            Format::JsonLines => Self::JsonLines(Box::new(arrow::json::LineDelimitedWriter::new(Vec::new()))),
            Format::Csv => Self::Csv { header: Some(schema.clone()) },
            Format::Pretty => Self::Pretty { schema: schema.clone(), batches: Vec::new() },
            Format::Parquet => Self::Parquet(Box::new(ArrowWriter::try_new(Vec::new(), schema.clone(), None)?)),
        })
    }

    /// Takes in a batch and returns what is ready to be sent.
    fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        match self {
            Self::Json(writer) => {
                writer.write(batch)?;
                Ok(std::mem::take(writer.get_mut()))
            }
            Self::JsonLines(writer) => {
                writer.write(batch)?;
                Ok(std::mem::take(writer.get_mut()))
            }
            Self::Csv { header } => csv(batch, header.take().is_some()),
            Self::Pretty { batches, .. } => {
                batches.push(batch.clone());
                Ok(Vec::new())
            }
            Self::Parquet(writer) => {
                writer.write(batch)?;
                Ok(Vec::new())
            }
        }
    }

    fn finish(&mut self) -> Result<Vec<u8>, ArrowError> {
        match self {
            Self::Json(writer) => {
                writer.finish()?;
                Ok(std::mem::take(writer.get_mut()))
            }
            Self::JsonLines(writer) => {
                writer.finish()?;
                Ok(std::mem::take(writer.get_mut()))
            }
            Self::Csv { header } => match header.take() {
                Some(schema) => csv(&RecordBatch::new_empty(schema), true),
                None => Ok(Vec::new()),
            },
            Self::Pretty { schema, batches } => {
                if batches.is_empty() {
                    batches.push(RecordBatch::new_empty(schema.clone()));
                }
                Ok(arrow::util::pretty::pretty_format_batches(batches)?.to_string().into_bytes())
            }
            Self::Parquet(writer) => {
                writer.finish()?;
                Ok(std::mem::take(writer.inner_mut()))
            }
        }
    }
}

fn csv(batch: &RecordBatch, header: bool) -> Result<Vec<u8>, ArrowError> {
    let mut bytes = Vec::new();
    arrow::csv::WriterBuilder::new().with_header(header).build(&mut bytes).write(batch)?;
    Ok(bytes)
}
