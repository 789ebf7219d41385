//! Connection files: what remote-viewer opens to find a server, to trust it, and to log in.

use std::fmt::Write;

/// Where a server is to be found, and what a viewer needs to enter.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ConnectionFile {
    /// A DNS name or address; of IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether there is TLS.
    pub tls: bool,
    /// The certificate of the authority to trust, in PEM form.
    pub authority: Option<String>,
    /// The name by which the viewer logs in, where one is asked for.
    pub username: Option<String>,
    /// What the viewer shows when it is asked for a password.
    pub password: Option<String>,
}

impl ConnectionFile {
    /// Reads the host and the port of a `spice://` URI; `None` of another.
    pub(crate) fn of_uri(uri: &str) -> Option<Self> {
        let rest = uri.strip_prefix("spice://")?;
        let (host, port, tls) = match rest.split_once("?tls-port=") {
            Some((host, port)) => (host, port, true),
            None => rest.rsplit_once(':').map(|(host, port)| (host, port, false))?,
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Self { host, port: port.parse().ok()?, tls, ..Self::default() })
    }

    /// Writes the file's text.
    pub(crate) fn text(&self) -> String {
        let port = if self.tls { "tls-port" } else { "port" };
        let mut text = format!("[virt-viewer]\ntype=spice\nhost={}\n{port}={}\n", self.host, self.port);
        if let Some(authority) = &self.authority {
            let authority = authority.trim_end().replace("\r\n", "\n").replace('\n', "\\n");
            let _ = writeln!(text, "ca={authority}\\n");
        }
        if let Some(username) = &self.username {
            let _ = writeln!(text, "username={username}");
        }
        if let Some(password) = &self.password {
            let _ = writeln!(text, "password={password}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_becomes_a_file() {
        let text = |uri| ConnectionFile::of_uri(uri).map(|file| file.text());
        let of = |lines: &str| Some(format!("[virt-viewer]\ntype=spice\n{lines}\n"));
        assert_eq!(text("spice://127.0.0.1:5900"), of("host=127.0.0.1\nport=5900"));
        assert_eq!(text("spice://[::1]:5900"), of("host=::1\nport=5900"));
        assert_eq!(text("spice://10.0.0.7?tls-port=61000"), of("host=10.0.0.7\ntls-port=61000"));
        assert_eq!(text("spice://[fe80::1]?tls-port=61000"), of("host=fe80::1\ntls-port=61000"));
        for other in ["spice+unix:///run/vm.sock", "unix:@vm", "spice://host", "spice://host:port"] {
            assert_eq!(text(other), None, "{other}");
        }
    }

    #[test]
    fn the_authority_is_one_line() {
        let file = ConnectionFile {
            authority: Some("-----BEGIN\r\nabc\n-----END\n".to_owned()),
            password: Some("secret".to_owned()),
            ..ConnectionFile::default()
        };
        assert!(
            file.text().ends_with("\nca=-----BEGIN\\nabc\\n-----END\\n\npassword=secret\n"),
            "{}",
            file.text()
        );
    }
}
