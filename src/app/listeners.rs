//! Where the program listens, for viewers and for browsers.

use anyhow::{Context, bail};
use tracing::{info, warn};

use crate::cli::{Plain, Serve};
use crate::spice::PlainChannels;
use crate::transport::{Address, Listener};

/// Where to listen if nobody says otherwise.
const USUAL_ADDRESS: &str = "127.0.0.1:5900";

/// The sockets that viewers connect to, and what leads to them.
pub(super) struct Listeners {
    /// All of them.
    pub(super) sockets: Vec<Listener>,
    /// The URIs for SPICE clients.
    pub(super) uris: Vec<String>,
    /// The URLs of the page.
    pub(super) pages: Vec<String>,
}

impl Listeners {
    /// Listens where `options` say. `is_closed` says that viewers have to show something.
    pub(super) async fn open(
        options: &Serve,
        plain: &PlainChannels,
        is_closed: bool,
    ) -> anyhow::Result<Self> {
        let (mut sockets, has_tls) = (Vec::new(), options.tls_creds.is_some());
        let secure = has_tls && *plain != PlainChannels::All;
        let addresses = addresses(options)?.into_iter().map(|address| (address, false));
        let web = options.web_addr.iter().cloned().map(|address| (address, true));
        let (mut uris, mut pages) = (Vec::new(), Vec::new());
        for (address, has_page) in addresses.chain(web) {
            let Some(mut listener) = Listener::bind(&address).await? else { continue };
            if has_page {
                listener = listener.with_page();
                let is_open = has_tls || matches!(options.plain, Some(Plain::All));
                if !is_open && !listener.is_local() {
                    bail!(
                        "--web-addr {address}: others could read along, and browsers have no video on such pages: \
                         give --tls-creds, or an address of this machine alone such as 127.0.0.1:8080"
                    );
                }
                pages.extend(listener.page(has_tls));
            } else {
                uris.push(if secure { listener.tls_uri() } else { listener.uri().to_owned() });
            }
            if !is_closed && !listener.is_local() {
                warn!(
                    address = listener.uri(),
                    "whoever reaches this address sees and controls the machine: give --password-file"
                );
            }
            sockets.push(listener);
        }
        Ok(Self { sockets, uris, pages })
    }
}

/// Listens for a monitoring system, if there is to be one.
pub(super) async fn metrics(address: Option<&Address>) -> anyhow::Result<Option<Listener>> {
    let Some(address) = address else { return Ok(None) };
    let listener = Listener::bind(address).await.context("--metrics-addr")?.map(Listener::with_page);
    if let Some(listener) = &listener {
        let place = listener.page(false).unwrap_or_else(|| listener.uri().to_owned());
        info!(address = place, "numbers for a monitoring system");
    }
    Ok(listener)
}

/// The addresses to listen on: those that the user gives, else the sockets that systemd passes (sd_listen_fds(3)).
fn addresses(options: &Serve) -> anyhow::Result<Vec<Address>> {
    if !options.spice_addr.is_empty() {
        return Ok(options.spice_addr.clone());
    }
    let passed: Vec<Address> = sd_notify::listen_fds()
        .context("LISTEN_FDS, the sockets that systemd passes")?
        .map(Address::Fd)
        .collect();
    if passed.is_empty() { Ok(vec![USUAL_ADDRESS.parse()?]) } else { Ok(passed) }
}
