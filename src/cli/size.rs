//! Parsers for sizes, byte ranges, times and shares as typed: `4M`, `100K..`, `0..+1G`, `100ms`, `10%`.

use std::time::Duration;

use crate::batch::policy::Breaker;
use crate::pipeline::plan::ContentRange;

/// Parses a number of bytes with an optional suffix K, M, G or T, a power of 1024; `KiB`, `KB` and the like work too.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits_len = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, suffix) = text.split_at(digits_len);
    let number: u64 = match digits {
        "" => return Err("a size is a number of bytes, or one with K, M, G or T behind it".to_owned()),
        digits => digits.parse().map_err(|_| "the number is too large".to_owned())?,
    };
    let power = match suffix.to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 1,
        "M" | "MB" | "MIB" => 2,
        "G" | "GB" | "GIB" => 3,
        "T" | "TB" | "TIB" => 4,
        _ => return Err(format!("unknown suffix {suffix:?}: K, M, G and T are known, powers of 1024")),
    };
    number.checked_mul(1 << (10 * power)).ok_or_else(|| "the number is too large".to_owned())
}

/// Parses a time: a number followed by `ms`, `s`, `m` or `h`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits_len = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at(digits_len);
    let number: u64 = digits.parse().map_err(|_| "a time is a number with ms, s, m or h behind it".to_owned())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("unknown unit {unit:?}: ms, s, m and h are known")),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(|| "the number is too large".to_owned())
}

/// Parses the limit on failures: a number of files, or a percentage of them.
pub fn parse_breaker(text: &str) -> Result<Breaker, String> {
    let bad = || format!("'{}' is neither a number of files nor a share like 10%", text.escape_debug());
    match text.strip_suffix('%') {
        Some(percent) => match percent.parse() {
            Ok(percent @ 0..=100u8) => Ok(Breaker::Share(f64::from(percent) / 100.0)),
            _ => Err(bad()),
        },
        None => match text.parse() {
            Ok(0) => Err("0 failures are no limit: --on-error stop stops at the first".to_owned()),
            Ok(count) => Ok(Breaker::Count(count)),
            Err(_) => Err(bad()),
        },
    }
}

/// Parses a half-open range in bytes of the content: `A..B`, `A..`, `..B` or `A..+LEN`.
pub fn parse_range(text: &str) -> Result<ContentRange, String> {
    let (start, end) = text.split_once("..").ok_or("a range is A..B, A.., ..B or A..+LEN")?;
    let start = if start.is_empty() { 0 } else { parse_size(start)? };
    let end = match end.strip_prefix('+') {
        _ if end.is_empty() => return Ok(if start == 0 { ContentRange::All } else { ContentRange::From(start) }),
        Some(len) => start.checked_add(parse_size(len)?).ok_or("the range ends beyond any file")?,
        None => parse_size(end)?,
    };
    if end < start {
        return Err(format!("the range ends at {end}, before it starts at {start}"));
    }
    Ok(ContentRange::Within(start..end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_powers_of_1024() {
        for (text, bytes) in
            [("0", 0), ("17", 17), ("64k", 65536), ("4M", 4 << 20), ("1GiB", 1 << 30), ("2TB", 2 << 40)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "-1", "1.5M", "4X", "99999999999999999999", "99999999999T"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_are_half_open() {
        use ContentRange::{All, From, Within};
        for (text, range) in [
            ("1..5", Within(1..5)),
            ("..1K", Within(0..1024)),
            ("1K..+1K", Within(1024..2048)),
            ("7..7", Within(7..7)),
            ("9..", From(9)),
            ("..", All),
        ] {
            assert_eq!(parse_range(text), Ok(range), "{text}");
        }
        for text in ["", "5", "5..1", "1..x", "18446744073709551615..+1"] {
            assert!(parse_range(text).is_err(), "{text}");
        }
    }
}
