//! Serves the screens of a VM that runs under `qemu -display dbus` to SPICE clients and local D-Bus viewers.
//!
//! ```text
//!     source ──► hub ──► viewer (decides) ──► passthrough │ encode │ images ──► spice ──► transport
//!        ▲                                                                  └─► relay
//!        └──────────────────────────── GuestCommand ◄───────────────────────────────┘
//! ```
//!
//! Pixels go from left to right through the folders in this order; what goes back is a plain value.
//! `ARCHITECTURE.md` says what each folder may use, and `tests/architecture.rs` holds them to it.
#![cfg_attr(test, allow(clippy::as_conversions))]

mod admin;
pub mod app;
mod cli;
mod display1;
mod encode;
mod frame;
mod hub;
#[doc(hidden)]
pub mod internals;
mod libvirt;
mod page;
mod publish;
mod relay;
mod sandbox;
mod sound;
mod source;
mod spice;
mod sys;
mod transport;
mod viewer;
