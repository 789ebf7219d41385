//! Numbers with units.

/// The least bits a second that show anything.
const MIN_BITRATE: u64 = 200_000;

/// Bits a second: a number, or one of thousands (`k`) or millions (`M`).
pub(super) fn bitrate(text: &str) -> Result<u64, String> {
    let wrong = || format!("give bits a second, such as 4M, 800k or 2500000, not less than {MIN_BITRATE}");
    let (number, unit) = match text.strip_suffix(['k', 'K']) {
        Some(thousands) => (thousands, 1000.0),
        None => text.strip_suffix('M').map_or((text, 1.0), |millions| (millions, 1_000_000.0)),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    format!("{:.0}", number * unit).parse().ok().filter(|rate| *rate >= MIN_BITRATE).ok_or_else(wrong)
}

/// Reads a duration in seconds, minutes, hours or days.
pub(super) fn duration(text: &str) -> Result<u64, String> {
    let wrong = || "give a duration, such as 90s, 30m, 2h or 7d".to_owned();
    let unit = |unit: char, seconds: u64| text.strip_suffix(unit).map(|number| (number, seconds));
    let units = [unit('s', 1), unit('m', 60), unit('h', 3600), unit('d', 24 * 3600)];
    let (number, seconds) = units.into_iter().flatten().next().ok_or_else(wrong)?;
    let number = number.parse::<u64>().ok().filter(|_| number.bytes().all(|byte| byte.is_ascii_digit()));
    number.and_then(|number| number.checked_mul(seconds)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_bits_a_second() {
        for (text, rate) in [("4M", 4_000_000), ("2.5M", 2_500_000), ("800k", 800_000), ("300000", 300_000)] {
            assert_eq!(bitrate(text), Ok(rate), "{text}");
        }
        for text in ["", "M", "fast", "100k", "-4M", "nan", "inf", "1e300M"] {
            assert!(bitrate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_duration_has_a_unit() {
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("2h", 7200), ("7d", 604_800)] {
            assert_eq!(duration(text), Ok(seconds), "{text}");
        }
        for text in
            ["", "90", "h", "-1h", "+1h", "1.5h", "99999999999999999999s", "9999999999999999999d", "2 h"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
