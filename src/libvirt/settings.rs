//! What a domain's metadata says of how to serve it, and what becomes of that: a configuration file for a unit.
//!
//! ```xml
//! <qemu-spice xmlns='urn:qemu-spice:libvirt:1'>
//!   <spice-addr>0.0.0.0:5901</spice-addr>
//!   <invited-only/>
//! </qemu-spice>
//! ```

use std::fmt::Write;

use roxmltree::{Node, NodeType};

use super::DomainError;
use super::domain::position;

/// The namespace of our element in a domain's metadata.
pub(super) const NAMESPACE: &str = "urn:qemu-spice:libvirt:1";

/// An option that metadata gives.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Setting {
    /// Its long name.
    pub key: String,
    /// Its value; none for an empty element.
    pub value: Option<String>,
}

impl Setting {
    /// Reads the options in an element: each is an element with the option's name, and its value as text.
    pub(super) fn all_of(element: Node<'_, '_>) -> Result<Vec<Self>, DomainError> {
        let wrong = |node: Node<'_, '_>, reason: String| DomainError::Metadata { at: position(node), reason };
        if element.attributes().next().is_some() {
            let reason = format!("<{}> takes no attributes", element.tag_name().name());
            return Err(wrong(element, reason));
        }
        let mut settings = Vec::new();
        for node in element.children() {
            match node.node_type() {
                NodeType::Element => {}
                NodeType::Text if node.text().is_some_and(|text| !text.trim().is_empty()) => {
                    return Err(wrong(node, "there is text outside of the options' elements".to_owned()));
                }
                _ => continue,
            }
            let key = node.tag_name().name();
            if node.attributes().next().is_some() || node.children().any(|child| child.is_element()) {
                return Err(wrong(node, format!("<{key}> takes its value as text, and nothing else")));
            }
            let text: String =
                node.children().filter(Node::is_text).filter_map(|child| child.text()).collect();
            let value = Some(text.trim().to_owned()).filter(|text| !text.is_empty());
            settings.push(Self { key: key.to_owned(), value });
        }
        Ok(settings)
    }
}

/// Returns the configuration file with which a unit serves a domain on the bus at `address`. What the metadata does not
/// say is `defaults`, whose values are TOML.
///
/// Faults in it are found where every configuration is read: an option that does not exist, and a second one of those
/// that say which machine is served.
pub fn configuration(
    name: &str,
    address: &str,
    settings: &[Setting],
    defaults: &[(&str, String)],
) -> Result<String, std::fmt::Error> {
    let mut text = String::from(
        "# What qemu-spice-libvirt@.service serves, made anew each time that the domain starts.\n",
    );
    writeln!(text, "# Domain: {}", quoted(name))?;
    writeln!(text, "dbus-address = {}", quoted(address))?;
    for (key, value) in defaults.iter().filter(|(key, _)| settings.iter().all(|setting| setting.key != *key))
    {
        writeln!(text, "{key} = {value}")?;
    }
    let mut written: Vec<&str> = Vec::new();
    for setting in settings {
        let key = setting.key.as_str();
        if written.contains(&key) {
            continue;
        }
        written.push(key);
        let values: Vec<&Setting> = settings.iter().filter(|other| other.key == key).collect();
        let value = match values.as_slice() {
            [one] => value(one),
            several => {
                let several: Vec<String> = several.iter().map(|setting| value(setting)).collect();
                format!("[{}]", several.join(", "))
            }
        };
        writeln!(text, "{} = {value}", quoted(key))?;
    }
    Ok(text)
}

/// Returns the part of a unit's name between `@` and `.service` that stands for a domain: its name, with all but
/// letters, digits and `:_.-` as systemd escapes them.
#[must_use]
pub(crate) fn instance(name: &str) -> String {
    let mut escaped = String::new();
    for byte in name.bytes() {
        match byte {
            b'.' if escaped.is_empty() => escaped.push_str("\\x2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' | b'-' => {
                escaped.push(char::from(byte))
            }
            _ => escaped.push_str(&format!("\\x{byte:02x}")),
        }
    }
    escaped
}

fn value(setting: &Setting) -> String {
    match setting.value.as_deref() {
        None => "true".to_owned(),
        Some(word @ ("true" | "false")) => word.to_owned(),
        Some(text) => quoted(text),
    }
}

/// Returns a basic string of TOML, also for a key.
#[must_use]
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            // What could end the line of a comment, or hide what stands there, is written as a number.
            _ if character.is_control() || !character.is_ascii() => {
                quoted.push_str(&format!("\\U{:08x}", u32::from(character)));
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libvirt::Domain;

    fn settings(metadata: &str) -> Result<Vec<Setting>, String> {
        let xml = format!(
            "<domain><name>n</name><uuid>u</uuid><metadata>\n<other xmlns='urn:o'/>{metadata}</metadata></domain>"
        );
        Domain::parse(&xml).map(|domain| domain.settings).map_err(|error| error.to_string())
    }

    fn ours(content: &str) -> Result<Vec<Setting>, String> {
        settings(&format!("<qemu-spice xmlns='{NAMESPACE}'>{content}</qemu-spice>"))
    }

    #[test]
    fn each_element_is_an_option() {
        let found = ours(
            "\n<spice-addr>\n 0.0.0.0:5901 </spice-addr><!-- and --><invited-only/>\
             <spice-addr>unix:/a&quot;&#x202e;\\b</spice-addr><wait>false</wait>",
        );
        let defaults = [("spice-addr", "none".to_owned()), ("relay-bus", "\"session\"".to_owned())];
        let text = configuration("n\n", "unix:path=/b", &found.unwrap(), &defaults).unwrap();
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "# Domain: \"n\\U0000000a\"",
                "dbus-address = \"unix:path=/b\"",
                "relay-bus = \"session\"",
                "\"spice-addr\" = [\"0.0.0.0:5901\", \"unix:/a\\\"\\U0000202e\\\\b\"]",
                "\"invited-only\" = true",
                "\"wait\" = false",
            ]
        );
    }

    #[test]
    fn a_prefix_changes_nothing() {
        let prefixed =
            format!("<q:qemu-spice xmlns:q='{NAMESPACE}'><q:spice-addr>none</q:spice-addr></q:qemu-spice>");
        assert_eq!(settings(&prefixed), ours("<spice-addr>none</spice-addr>"));
    }

    #[test]
    fn what_is_no_option_is_refused_with_its_line() {
        for wrong in ["text", "<a b='c'/>", "<a><b/></a>"] {
            assert!(ours(wrong).unwrap_err().starts_with("line 2: "), "{wrong}");
        }
        let one = format!("<q xmlns='{NAMESPACE}'/>");
        assert!(settings(&format!("{one}\n{one}")).unwrap_err().starts_with("line 3: there is a second"));
        assert!(settings(&format!("<q xmlns='{NAMESPACE}' port='1'/>")).is_err());
    }

    #[test]
    fn a_unit_is_named_by_its_domain() {
        assert_eq!(instance("my-vm_1.2"), "my-vm_1.2");
        assert_eq!(instance(".."), "\\x2e.");
        assert_eq!(instance("a b\\/@é"), "a\\x20b\\x5c\\x2f\\x40\\xc3\\xa9");
    }
}
