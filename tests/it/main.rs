//! The program against the outside: a scripted QEMU for what the real one does rarely, and the real one.
#![cfg(test)]
#![allow(missing_docs, unreachable_pub, clippy::as_conversions)]

mod bus_tools;
mod clients;
mod gpu;
mod presence;
mod private_bus;
mod real_qemu;
mod relay;
mod scripted_qemu;
mod scripted_viewer;
mod source;
mod spice_link;
