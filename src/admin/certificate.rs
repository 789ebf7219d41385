//! A private authority and a certificate of its for this server, for people who have none.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use zeroize::Zeroizing;

/// How long the authority is valid: ten years, because every viewer has to be given a new one by hand.
const AUTHORITY_AGE: Duration = Duration::from_secs(3652 * 24 * 3600);

/// How long a server's certificate is valid: two years. Making a new one changes nothing for viewers.
const SERVER_AGE: Duration = Duration::from_secs(730 * 24 * 3600);

/// How far the clocks of server and viewers may differ.
const CLOCK_ERROR: Duration = Duration::from_secs(24 * 3600);

/// Why no certificate was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// A file cannot be read or written.
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    File(PathBuf, io::Error),
    /// Somebody else's files are there.
    #[error(
        "{path} has a certificate that this program did not make, and it is kept: give an empty folder",
        path = .0.display()
    )]
    NotOurs(PathBuf),
    /// A name that no certificate can have, or a key that is none.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
}

/// The authority's certificate, for viewers.
#[derive(Debug)]
pub(crate) struct Authority {
    /// In PEM form.
    pub(crate) pem: String,
    /// Whether it was made now, so that no viewer has it yet.
    pub(crate) is_new: bool,
}

/// Makes a server certificate for `names` (DNS names and IP addresses) in `folder`, signed by the authority there. That
/// is made if there is none. The files are named as QEMU and libvirt name them; keys are for their owner alone.
///
/// # Errors
/// If the folder cannot be written, or has certificates from elsewhere.
pub(crate) fn make(folder: &Path, names: &[String]) -> Result<Authority, CertificateError> {
    let at = |name: &str| folder.join(name);
    let (authority_cert, authority_key) = (at("ca-cert.pem"), at("ca-key.pem"));
    std::fs::create_dir_all(folder).map_err(|error| CertificateError::File(folder.into(), error))?;
    let is_new = !authority_key.exists();
    if is_new && (authority_cert.exists() || at("server-cert.pem").exists()) {
        return Err(CertificateError::NotOurs(folder.into()));
    }
    if is_new {
        let key = KeyPair::generate()?;
        let certificate = authority(names)?.self_signed(&key)?;
        write(&authority_key, &Zeroizing::new(key.serialize_pem()), 0o600)?;
        write(&authority_cert, &certificate.pem(), 0o644)?;
    }
    let pem = read(&authority_cert)?;
    let signer = KeyPair::from_pem(&Zeroizing::new(read(&authority_key)?))?;
    let issuer = Issuer::from_ca_cert_pem(&pem, signer)?;
    let key = KeyPair::generate()?;
    let certificate = server(names)?.signed_by(&key, &issuer)?;
    write(&at("server-key.pem"), &Zeroizing::new(key.serialize_pem()), 0o600)?;
    write(&at("server-cert.pem"), &certificate.pem(), 0o644)?;
    Ok(Authority { pem, is_new })
}

fn authority(names: &[String]) -> Result<CertificateParams, rcgen::Error> {
    let mut params = valid_for(CertificateParams::new(Vec::new())?, AUTHORITY_AGE);
    let of = names.first().map_or("qemu-spice", String::as_str);
    params.distinguished_name = named(&format!("qemu-spice authority of {of}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn server(names: &[String]) -> Result<CertificateParams, rcgen::Error> {
    let mut params = valid_for(CertificateParams::new(names)?, SERVER_AGE);
    params.distinguished_name = named(names.first().map_or("qemu-spice", String::as_str));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn valid_for(mut params: CertificateParams, age: Duration) -> CertificateParams {
    let now = SystemTime::now();
    params.not_before = (now - CLOCK_ERROR).into();
    params.not_after = (now + age).into();
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn read(path: &Path) -> Result<String, CertificateError> {
    std::fs::read_to_string(path).map_err(|error| CertificateError::File(path.into(), error))
}

/// Replaces a file as a whole, so that a server that reads the folder finds the old or the new one.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), CertificateError> {
    let replace = || {
        let new = path.with_extension("new");
        let _ = std::fs::remove_file(&new); // of an earlier call that was ended
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    replace().map_err(|error| CertificateError::File(path.into(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        vec!["vm.example".into(), "127.0.0.1".into()]
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_authority_stays_when_the_certificate_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let first = make(dir.path(), &names()).unwrap();
        let server = read(&dir.path().join("server-cert.pem")).unwrap();
        let second = make(dir.path(), &names()).unwrap();
        assert!(first.is_new && !second.is_new);
        assert_eq!(first.pem, second.pem);
        assert_ne!(server, read(&dir.path().join("server-cert.pem")).unwrap());
        assert_eq!(mode(&dir.path().join("ca-key.pem")), 0o600);
        assert_eq!(mode(&dir.path().join("server-key.pem")), 0o600);
        assert_eq!(mode(&dir.path().join("ca-cert.pem")), 0o644);
    }

    #[test]
    fn certificates_from_elsewhere_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("server-cert.pem"), "theirs").unwrap();
        let error = make(dir.path(), &names()).unwrap_err();
        assert!(matches!(error, CertificateError::NotOurs(_)), "{error}");
        assert_eq!(read(&dir.path().join("server-cert.pem")).unwrap(), "theirs");
    }
}
