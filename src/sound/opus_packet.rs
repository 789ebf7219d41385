//! How long a packet of Opus lasts: RFC 6716, section 3.1.

use std::time::Duration;

/// Returns how long the sound of a packet lasts, at most 120 ms; `None` if it is none.
pub(crate) fn packet_time(packet: &[u8]) -> Option<Duration> {
    /// The longest packet, in microseconds.
    const LONGEST: u32 = 120_000;
    let (&first, rest) = packet.split_first()?;
    let frame = match first >> 3 {
        silk @ 0..=11 => [10_000, 20_000, 40_000, 60_000].get(usize::from(silk % 4)).copied()?,
        hybrid @ 12..=15 => [10_000, 20_000].get(usize::from(hybrid % 2)).copied()?,
        celt => [2_500, 5_000, 10_000, 20_000].get(usize::from(celt % 4)).copied()?,
    };
    let frames = match first & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(rest.first()? & 0x3f),
    };
    let micros = frames * frame;
    (1..=LONGEST).contains(&micros).then(|| Duration::from_micros(micros.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_packet_lasts() {
        let time = |packet: &[u8]| packet_time(packet).map(|time| time.as_micros());
        assert_eq!(time(&[]), None);
        assert_eq!(time(&[30 << 3]), Some(10_000), "CELT of 10 ms, one frame");
        assert_eq!(time(&[28 << 3 | 1]), Some(5_000));
        assert_eq!(time(&[3 << 3 | 2]), Some(120_000));
        assert_eq!(time(&[13 << 3 | 3, 6]), Some(120_000));
        assert_eq!(time(&[13 << 3 | 3, 7]), None, "more than 120 ms");
        assert_eq!(time(&[13 << 3 | 3, 0x40]), None, "of no frame");
        assert_eq!(time(&[13 << 3 | 3]), None);
    }
}
