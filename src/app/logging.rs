//! The log: lines on standard error, or under systemd entries of the journal.
//!
//! In the journal each field of a line is a field of its own, `QEMU_SPICE_` and its name, and the lines about clients
//! have a `MESSAGE_ID` to find them by.

use std::io::{self, IsTerminal};

use tracing::Metadata;
use tracing_subscriber::filter::{EnvFilter, FilterFn, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// The lines that have a `MESSAGE_ID`, by their names.
const MESSAGE_IDS: [(&str, &str); 3] = [
    ("login", "0b87dcda619545b5b67a6f9444642b99"),
    ("end", "a3f14f03a8984f3da97138ca0f4275f0"),
    ("refusal", "52e0435b0baa4d95925b5a78f60185b0"),
];

/// Starts the log.
pub(super) fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("qemu_spice=info"));
    if is_journal() && start_journal(&filter).is_ok() {
        return;
    }
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
}

/// Returns whether standard error goes to the journal, as systemd tells in `JOURNAL_STREAM` (systemd.exec(5)).
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(io::stderr()).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

fn start_journal(filter: &EnvFilter) -> io::Result<()> {
    let layer =
        || Ok::<_, io::Error>(tracing_journald::layer()?.with_field_prefix(Some("QEMU_SPICE".to_owned())));
    let mut layers = vec![layer()?.with_filter(named(None)).boxed()];
    for (name, id) in MESSAGE_IDS {
        layers.push(layer()?.with_custom_fields([("MESSAGE_ID", id)]).with_filter(named(Some(name))).boxed());
    }
    let filter = EnvFilter::new(filter.to_string());
    tracing_subscriber::registry().with(layers).with(filter).init();
    Ok(())
}

/// Lets through the lines of this name, or those that have none of [`MESSAGE_IDS`].
fn named(name: Option<&'static str>) -> FilterFn<impl Fn(&Metadata<'_>) -> bool> {
    filter_fn(move |line| match name {
        Some(name) => line.name() == name,
        None => MESSAGE_IDS.iter().all(|(name, _)| line.name() != *name),
    })
}
