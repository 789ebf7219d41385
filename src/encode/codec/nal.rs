//! The byte stream of NAL units that H.264 and H.265 have in common (annex B of both).

/// Splits an Annex B byte stream into NAL units, without start codes and the zeros between them.
pub(crate) fn nal_units(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(stream);
    std::iter::from_fn(move || {
        let from = rest?;
        let end = start_code(from).unwrap_or(from.len());
        let (nal, tail) = from.split_at_checked(end)?;
        rest = after_start_code(tail);
        let used = nal.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        nal.get(..used)
    })
}

fn after_start_code(stream: &[u8]) -> Option<&[u8]> {
    stream.get(start_code(stream)? + 3..)
}

/// Finds the next 0, 0, 1.
fn start_code(stream: &[u8]) -> Option<usize> {
    memchr::memmem::find(stream, &[0, 0, 1])
}

/// Appends a NAL unit with a start code of four bytes.
pub(super) fn push_nal(out: &mut Vec<u8>, nal: &[u8]) {
    out.extend_from_slice(&[0, 0, 0, 1]);
    out.extend_from_slice(nal);
}
