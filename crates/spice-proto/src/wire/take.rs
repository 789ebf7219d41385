//! Gathers bytes that arrive in pieces.

/// Moves bytes from the front of `input` until `bytes` has `wanted`; tells whether it has.
///
/// Room is made for what has arrived, not for what was announced.
pub(crate) fn take(bytes: &mut Vec<u8>, input: &mut &[u8], wanted: usize) -> bool {
    let missing = wanted.saturating_sub(bytes.len()).min(input.len());
    let (front, rest) = input.split_at_checked(missing).unwrap_or((input, &[]));
    bytes.extend_from_slice(front);
    *input = rest;
    bytes.len() >= wanted
}
