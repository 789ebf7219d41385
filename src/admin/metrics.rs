//! What a monitoring system asks for over HTTP: `/metrics` in OpenMetrics' form, `/healthz` and `/readyz`.
//!
//! All is looked up when it is asked for: between two questions nothing is done. No label tells who a viewer is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::encode::Encoders;
use crate::hub::Hub;
use crate::spice::Access;
use crate::transport::{Listener, Socket};
use crate::viewer::Roster;

/// How many are answered at a time; more wait in the system's queue.
const MAX_CONNECTIONS: usize = 8;

/// How long a connection may take from its first byte to its last.
const DEADLINE: Duration = Duration::from_secs(5);

/// The most bytes of a request's head, the least that the HTTP library takes.
const MAX_HEAD: usize = 8 << 10;

/// Pause after the system refused a connection, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// OpenMetrics' text form, version 1.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Where all the numbers are.
#[derive(Clone)]
pub(crate) struct Metrics {
    hub: Hub,
    roster: Roster,
    access: Access,
    encoders: Option<Encoders>,
}

impl Metrics {
    /// Makes them of the guest, the viewers, the clients and the encoders, if there are any.
    pub(crate) fn new(hub: &Hub, roster: &Roster, access: &Access, encoders: Option<&Encoders>) -> Self {
        let (hub, roster, access) = (hub.clone(), roster.clone(), access.clone());
        Self { hub, roster, access, encoders: encoders.cloned() }
    }

