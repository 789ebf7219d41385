//! Users with names and passwords of their own, in a file that knows no password.
//!
//! A line is `NAME:RIGHTS:ITERATIONS:SALT:STORED_KEY:SERVER_KEY`: what SCRAM-SHA-256 (RFC 5802, 7677) keeps of a
//! password, bytes in hexadecimal. `qemu-spice user` writes it.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rsasl::mechanisms::scram::tools::{derive_keys, hash_password};
use sha2::{Digest, Sha256};
use spice_proto::auth::{Password, random_bytes};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::grant::Rights;
use super::invitations;

/// How often a password is hashed. Clients do it for each channel; RFC 7677 asks for 4,096 at least.
const ITERATIONS: u32 = 32_768;

/// The most iterations that are taken from a file: PLAIN has them done here.
const MAX_ITERATIONS: u32 = 10_000_000;

/// Bytes of a salt that is made here.
const SALT: usize = 16;

/// Bytes of a key: a SHA-256.
const KEY: usize = 32;

/// The most bytes of a file.
const MAX_FILE: u64 = 1 << 20;

/// The longest name.
const MAX_NAME: usize = 64;

/// Everybody who may enter by name.
#[derive(Debug)]
pub struct Users {
    users: Vec<User>,
    /// Makes the salts that strangers are shown, so that names cannot be told from others.
    pepper: [u8; KEY],
}

/// Whom names belong to.
pub trait Names: Send + Sync {
    /// Returns what `name` is checked with. Of a name that nobody has it is what no password fits, and it looks the
    /// same whenever it is asked for. May take some milliseconds.
    fn verifier(&self, name: &str) -> Verifier;

    /// Returns whether somebody has `name`.
    fn has(&self, name: &str) -> bool;
}

/// Somebody who may enter by name.
#[derive(Clone, Debug)]
pub(crate) struct User {
    /// Their name.
    pub(crate) name: String,
    /// What they may do.
    pub(crate) rights: Rights,
    /// What is known of their password.
    pub(crate) verifier: Verifier,
}

/// What a password can be checked with, and not be known from.
#[derive(Clone)]
pub struct Verifier {
    /// How often it was hashed.
    pub(crate) iterations: u32,
    /// What was hashed with it.
    pub(crate) salt: Vec<u8>,
    /// What the client's proof is checked with.
    pub(crate) stored_key: [u8; KEY],
    /// What proves to the client that we know it.
    pub(crate) server_key: [u8; KEY],
}

/// Why a file of users cannot be used, or changed.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// It cannot be read or written.
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    File(PathBuf, io::Error),
    /// Others can read it, and try passwords on it as fast as they like.
    #[error("{path} can be read by others, who could try passwords on it: chmod 600 {path}", path = .0.display())]
    Readable(PathBuf),
    /// A line is not as `qemu-spice user` writes it.
    #[error(
        "{path}, line {line}: it is not NAME:RIGHTS:ITERATIONS:SALT:KEY:KEY, as `qemu-spice user` writes it",
        path = .0.display(),
        line = .1
    )]
    Line(PathBuf, usize),
    /// It has no end.
    #[error("{path} has more than {MAX_FILE} bytes", path = .0.display())]
    TooLong(PathBuf),
    /// A name that cannot stand in the file.
    #[error("`{0}` cannot be a user's name: give at most {MAX_NAME} letters, digits and . _ @ -")]
    Name(String),
    /// Nobody has the name.
    #[error("{path} has no user {name}", path = .0.display(), name = .1)]
    Unknown(PathBuf, String),
}

impl Users {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, others can read it, or a line is wrong.
    pub fn load(path: &Path) -> Result<Self, UsersError> {
        Ok(Self { users: read(path)?, pepper: random_bytes() })
    }

    /// Finds a user.
    pub(crate) fn find(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }

    /// Returns what the bearer of an invitation is checked with, who has a `name` for it.
    pub(super) fn invited(&self, name: &str, secret: &Password) -> Verifier {
        Verifier::salted(secret.bytes(), self.salt(name))
    }

    /// Returns the salt of a name that is not in the file.
    fn salt(&self, name: &str) -> Vec<u8> {
        let hash = Sha256::new().chain_update(self.pepper).chain_update(name.as_bytes()).finalize();
        hash.iter().copied().take(SALT).collect()
    }
}

impl Names for Users {
    fn verifier(&self, name: &str) -> Verifier {
        let nobody = || Verifier {
            iterations: ITERATIONS,
            salt: self.salt(name),
            stored_key: random_bytes(),
            server_key: random_bytes(),
        };
        self.find(name).map_or_else(nobody, |user| user.verifier.clone())
    }

    fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }
}

impl Verifier {
    /// Hashes a password.
    pub(crate) fn new(password: &[u8]) -> Self {
        Self::salted(password, random_bytes::<SALT>().into())
    }

    fn salted(password: &[u8], salt: Vec<u8>) -> Self {
        let (stored_key, server_key) = keys(password, &salt, ITERATIONS);
        Self { iterations: ITERATIONS, salt, stored_key, server_key }
    }

    /// Returns whether this is the password. Takes some milliseconds: not for a thread that serves.
    pub(super) fn fits(&self, password: &[u8]) -> bool {
        keys(password, &self.salt, self.iterations).0.ct_eq(&self.stored_key).into()
    }
}

fn keys(password: &[u8], salt: &[u8], iterations: u32) -> ([u8; KEY], [u8; KEY]) {
    let mut salted = Zeroizing::new([0; KEY]);
    hash_password::<Sha256>(password, iterations, salt, salted.as_mut_slice().into());
    let (client_key, server_key) = derive_keys::<Sha256>(salted.as_slice());
    (Sha256::digest(client_key).into(), server_key.into())
}

