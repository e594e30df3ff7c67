//! Text of line protocol: what needs a backslash, and numbers as Python writes them.

use std::fmt::Write as _;

/// Characters that mean something somewhere in a line, as bits.
pub(super) const SPACE: u8 = 1;
/// See [`SPACE`].
pub(super) const COMMA: u8 = 2;
/// See [`SPACE`].
pub(super) const EQUALS: u8 = 4;
/// See [`SPACE`].
pub(super) const BACKSLASH: u8 = 8;
/// See [`SPACE`].
pub(super) const QUOTE: u8 = 16;
/// `\n` and `\r`, see [`SPACE`].
pub(super) const LINE_END: u8 = 32;

/// What each byte is. All that matters is ASCII, so bytes of longer characters are nothing.
const BITS: [u8; 256] = {
    let mut bits = [0; 256];
    bits[b' ' as usize] = SPACE;
    bits[b',' as usize] = COMMA;
    bits[b'=' as usize] = EQUALS;
    bits[b'\\' as usize] = BACKSLASH;
    bits[b'"' as usize] = QUOTE;
    bits[b'\n' as usize] = LINE_END;
    bits[b'\r' as usize] = LINE_END;
    bits
};

/// Which of these characters a text has.
pub(super) fn bits(text: &str) -> u8 {
    text.bytes().fold(0, |all, byte| all | BITS[usize::from(byte)])
}

/// Appends text with a backslash before what is `special`. Where [`LINE_END`] is special an end of line becomes two characters,
/// as other writers of line protocol do it: outside of string fields there is no way to have one in a line.
pub(super) fn escape(line: &mut String, text: &str, special: u8) {
    if bits(text) & special == 0 {
        line.push_str(text);
        return;
    }
    for character in text.chars() {
        let bit = u8::try_from(character).map_or(0, |byte| BITS[usize::from(byte)]);
        match character {
            '\n' if bit & special != 0 => line.push_str("\\n"),
            '\r' if bit & special != 0 => line.push_str("\\r"),
            _ => {
                if bit & special != 0 {
                    line.push('\\');
                }
                line.push(character);
            }
        }
    }
}

/// Appends an integer.
pub(super) fn push_integer(text: &mut String, value: i64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        text.push('-');
    }
    // Digits are text.
    text.push_str(std::str::from_utf8(&digits[first..]).unwrap_or_default());
}

/// Appends a float as `repr` writes it, and whole ones in full.
pub(super) fn push_float(text: &mut String, value: f64) {
    /// Up to here every whole float is an integer that has 64 bits, and nothing is lost on the way.
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    // Writing to a string does not fail.
    if value.abs() <= WHOLE_MAX {
        let whole = value as i64;
        if whole as f64 == value {
            // Python goes by way of `int`, which has no negative zero.
            push_integer(text, whole);
            text.push_str(".0");
        } else if value.abs() >= 1e-4 {
            // The shortest digits that mean this number.
            let _ = write!(text, "{value}");
        } else {
            push_small(text, value);
        }
    } else if value.is_nan() {
        text.push_str("nan");
    } else if value.is_infinite() {
        text.push_str(if value > 0.0 { "inf" } else { "-inf" });
    } else {
        // So large a float is whole.
        let _ = write!(text, "{value:.0}.0");
    }
}

/// A number near zero: `repr` writes it with an exponent of at least two digits.
fn push_small(text: &mut String, value: f64) {
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once("e-").unwrap_or((&scientific, "0"));
    let _ = write!(text, "{digits}e-{exponent:0>2}");
}
