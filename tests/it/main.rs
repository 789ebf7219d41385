//! The program against the outside: a scripted QEMU for what the real one does rarely, and the real one.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr
)]

mod gpu;
mod presence;
mod private_bus;
mod real_qemu;
mod relay;
mod scripted_qemu;
mod scripted_viewer;
mod source;
