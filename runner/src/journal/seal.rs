//! Checksums of records. The database has some for its pages, but looks at them only when it opens its file.

use bytes::Bytes;

/// Bytes behind a value: the checksums of its key and of itself. With two of them it is known whose value a damaged one is.
const TRAILER_BYTES: usize = 8;

/// A value that is not as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The value of this key.
    Value,
    /// Nobody can say of which key.
    Key,
}

/// A value with its checksums behind it.
pub(super) fn seal(key: &str, value: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(value.len() + TRAILER_BYTES);
    sealed.extend_from_slice(value);
    sealed.extend_from_slice(&crc32fast::hash(key.as_bytes()).to_le_bytes());
    sealed.extend_from_slice(&crc32fast::hash(value).to_le_bytes());
    sealed
}

/// Checks what [`seal`] made, and gives the value.
pub(super) fn check<'a>(key: &str, sealed: &'a [u8]) -> Result<&'a [u8], Broken> {
    let (rest, of_value) = sealed.split_last_chunk::<4>().ok_or(Broken::Key)?;
    let (value, of_key) = rest.split_last_chunk::<4>().ok_or(Broken::Key)?;
    if u32::from_le_bytes(*of_key) != crc32fast::hash(key.as_bytes()) {
        return Err(Broken::Key);
    }
    if u32::from_le_bytes(*of_value) != crc32fast::hash(value) {
        return Err(Broken::Value);
    }
    Ok(value)
}

/// The same, as bytes of their own.
pub(super) fn unseal(key: &str, sealed: &[u8]) -> Result<Bytes, Broken> {
    check(key, sealed).map(Bytes::copy_from_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_that_changes_is_noticed_and_a_damaged_value_has_its_key() {
        for value in [&b""[..], b"v", b"some value"] {
            let sealed = seal("key", value);
            assert_eq!(unseal("key", &sealed).unwrap(), value);
            assert_eq!(unseal("kez", &sealed), Err(Broken::Key));
            for bit in 0..sealed.len() * 8 {
                let mut damaged = sealed.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                let expected = match bit / 8 {
                    byte if (value.len()..value.len() + 4).contains(&byte) => Broken::Key,
                    _ => Broken::Value,
                };
                assert_eq!(unseal("key", &damaged), Err(expected), "bit {bit}");
            }
        }
        assert_eq!(unseal("key", b"short"), Err(Broken::Key));
    }
}
