//! Splits line protocol into parts that fit a message.

use bulkhead_proto::transport::PAYLOAD_PART_BYTES;
use bytes::Bytes;

/// Splits at line ends into parts of about `PAYLOAD_PART_BYTES`, without a copy. A longer line is a
/// part of its own.
pub fn split_lines(mut lines: Bytes) -> Vec<Bytes> {
    let mut parts = Vec::new();
    while lines.len() > PAYLOAD_PART_BYTES {
        let within = lines.get(..PAYLOAD_PART_BYTES).and_then(|head| head.iter().rposition(|&byte| byte == b'\n'));
        let after = || lines.iter().position(|&byte| byte == b'\n');
        let Some(end) = within.or_else(after) else { break };
        parts.push(lines.split_to(end + 1));
    }
    if !lines.is_empty() {
        parts.push(lines);
    }
    parts
}
