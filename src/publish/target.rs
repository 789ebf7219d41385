use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use http::Uri;

/// The most files of one name.
const MAX_FILES: u32 = 10_000;

/// Where to publish.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Target {
    /// A Matroska file.
    File(PathBuf),
    /// RTP over UDP, with RTCP at the next port: what Janus and many others take.
    Rtp {
        /// A name or an address.
        host: String,
        /// The port of RTP.
        port: u16,
    },
    /// FLV over RTMP.
    Rtmp(Address),
    /// RTP by RTSP's `RECORD`.
    Rtsp(Address),
    /// An MPEG transport stream over SRT, to a server that listens.
    Srt(Address),
    /// WebRTC, by WHIP over HTTP.
    Whip(Address),
}

/// An address whose path and query may be secrets: only scheme and host are told.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Address {
    text: String,
    shown: String,
}

/// A target that cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "give file:PATH.mkv, rtp://HOST:PORT, rtmp://HOST/APP/NAME, rtsp://HOST/NAME (rtmps and rtsps too), \
     srt://HOST:PORT or whip+https://[TOKEN@]HOST/PATH (or whip+http)"
)]
pub(crate) struct TargetError;

impl Target {
    /// Returns the TCP port that it connects to, if it does: the usual one unless the address says otherwise.
    pub(crate) fn tcp_port(&self) -> Option<u16> {
        match self {
            Self::File(_) | Self::Rtp { .. } | Self::Srt(_) => None,
            Self::Rtmp(address) | Self::Rtsp(address) | Self::Whip(address) => address.port(),
        }
    }
}

impl Address {
    fn port(&self) -> Option<u16> {
        let uri: Uri = self.text.parse().ok()?;
        uri.port_u16().or(match uri.scheme_str()? {
            "rtmp" => Some(1935),
            "rtmps" => Some(443),
            "rtsp" => Some(554),
            "rtsps" => Some(322),
            "whip+http" => Some(80),
            "whip+https" => Some(443),
            _ => None,
        })
    }

    /// Returns all of it, for the one that connects.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// Returns the first of `path`, `path-2`, … that is not there yet.
pub(super) fn free_file(path: &Path) -> Option<PathBuf> {
    let (stem, end) = (path.file_stem()?, path.extension());
    let numbered = |number: u32| {
        let mut name = stem.to_owned();
        if number > 1 {
            name.push(format!("-{number}"));
        }
        if let Some(end) = end {
            name.push(".");
            name.push(end);
        }
        path.with_file_name(name)
    };
    (1..=MAX_FILES).map(numbered).find(|path| path.symlink_metadata().is_err())
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if let Some(path) = text.strip_prefix("file:") {
            let path =
                Path::new(path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path));
            return path.file_stem().map(|_| Self::File(path.to_owned())).ok_or(TargetError);
        }
        let uri: Uri = text.parse().map_err(|_| TargetError)?;
        let (scheme, host) = uri.scheme_str().zip(uri.host()).ok_or(TargetError)?;
        let shown = match uri.port_u16() {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        };
        let address = Address { text: text.to_owned(), shown };
        match scheme {
            "rtp" => {
                let port = uri.port_u16().filter(|&port| port < u16::MAX).ok_or(TargetError)?;
                let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                Ok(Self::Rtp { host, port })
            }
            "rtmp" | "rtmps" => Ok(Self::Rtmp(address)),
            "rtsp" | "rtsps" => Ok(Self::Rtsp(address)),
            "srt" if uri.port_u16().is_some() && !waits(&uri) => Ok(Self::Srt(address)),
            "whip+http" | "whip+https" => Ok(Self::Whip(address)),
            _ => Err(TargetError),
        }
    }
}

/// Returns whether an address of SRT is one to be connected to by others.
fn waits(uri: &Uri) -> bool {
    uri.query()
        .is_some_and(|query| query.split('&').any(|pair| pair.starts_with("mode=") && pair != "mode=caller"))
}

/// As logs and `qemu-spice status` name it.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Rtp { host, port } if host.contains(':') => write!(f, "rtp://[{host}]:{port}"),
            Self::Rtp { host, port } => write!(f, "rtp://{host}:{port}"),
            Self::Rtmp(address) | Self::Rtsp(address) | Self::Srt(address) | Self::Whip(address) => {
                f.write_str(&address.shown)
            }
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_told_without_their_secrets() {
        for (text, shown) in [
            ("file:/var/lib/vm.mkv", "file:/var/lib/vm.mkv"),
            ("file:///var/lib/vm.mkv", "file:/var/lib/vm.mkv"),
            ("file:vm.mkv", "file:vm.mkv"),
            ("rtp://10.0.0.7:5004", "rtp://10.0.0.7:5004"),
            ("rtp://[fe80::1]:5004", "rtp://[fe80::1]:5004"),
            ("rtmp://media.example/live/secret", "rtmp://media.example"),
            ("rtsps://user:secret@media.example:8322/vm", "rtsps://media.example:8322"),
            ("srt://media.example:7001?mode=caller&passphrase=secret", "srt://media.example:7001"),
            ("whip+https://secret@media.example/whip/vm?key=secret", "whip+https://media.example"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), shown);
            assert!(!format!("{target:?}").contains("secret"), "{target:?}");
        }
        for text in [
            "",
            "file:",
            "file:/",
            "rtp://host",
            "rtp://host:65535",
            "srt://host",
            "srt://host:7001?mode=listener",
            "http://host/",
            "host:1",
            "rtmp:///x",
        ] {
            assert_eq!(text.parse::<Target>(), Err(TargetError), "{text}");
        }
    }

    #[test]
    fn each_target_has_the_ports_of_its_own() {
        for (text, port) in [
            ("file:vm.mkv", None),
            ("rtp://10.0.0.7:5004", None),
            ("rtmp://media.example/live/vm", Some(1935)),
            ("rtmp://media.example:1936/live/vm", Some(1936)),
            ("rtsps://[::1]/vm", Some(322)),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().tcp_port(), port, "{text}");
        }
    }

    #[test]
    fn a_file_that_is_there_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = folder.path().join("vm.mkv");
        for name in ["vm.mkv", "vm-2.mkv", "vm-3.mkv"] {
            let free = free_file(&wanted).unwrap();
            assert_eq!(free, folder.path().join(name));
            std::fs::write(free, "").unwrap();
        }
    }
}
