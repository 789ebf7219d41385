//! TLS, with the files that QEMU and libvirt have: `ca-cert.pem`, `server-cert.pem`, `server-key.pem`, `ca-crl.pem`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::{ClientHello, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use super::Socket;
use super::peeked::Peeked;

const CERTIFICATE: &str = "server-cert.pem";
const KEY: &str = "server-key.pem";
const AUTHORITY: &str = "ca-cert.pem";
const REVOKED: &str = "ca-crl.pem";

/// The certificate that clients are shown, and those that are asked of them.
#[derive(Debug)]
pub(crate) struct Tls {
    folder: PathBuf,
    clients: ClientCertificates,
    config: RwLock<Arc<ServerConfig>>,
}

/// Whether clients have to show a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ClientCertificates {
    /// They are not asked.
    Ignored,
    /// They have to show one that `ca-cert.pem` signed and `ca-crl.pem` does not name.
    Required,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A file that has to be there cannot be read.
    #[error("cannot read {path}: {error}; `qemu-spice certificate FOLDER` makes what is needed", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// A file has other contents than its name says.
    #[error("{path} has no {wanted} in PEM form: {error}", path = path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// What is in such a file.
        wanted: &'static str,
        /// What is wrong.
        error: String,
    },
    /// The certificate and the key do not fit, or are of a kind that is not secure.
    #[error(
        "{certificate} and {key} cannot be used together: {error}",
        certificate = certificate.display(),
        key = key.display()
    )]
    Pair {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// What is wrong.
        error: rustls::Error,
    },
    /// No client could show a certificate that would do.
    #[error("the authority in {path} cannot be used to check clients: {error}", path = path.display())]
    Verifier {
        /// The authority's certificate.
        path: PathBuf,
        /// What is wrong.
        error: VerifierBuilderError,
    },
}

impl Tls {
    /// The files in a folder with a certificate. Not all have to be there.
    pub(crate) const FILES: [&str; 4] = [CERTIFICATE, KEY, AUTHORITY, REVOKED];

    /// Reads the files in `folder`.
    ///
    /// # Errors
    /// If one is missing, or does not fit the others.
    pub(crate) fn load(folder: &Path, clients: ClientCertificates) -> Result<Self, TlsError> {
        let config = RwLock::new(Arc::new(config(folder, clients)?));
        Ok(Self { folder: folder.into(), clients, config })
    }

    /// Reads the files again. Connections that exist stay as they are.
    ///
    /// # Errors
    /// As [`Self::load`]; then the files read before stay in use.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        let config = Arc::new(config(&self.folder, self.clients)?);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// Reads the authority's certificate, in PEM form; `None` if it is not there.
    pub(crate) fn authority(&self) -> Option<String> {
        std::fs::read_to_string(self.folder.join(AUTHORITY)).ok()
    }

    /// Takes a client through its handshake. `greeted` is called when it has sent a whole TLS greeting.
    ///
    /// # Errors
    /// If the connection breaks, or what the client sends or shows will not do.
    pub(super) async fn accept(
        &self,
        socket: Peeked<Socket>,
        greeted: impl FnOnce(ClientHello<'_>),
    ) -> io::Result<TlsStream<Peeked<Socket>>> {
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), socket).await?;
        greeted(start.client_hello());
        let config = Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner));
        start.into_stream(config).await
    }
}

fn config(folder: &Path, clients: ClientCertificates) -> Result<ServerConfig, TlsError> {
    let (certificate, key) = (folder.join(CERTIFICATE), folder.join(KEY));
    let chain = read_all::<CertificateDer<'static>>(&certificate, "certificate")?;
    let bytes = Zeroizing::new(read(&key)?);
    let private =
        PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| contents(&key, "private key", &error))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let pair = |error| TlsError::Pair { certificate: certificate.clone(), key: key.clone(), error };
    let builder = builder.with_safe_default_protocol_versions().map_err(pair)?;
    let builder = match clients {
        ClientCertificates::Ignored => builder.with_no_client_auth(),
        ClientCertificates::Required => {
            let path = folder.join(AUTHORITY);
            let mut roots = RootCertStore::empty();
            for authority in read_all::<CertificateDer<'static>>(&path, "certificate")? {
                roots.add(authority).map_err(|error| contents(&path, "certificate", &error))?;
            }
            let revoked = folder.join(REVOKED);
            let revoked = match revoked.exists() {
                true => read_all::<CertificateRevocationListDer<'static>>(&revoked, "revocation list")?,
                false => Vec::new(),
            };
            let provider = Arc::new(ring::default_provider());
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = verifier.with_crls(revoked).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| TlsError::Verifier { path, error })?)
        }
    };
    builder.with_single_cert(chain, private).map_err(pair)
}

/// Reads all objects of one kind in a PEM file; at least one has to be there.
fn read_all<T: PemObject>(path: &Path, wanted: &'static str) -> Result<Vec<T>, TlsError> {
    let bytes = read(path)?;
    let objects = T::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let objects = objects.map_err(|error| contents(path, wanted, &error))?;
    if objects.is_empty() { Err(contents(path, wanted, &pem::Error::NoItemsFound)) } else { Ok(objects) }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::Read { path: path.into(), error })
}

fn contents(path: &Path, wanted: &'static str, error: &dyn std::error::Error) -> TlsError {
    TlsError::Contents { path: path.into(), wanted, error: error.to_string() }
}
