//! Request bodies: bounded, and unpacked when they are gzipped.

use std::io::Read;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};

use super::reply::Refusal;

/// Reads the whole body, at most `bytes_max` bytes before and after unpacking.
pub(super) async fn read(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Bytes, Refusal> {
    let too_large = || Refusal(StatusCode::PAYLOAD_TOO_LARGE, format!("max request size ({bytes_max} bytes) exceeded"));
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > bytes_max) {
        return Err(too_large());
    }
    let bytes = match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => return Err(too_large()),
        Err(error) => return Err(Refusal::bad_request(format!("error reading the request body: {error}"))),
    };
    match headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes()) {
        None | Some(b"identity") => Ok(bytes),
        Some(b"gzip") => {
            let unpacked = tokio::task::spawn_blocking(move || unpack(&bytes, bytes_max)).await;
            match unpacked {
                Ok(Ok(Some(bytes))) => Ok(bytes),
                Ok(Ok(None)) => Err(too_large()),
                Ok(Err(error)) => Err(Refusal::bad_request(format!("invalid gzip body: {error}"))),
                Err(error) => Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
            }
        }
        Some(other) => {
            let other = String::from_utf8_lossy(other);
            Err(Refusal::bad_request(format!("invalid content-encoding `{other}`, expected `gzip` or `identity`")))
        }
    }
}

/// The unpacked bytes, or `None` when there are more than `bytes_max`.
fn unpack(bytes: &[u8], bytes_max: usize) -> std::io::Result<Option<Bytes>> {
    let mut unpacked = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).take(bytes_max as u64 + 1).read_to_end(&mut unpacked)?;
    Ok((unpacked.len() <= bytes_max).then(|| unpacked.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_gzip_bomb_is_cut() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
        let packed = encoder.finish().unwrap();
        assert_eq!(unpack(&packed, 1 << 20).unwrap().unwrap().len(), 1 << 20);
        assert!(unpack(&packed, (1 << 20) - 1).unwrap().is_none());
        assert!(unpack(b"no gzip", 10).is_err());
    }
}