    /// Answers whoever connects to `listener`, until the end.
    pub(crate) async fn serve(self, listener: Listener, end: CancellationToken) {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        let (registry, places) = (Arc::new(registry), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
        loop {
            let Some(Ok(place)) = end.run_until_cancelled(places.clone().acquire_owned()).await else {
                return;
            };
            match end.run_until_cancelled(listener.accept()).await {
                None => return,
                Some(Ok(socket)) => {
                    let (hub, registry) = (self.hub.clone(), registry.clone());
                    tokio::spawn(async move {
                        let answered = tokio::time::timeout(DEADLINE, answer(socket, &hub, &registry)).await;
                        if !matches!(answered, Ok(Ok(()))) {
                            debug!(?answered, "a question for numbers was not answered");
                        }
                        drop(place);
                    });
                }
                Some(Err(error)) => {
                    warn!(%error, "cannot accept a connection for numbers");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Answers one connection's requests.
async fn answer(socket: Socket, hub: &Hub, registry: &Registry) -> hyper::Result<()> {
    let service = hyper::service::service_fn(async |request: Request<Incoming>| {
        Ok::<_, std::convert::Infallible>(respond(&request, hub, registry))
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false) // the deadline would cut an answer off
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(socket), service)
        .await
}

fn respond(request: &Request<Incoming>, hub: &Hub, registry: &Registry) -> Response<Full<Bytes>> {
    let text = |status, kind, text: String| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
        response
    };
    let plain = |status, words: &str| text(status, "text/plain; charset=utf-8", format!("{words}\n"));
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "ask with GET");
    }
    match request.uri().path() {
        "/metrics" => {
            let mut numbers = String::new();
            match encode(&mut numbers, registry) {
                Ok(()) => text(StatusCode::OK, OPEN_METRICS, numbers),
                Err(fmt::Error) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the numbers cannot be written"),
            }
        }
        "/healthz" => plain(StatusCode::OK, "running"),
        "/readyz" if hub.guest().borrow().consoles.is_empty() => {
            plain(StatusCode::SERVICE_UNAVAILABLE, "waiting for a virtual machine")
        }
        "/readyz" => plain(StatusCode::OK, "serving a virtual machine"),
        _ => plain(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz"),
    }
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = Families(encoder);
        let (guest, sessions) = (self.hub.guest().borrow().clone(), self.access.sessions());
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        family.gauge("build", "Which version runs", [(version, 1.0)])?;
        let attached = f64::from(u8::from(!guest.consoles.is_empty()));
        family.gauge("attached", "Whether a virtual machine is attached", [(UNLABELLED, attached)])?;
        family.gauge("clients", "Clients that are in", [(UNLABELLED, float(sessions.count()))])?;
        family.counter("logins", "Clients that were let in", [(UNLABELLED, float(sessions.let_in()))])?;
        let refused = self.roster.refused();
        let refused = refused.iter().map(|(why, count)| ([("reason", why.name())], float(*count)));
        family.counter("refused", "Connections that were not let in", refused)?;
        let (sent, received) = self.access.traffic().bytes();
        family.counter("sent_bytes", "Bytes sent to clients", [(UNLABELLED, float(sent))])?;
        family.counter("received_bytes", "Bytes received from clients", [(UNLABELLED, float(received))])?;
        self.encode_pictures(&mut family)?;
        self.encode_guest(&mut family, guest.consoles.keys().copied())
    }
}

impl Metrics {
    /// How pictures get to viewers.
    fn encode_pictures(&self, family: &mut Families<'_>) -> fmt::Result {
        let mut viewers = std::collections::BTreeMap::<_, u64>::new();
        for viewer in self.roster.snapshot() {
            let tier = viewer.tier.map_or("", |tier| tier.name());
            *viewers.entry((viewer.console.0, viewer.transport, viewer.delivery, tier)).or_default() += 1;
        }
        let labels = viewers.iter().map(|((console, over, delivery, tier), count)| {
            let console = console.to_string();
            let pairs = [
                ("console", console),
                ("over", over.to_string()),
                ("delivery", delivery.clone()),
                ("tier", tier.to_string()),
            ];
            (pairs, float(*count))
        });
        family.gauge("viewers", "Viewers of a console, by how they get the picture", labels)?;
        let totals = self.roster.totals();
        family.counter("pictures_sent", "Pictures given to viewers", [(UNLABELLED, float(totals.sent))])?;
        let help = "Pictures that a viewer did not get because a newer one came first";
        family.counter("pictures_dropped", help, [(UNLABELLED, float(totals.dropped))])?;
        let by_packing = |what: fn(crate::viewer::Images) -> u64| {
            totals.images.each().map(|(packing, images)| ([("packing", packing)], float(what(images))))
        };
        let help = "Pixels of exact images, by how they are packed";
        family.counter("image_pixels", help, by_packing(|images| images.pixels))?;
        family.counter("image_bytes", "What these were packed into", by_packing(|images| images.bytes))?;
        let encoded = self.encoders.as_ref().map(Encoders::counts).unwrap_or_default();
        let by_codec = |what: fn(&crate::encode::EncodeCounts) -> f64| {
            encoded.iter().map(move |(codec, counts)| ([("codec", codec.name())], what(counts)))
        };
        family.counter("encoded_frames", "Frames encoded", by_codec(|counts| float(counts.frames)))?;
        family.counter(
            "encoded_key_frames",
            "Key frames among them",
            by_codec(|counts| float(counts.keys)),
        )?;
        family.counter("encoded_bytes", "Bytes of the frames", by_codec(|counts| float(counts.bytes)))?;
        family.counter("encode_seconds", "Time it took", by_codec(|counts| counts.time.as_secs_f64()))
    }

    /// What the guest notices of us.
    fn encode_guest(
        &self,
        family: &mut Families<'_>,
        consoles: impl Iterator<Item = crate::frame::ConsoleId>,
    ) -> fmt::Result {
        let draws: Vec<_> =
            consoles.filter_map(|id| Some((id.0.to_string(), self.hub.console(id)?.draws()))).collect();
        let by_console = |what: fn(&crate::hub::Draws) -> f64| {
            draws.iter().map(move |(console, draws)| ([("console", console.as_str())], what(draws)))
        };
        family.counter(
            "guest_frames",
            "Frames in the guest's own buffers that were answered",
            by_console(|d| float(d.answered)),
        )?;
        let help = "Frames that were answered because the time was up";
        family.counter("guest_frames_late", help, by_console(|draws| float(draws.late)))?;
        let help = "Time that the guest was held for its frames";
        family.counter("guest_held_seconds", help, by_console(|draws| draws.held.as_secs_f64()))
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// No labels: the number is the only one of its name.
const UNLABELLED: [(&str, &str); 0] = [];

/// Writes metrics of one name, each with its labels.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn gauge<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        self.write(MetricType::Gauge, name, help, values)
    }

    /// Writes a counter: the library adds `_total`.
    fn counter<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        self.write(MetricType::Counter, name, help, values)
    }

    fn write<L: EncodeLabelSet>(
        &mut self,
        kind: MetricType,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        let name = format!("qemu_spice_{name}");
        let mut family = self.0.encode_descriptor(&name, help, None::<&Unit>, kind)?;
        for (labels, value) in values {
            let mut one = family.encode_family(&labels)?;
            match kind {
                MetricType::Counter => one.encode_counter::<NoLabelSet, _, f64>(&value, None)?,
                _ => one.encode_gauge(&value)?,
            }
        }
        Ok(())
    }
}

/// Converts a count. OpenMetrics' numbers are floating: beyond 2^53 the last digits are lost.
fn float(count: impl TryInto<u64>) -> f64 {
    let count: u64 = count.try_into().unwrap_or(u64::MAX);
    let [high, low] = [count >> 32, count & 0xffff_ffff].map(|half| u32::try_from(half).unwrap_or(u32::MAX));
    f64::from(high) * 4_294_967_296.0 + f64::from(low)
}
