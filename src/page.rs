//! The page for browsers: its files, which are in `web`, and what a browser is told with them. It has no secrets, so
//! everybody may load it; what it shows comes over a WebSocket, as to any other client.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// What the page may do: load its own files, connect to where it comes from, and make images (cursors) itself. No
/// other page may hold it in a frame, where a click could be meant for something else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page.
#[derive(Debug)]
struct File {
    /// Its name in a URL.
    name: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
}

/// An answer to a browser.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Answer {
    /// Status line and headers, with the empty line after them.
    pub(crate) head: String,
    /// What follows.
    pub(crate) body: &'static [u8],
}

macro_rules! files {
    ($media_type:literal: $($name:literal)+) => {
        [$(File { name: $name, media_type: $media_type, bytes: include_bytes!(concat!("../web/", $name)) }),+]
    };
}

const PAGES: [File; 1] = files!("text/html; charset=utf-8": "index.html");
const STYLES: [File; 1] = files!("text/css; charset=utf-8": "style.css");
const IMAGES: [File; 1] = files!("image/svg+xml": "icon.svg");
const MANIFESTS: [File; 1] = files!("application/manifest+json": "manifest.webmanifest");
const SCRIPTS: [File; 25] = files!("text/javascript; charset=utf-8":
    "agent.js" "clipboard.js" "connection.js" "console.js" "cursor.js" "decoder.js" "display.js" "files.js" "image.js"
    "keyboard.js" "keys.js" "link.js" "messages.js" "microphone.js" "page.js" "panel.js" "player.js" "pointer.js"
    "session.js" "sound.js" "surface.js" "text.js" "touch.js" "view.js" "wire.js");

fn files() -> impl Iterator<Item = &'static File> {
    PAGES.iter().chain(&STYLES).chain(&IMAGES).chain(&MANIFESTS).chain(&SCRIPTS)
}

/// Answers a request for `path`, by a browser that has `known` versions of it (`If-None-Match`).
#[must_use]
pub(crate) fn answer(path: &str, known: Option<&str>) -> Answer {
    let name = match path.strip_prefix('/').unwrap_or(path) {
        "" => "index.html",
        name => name,
    };
    let Some(file) = files().find(|file| file.name == name) else {
        let body = b"There is no such file.\n";
        return Answer { head: head("404 Not Found", "text/plain", body.len(), ""), body };
    };
    // A browser asks each time whether its copy is still right: after an update, old and new files never mix.
    let version = version(file.bytes);
    let validity = format!("Cache-Control: no-cache\r\nETag: {version}\r\n");
    if known.is_some_and(|known| known.split(',').any(|one| one.trim().trim_start_matches("W/") == version)) {
        return Answer { head: head("304 Not Modified", file.media_type, 0, &validity), body: b"" };
    }
    Answer { head: head("200 OK", file.media_type, file.bytes.len(), &validity), body: file.bytes }
}

/// Sends a browser that asked `host` for `path` without TLS to where there is TLS. `None` if `host` is no name of a
/// host.
#[must_use]
pub(crate) fn redirect(host: &str, path: &str) -> Option<Answer> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".:[]-_".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_plain) || path.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return None;
    }
    let place = format!("Location: https://{host}{path}\r\n");
    let body = b"This page is served by https.\n";
    Some(Answer { head: head("307 Temporary Redirect", "text/plain", body.len(), &place), body })
}

fn head(status: &str, media_type: &str, length: usize, more: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n{more}\
         Content-Security-Policy: {CONTENT_SECURITY_POLICY}\r\nX-Content-Type-Options: nosniff\r\n\
         Referrer-Policy: no-referrer\r\nCross-Origin-Opener-Policy: same-origin\r\n\
         Cross-Origin-Resource-Policy: same-origin\r\n\r\n"
    )
}

/// Names a version of a file, in quotes.
fn version(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex = hash.iter().take(12).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    format!("\"{hex}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most bytes of all files, before compression.
    const ALL_MAX: usize = 100_000;

    #[test]
    fn every_file_in_the_folder_is_served_and_all_are_small() {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("web").unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if !["tests", "package.json"].contains(&name.as_str()) {
                let Answer { head, body } = answer(&format!("/{name}"), None);
                assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{name}: {head}");
                assert_eq!(body, std::fs::read(format!("web/{name}")).unwrap(), "{name}");
                found.push(body.len());
            }
        }
        assert_eq!(found.len(), files().count());
        let all: usize = found.iter().sum();
        assert!(all < ALL_MAX, "{all} bytes");
    }

    #[test]
    fn a_browser_loads_a_file_once() {
        let first = answer("/", None);
        assert!(first.head.contains("Content-Security-Policy: default-src 'none'") && !first.body.is_empty());
        let version = first.head.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap().to_owned();
        for known in [version.clone(), format!("\"other\", W/{version}")] {
            let second = answer("/index.html", Some(&known));
            assert!(second.head.starts_with("HTTP/1.1 304 ") && second.body.is_empty(), "{known}");
        }
        assert!(answer("/", Some("\"other\"")).head.starts_with("HTTP/1.1 200 "));
        assert!(answer("/../Cargo.toml", None).head.starts_with("HTTP/1.1 404 "));
    }

    #[test]
    fn a_browser_is_sent_to_where_there_is_tls_and_nowhere_else() {
        let Answer { head, .. } = redirect("vm.example:8080", "/").unwrap();
        assert!(head.contains("\r\nLocation: https://vm.example:8080/\r\n"), "{head}");
        for (host, path) in [("", "/"), ("a/b", "/"), ("a@b", "/"), ("vm\r\nX: y", "/"), ("vm", "/\r\nX: y")]
        {
            assert_eq!(redirect(host, path), None, "{host:?} {path:?}");
        }
    }
}