/// Writes a user with this password into a file, in the place of the one of that name if there is one. The file is made
/// if there is none, for its owner alone.
///
/// # Errors
/// If the file cannot be used, or nobody can have the name.
pub(crate) fn set(path: &Path, name: &str, rights: Rights, password: &str) -> Result<(), UsersError> {
    if !is_name(name) {
        return Err(UsersError::Name(name.to_owned()));
    }
    let mut users = if path.exists() { read(path)? } else { Vec::new() };
    users.retain(|user| user.name != name);
    users.push(User { name: name.to_owned(), rights, verifier: Verifier::new(password.as_bytes()) });
    write(path, &users)
}

/// Takes a user out of a file.
///
/// # Errors
/// If the file cannot be used, or has no such user.
pub(crate) fn remove(path: &Path, name: &str) -> Result<(), UsersError> {
    let mut users = read(path)?;
    let before = users.len();
    users.retain(|user| user.name != name);
    if users.len() == before {
        return Err(UsersError::Unknown(path.into(), name.to_owned()));
    }
    write(path, &users)
}

fn read(path: &Path) -> Result<Vec<User>, UsersError> {
    let failed = |error| UsersError::File(path.into(), error);
    let file = fs::File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if about.mode() & 0o077 != 0 {
        return Err(UsersError::Readable(path.into()));
    }
    if about.len() > MAX_FILE {
        return Err(UsersError::TooLong(path.into()));
    }
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text).map_err(failed)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(at, line)| user(line).ok_or_else(|| UsersError::Line(path.into(), at.saturating_add(1))))
        .collect()
}

/// Writes beside the file and renames, so that a server that reads it finds one or the other.
fn write(path: &Path, users: &[User]) -> Result<(), UsersError> {
    let failed = |error| UsersError::File(path.into(), error);
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let text: String = users.iter().map(line).collect();
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)
}

fn user(line: &str) -> Option<User> {
    let mut parts = line.split(':');
    let mut next = || parts.next();
    let name = next().filter(|name| is_name(name))?.to_owned();
    let rights = Rights::named(next()?)?;
    let iterations = next()?.parse().ok().filter(|count| (1..=MAX_ITERATIONS).contains(count))?;
    let salt = bytes(next()?)?;
    let (stored_key, server_key) = (bytes(next()?)?.try_into().ok()?, bytes(next()?)?.try_into().ok()?);
    let verifier = Verifier { iterations, salt, stored_key, server_key };
    parts.next().is_none().then_some(User { name, rights, verifier })
}

fn line(user: &User) -> String {
    let Verifier { iterations, salt, stored_key, server_key } = &user.verifier;
    let (salt, stored, server) = (hexadecimal(salt), hexadecimal(stored_key), hexadecimal(server_key));
    format!("{}:{}:{iterations}:{salt}:{stored}:{server}\n", user.name, user.rights.name())
}

fn is_name(name: &str) -> bool {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "._@-".contains(c);
    let is_free = invitations::of_user(name).is_none();
    !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(is_safe) && is_free
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    let byte = |pair: Option<&str>| u8::from_str_radix(pair.filter(|pair| pair.len() == 2)?, 16).ok();
    pairs.map(byte).collect::<Option<Vec<u8>>>().filter(|bytes| !bytes.is_empty())
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        (dir, path)
    }

    #[test]
    fn users_are_kept_without_their_passwords() {
        let (_dir, path) = file();
        set(&path, "ann", Rights::Use, "apple").unwrap();
        set(&path, "ben@example", Rights::Look, "banana").unwrap();
        set(&path, "ann", Rights::Use, "cherry").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert!(!["apple", "banana", "cherry"].iter().any(|word| text.contains(word)), "{text}");
        let users = Users::load(&path).unwrap();
        let ann = users.find("ann").unwrap();
        assert!(ann.verifier.fits(b"cherry") && !ann.verifier.fits(b"apple") && !ann.verifier.fits(b""));
        assert_eq!(users.find("ben@example").unwrap().rights, Rights::Look);
        assert!(users.find("Ann").is_none());
        remove(&path, "ann").unwrap();
        assert!(matches!(remove(&path, "ann"), Err(UsersError::Unknown(..))));
        assert!(Users::load(&path).unwrap().find("ann").is_none());
    }

    #[test]
    fn a_name_that_nobody_has_looks_like_one_that_somebody_has() {
        let (_dir, path) = file();
        set(&path, "ann", Rights::Use, "apple").unwrap();
        let users = Users::load(&path).unwrap();
        let (once, again) = (users.verifier("eve"), users.verifier("eve"));
        assert_eq!((&once.salt, once.iterations), (&again.salt, ITERATIONS));
        assert_eq!(once.salt.len(), users.verifier("ann").salt.len());
        assert_ne!(once.salt, users.verifier("mallory").salt);
    }

    #[test]
    fn a_file_that_is_wrong_is_not_used() {
        let (_dir, path) = file();
        set(&path, "ann", Rights::Use, "apple").unwrap();
        let good = fs::read_to_string(&path).unwrap();
        for wrong in [
            "ann",
            "ann:use",
            "a b:use:1:00:00:00",
            &good.replace(":use:", ":all:"),
            &good.replace('\n', ":x\n"),
        ] {
            fs::write(&path, format!("# users\n\n{wrong}\n")).unwrap();
            assert!(matches!(Users::load(&path), Err(UsersError::Line(_, 3))), "{wrong}");
        }
        fs::write(&path, &good).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Users::load(&path), Err(UsersError::Readable(_))));
        for wrong in ["a:b", "", "invitation-7"] {
            assert!(matches!(set(&path, wrong, Rights::Use, "x"), Err(UsersError::Name(_))));
        }
    }
}
