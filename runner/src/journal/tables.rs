//! Rows of a batch as the value of a record.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::host::FeedTable;

/// Tables as bytes: for each its name, the number of its rows and the Arrow stream, texts and streams with their length before
/// them as `u32`.
#[must_use]
pub fn encode_tables(tables: &[FeedTable]) -> Bytes {
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    let mut encoded = BytesMut::with_capacity(tables.iter().map(|it| it.ipc.len() + it.table.len() + 16).sum());
    for table in tables {
        encoded.put_u32_le(length(table.table.len()));
        encoded.put_slice(table.table.as_bytes());
        encoded.put_u64_le(table.rows as u64);
        encoded.put_u32_le(length(table.ipc.len()));
        encoded.put_slice(&table.ipc);
    }
    encoded.freeze()
}

/// Reads what [`encode_tables`] wrote.
///
/// # Errors
/// What does not hold.
pub fn decode_tables(mut bytes: Bytes) -> Result<Vec<FeedTable>, String> {
    fn part(bytes: &mut Bytes) -> Result<Bytes, String> {
        let length = bytes.try_get_u32_le().map_err(|error| error.to_string())? as usize;
        if bytes.len() < length {
            return Err(format!("{length} bytes should follow, {} do", bytes.len()));
        }
        Ok(bytes.split_to(length))
    }
    let mut tables = Vec::new();
    while bytes.has_remaining() {
        let table = String::from_utf8(part(&mut bytes)?.to_vec()).map_err(|error| error.to_string())?;
        let rows = bytes.try_get_u64_le().map_err(|error| error.to_string())?;
        let rows = usize::try_from(rows).map_err(|error| error.to_string())?;
        tables.push(FeedTable { table, rows, ipc: part(&mut bytes)? });
    }
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_read_back_and_every_cut_is_noticed() {
        let table = |name: &str, rows| FeedTable { table: name.to_owned(), rows, ipc: vec![7; rows * 3].into() };
        let tables = [table("a", 2), table("ü", 0)];
        let bytes = encode_tables(&tables);
        assert_eq!(decode_tables(bytes.clone()).unwrap(), tables);
        let whole_tables = [0, bytes.len() - encode_tables(&tables[1..]).len()];
        for length in (0..bytes.len()).filter(|length| !whole_tables.contains(length)) {
            assert!(decode_tables(bytes.slice(..length)).is_err(), "cut at {length}");
        }
    }
}
