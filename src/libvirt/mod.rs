//! What libvirt says of a virtual machine, which it calls a domain: where its display is, and what its metadata says of
//! how to serve it.
//!
//! Pure: `app` runs libvirt's programs and is run by its hooks.

mod domain;
mod settings;

pub(crate) use domain::XML_MAX;
pub use domain::{Display, Domain, DomainError, OwnBus, without_own_bus};
pub use settings::{Setting, configuration};
pub(crate) use settings::{instance, quoted};
