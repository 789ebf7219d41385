//! The log: lines on standard error, of text or of JSON, or entries of the journal.
//!
//! In the journal each field of a line is a field of its own, `QEMU_SPICE_` and its name, and the lines about clients
//! have a `MESSAGE_ID` to find them by. In JSON they have their names as `event`.

use std::io::{self, IsTerminal};

use anyhow::Context;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterFn, filter_fn};
use tracing_subscriber::fmt::format::{Format, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::LogFormat;

/// The lines that have a `MESSAGE_ID`, by their names.
const MESSAGE_IDS: [(&str, &str); 3] = [
    ("login", "0b87dcda619545b5b67a6f9444642b99"),
    ("end", "a3f14f03a8984f3da97138ca0f4275f0"),
    ("refusal", "52e0435b0baa4d95925b5a78f60185b0"),
];

/// Starts the log.
///
/// # Errors
/// If there is no journal, and the log was to be there.
pub(super) fn start(format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("qemu_spice=info"));
    match format {
        LogFormat::Auto if is_journal() && start_journal(&filter).is_ok() => {}
        LogFormat::Journal => start_journal(&filter).context("--log-format journal")?,
        LogFormat::Json => {
            let lines = tracing_subscriber::fmt().json().event_format(JsonLines::new());
            lines.with_env_filter(filter).with_writer(io::stderr).init();
        }
        LogFormat::Auto | LogFormat::Text => tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .init(),
    }
    Ok(())
}

/// Makes lines of JSON.
struct JsonLines(Format<Json>);

impl JsonLines {
    fn new() -> Self {
        let format = Format::default().json().flatten_event(true);
        Self(format.with_target(false).with_current_span(true).with_span_list(false))
    }
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let name = event.metadata().name();
        if MESSAGE_IDS.iter().any(|(known, _)| *known == name)
            && let Some(rest) = line.strip_prefix('{')
        {
            return write!(writer, "{{\"event\":\"{name}\",{rest}");
        }
        writer.write_str(&line)
    }
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
