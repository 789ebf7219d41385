//! A domain's XML (libvirt.org/formatdomain.html), as far as its display goes.

use std::path::{Path, PathBuf};

use roxmltree::{Document, Node, ParsingOptions, TextPos};

use super::settings::{NAMESPACE, Setting};

/// The most bytes of XML that are read. A domain with a hundred devices has about 64 KiB.
pub(crate) const XML_MAX: usize = 1 << 20;

/// The most nodes of it, so that what is made of them stays small.
const NODES_MAX: u32 = 1 << 16;

/// The most characters of a domain's name that its files are named by: libvirt's `VIR_DOMAIN_SHORT_NAME_MAX`.
const SHORT_NAME_MAX: usize = 20;

/// What libvirt has its own bus of a domain end with.
const BUS_ENDING: &str = "-dbus.sock";

/// A domain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Domain {
    /// Its name: whatever an operator may type but `/`.
    pub name: String,
    /// Its UUID, in lower case.
    pub uuid: String,
    /// Whether it runs.
    pub runs: bool,
    /// Its D-Bus display.
    pub display: Display,
    /// What its metadata says of how to serve it.
    pub settings: Vec<Setting>,
}

/// A domain's D-Bus display.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Display {
    /// It has none.
    None,
    /// One without a bus (`p2p='yes'`): libvirt passes on connections to it.
    PeerToPeer,
    /// One on the bus at this address, which its XML says.
    Bus(String),
    /// One on a bus that libvirt starts with it. None while it does not run.
    OwnBus(Option<OwnBus>),
}

/// The bus that libvirt starts for a domain: `FOLDER/NUMBER-NAME-dbus.sock`, with another number each time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwnBus {
    /// The folder of these sockets.
    pub folder: PathBuf,
    /// What follows the number.
    pub ending: String,
    /// Where it is now, if it is known.
    pub number: Option<u32>,
}

/// Why a domain's XML is not used.
#[derive(Debug, thiserror::Error)]
pub enum DomainError {
    /// Too much of it.
    #[error("the domain's XML has more than {} KiB", XML_MAX >> 10)]
    Large,
    /// It is no XML.
    #[error("the domain's XML cannot be read: {0}")]
    Xml(#[from] roxmltree::Error),
    /// It is of something else.
    #[error("this is not the XML of a domain: {0}")]
    Foreign(&'static str),
    /// Metadata that says nothing.
    #[error("line {}: {reason}", at.row)]
    Metadata {
        /// Where.
        at: TextPos,
        /// Why.
        reason: String,
    },
}

impl Domain {
    /// Reads a domain's XML.
    ///
    /// # Errors
    /// If it is no domain's, or its `<qemu-spice>` has something else than options.
    pub fn parse(xml: &str) -> Result<Self, DomainError> {
        let document = document(xml)?;
        let domain = domain(&document)?;
        let text = |name| child(domain, name).and_then(|node| node.text()).map(str::trim);
        let name = text("name").filter(|name| !name.is_empty()).ok_or(DomainError::Foreign("no <name>"))?;
        let uuid = text("uuid").ok_or(DomainError::Foreign("no <uuid>"))?.to_lowercase();
        let settings = match metadata(domain).as_slice() {
            [] => Vec::new(),
            [one] => Setting::all_of(*one)?,
            [_, second, ..] => {
                let reason = format!("there is a second element of {NAMESPACE}");
                return Err(DomainError::Metadata { at: position(*second), reason });
            }
        };
        let display = match display(domain) {
            None => Display::None,
            Some(graphics) if graphics.attribute("p2p") == Some("yes") => Display::PeerToPeer,
            Some(graphics) => match graphics.attribute("address") {
                None => Display::OwnBus(None),
                Some(address) => own_bus(address)
                    .map_or_else(|| Display::Bus(address.to_owned()), |bus| Display::OwnBus(Some(bus))),
            },
        };
        let runs = domain.attribute("id").is_some();
        Ok(Self { name: name.to_owned(), uuid, runs, display, settings })
    }
}

impl OwnBus {
    /// Returns where libvirt will start the bus of a domain with this name, in this folder.
    #[must_use]
    pub fn of_name(name: &str, folder: &Path) -> Self {
        let short: String = name.chars().take(SHORT_NAME_MAX).collect();
        Self { folder: folder.to_owned(), ending: format!("-{short}{BUS_ENDING}"), number: None }
    }

    /// Returns the number in the name of a file, if that is a bus of this domain, or of one with a like name.
    #[must_use]
    pub fn number_of(&self, file: &str) -> Option<u32> {
        number(file.strip_suffix(self.ending.as_str())?)
    }

    /// Returns the socket with a number.
    #[must_use]
    pub fn socket(&self, number: u32) -> PathBuf {
        self.folder.join(format!("{number}{}", self.ending))
    }
}

/// Returns a domain's XML without the address of libvirt's own bus, if it has one.
///
/// libvirt (9.0 and 11.3 at least) saves a running domain with the address of its bus, takes that for one that an
/// operator gave when it restores the domain, and starts no bus: QEMU does not find it and ends.
///
/// # Errors
/// If it is no domain's.
pub fn without_own_bus(xml: &str) -> Result<Option<String>, DomainError> {
    let document = document(xml)?;
    let address = display(domain(&document)?).and_then(|graphics| graphics.attribute_node("address"));
    let Some(address) = address.filter(|address| own_bus(address.value()).is_some()) else { return Ok(None) };
    let range = address.range();
    let parts = xml.get(..range.start).zip(xml.get(range.end..));
    Ok(parts.map(|(before, after)| format!("{}{after}", before.trim_end())))
}

fn document(xml: &str) -> Result<Document<'_>, DomainError> {
    if xml.len() > XML_MAX {
        return Err(DomainError::Large);
    }
    // Without a DTD there are no entities of its own.
    let options = ParsingOptions { allow_dtd: false, nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    Ok(Document::parse_with_options(xml, options)?)
}

/// Finds the domain, of which a saved one is a part.
fn domain<'a, 'input>(document: &'a Document<'input>) -> Result<Node<'a, 'input>, DomainError> {
    let root = document.root_element();
    let domain = if root.has_tag_name("domstatus") { child(root, "domain") } else { Some(root) };
    domain.filter(|node| node.has_tag_name("domain")).ok_or(DomainError::Foreign("no <domain>"))
}

/// Returns the first D-Bus display.
fn display<'a, 'input>(domain: Node<'a, 'input>) -> Option<Node<'a, 'input>> {
    let mut devices = child(domain, "devices")?.children();
    devices.find(|node| node.has_tag_name("graphics") && node.attribute("type") == Some("dbus"))
}

/// Returns the elements of ours among the metadata.
fn metadata<'a, 'input>(domain: Node<'a, 'input>) -> Vec<Node<'a, 'input>> {
    let metadata = child(domain, "metadata");
    let elements = metadata.into_iter().flat_map(|node| node.children());
    elements.filter(|node| node.tag_name().namespace() == Some(NAMESPACE)).collect()
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|node| node.has_tag_name(name))
}

pub(super) fn position(node: Node<'_, '_>) -> TextPos {
    node.document().text_pos_at(node.range().start)
}

/// Returns the bus of libvirt's own that an address is of.
fn own_bus(address: &str) -> Option<OwnBus> {
    let path = Path::new(address.strip_prefix("unix:path=")?);
    let (folder, file) = (path.parent()?, path.file_name()?.to_str()?);
    let digits = file.bytes().take_while(u8::is_ascii_digit).count();
    let (before, ending) = file.split_at_checked(digits)?;
    let is_own = folder.file_name()? == "dbus" && ending.starts_with('-') && ending.ends_with(BUS_ENDING);
    let number = number(before).filter(|_| is_own)?;
    Some(OwnBus { folder: folder.to_owned(), ending: ending.to_owned(), number: Some(number) })
}

/// Reads the number of a domain that runs. There is no other way to write one.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number: &u32| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xml(graphics: &str, metadata: &str) -> String {
        format!(
            "<domain type='qemu' id='3'>\n  <name>alpine</name>\n  <uuid>6F0A0B1C-0000-4000-8000-000000000001</uuid>\n\
             <metadata>{metadata}</metadata>\n<devices><graphics type='vnc' port='-1'/>{graphics}</devices></domain>"
        )
    }

    fn display(graphics: &str) -> Display {
        Domain::parse(&xml(graphics, "")).unwrap().display
    }

    const OWN: &str = "<graphics type='dbus' address='unix:path=/run/libvirt/qemu/dbus/3-alpine-dbus.sock'/>";

    #[test]
    fn a_display_is_on_a_bus_of_its_own_on_another_or_on_none() {
        let domain = Domain::parse(&xml(OWN, "")).unwrap();
        assert_eq!(
            (domain.name.as_str(), domain.uuid.as_str()),
            ("alpine", "6f0a0b1c-0000-4000-8000-000000000001")
        );
        assert!(domain.runs && domain.settings.is_empty());
        let Display::OwnBus(Some(bus)) = domain.display else { panic!("{:?}", domain.display) };
        assert_eq!(bus.number, Some(3));
        assert_eq!(bus.socket(4), Path::new("/run/libvirt/qemu/dbus/4-alpine-dbus.sock"));
        assert_eq!(
            (bus.number_of("17-alpine-dbus.sock"), bus.number_of("17-alpine-dbus.conf")),
            (Some(17), None)
        );
        assert_eq!((bus.number_of("x-alpine-dbus.sock"), bus.number_of("+1-alpine-dbus.sock")), (None, None));
        assert_eq!(display("<graphics type='dbus'/>"), Display::OwnBus(None));
        assert_eq!(display("<graphics type='dbus' p2p='yes'/>"), Display::PeerToPeer);
        assert_eq!(
            display("<graphics type='dbus' address='unix:path=/b'/>"),
            Display::Bus("unix:path=/b".into())
        );
        assert_eq!(display(""), Display::None);
    }

    #[test]
    fn a_bus_is_named_by_the_first_characters_of_a_name() {
        let bus = OwnBus::of_name("a-name-of-more-than-twenty", Path::new("/d"));
        assert_eq!(bus.number_of("1-a-name-of-more-than-d-dbus.sock"), None);
        assert_eq!(bus.number_of("1-a-name-of-more-than--dbus.sock"), Some(1));
    }

    #[test]
    fn what_is_restored_finds_a_new_bus() {
        let text = without_own_bus(&xml(OWN, "")).unwrap().unwrap();
        assert_eq!(text, xml("<graphics type='dbus'/>", ""));
        for other in ["<graphics type='dbus'/>", "<graphics type='dbus' address='unix:path=/b'/>", ""] {
            assert_eq!(without_own_bus(&xml(other, "")).unwrap(), None);
        }
        let saved = format!("<domstatus>{}</domstatus>", xml(OWN, ""));
        assert!(without_own_bus(&saved).unwrap().is_some());
    }

    #[test]
    fn what_is_no_domain_is_refused() {
        for wrong in ["", "<domain", "<network><name>n</name></network>", "<domain><name>n</name></domain>"] {
            assert!(Domain::parse(wrong).is_err(), "{wrong}");
        }
        let entity = "<!DOCTYPE d [<!ENTITY e 'x'>]><domain><name>&e;</name><uuid>u</uuid></domain>";
        assert!(Domain::parse(entity).unwrap_err().to_string().contains("DTD"));
        let large = format!("<domain>{}</domain>", " ".repeat(XML_MAX));
        assert_eq!(Domain::parse(&large).unwrap_err().to_string(), "the domain's XML has more than 1024 KiB");
        let many = format!("<domain>{}</domain>", "<a/>".repeat(100_000));
        assert!(Domain::parse(&many).is_err());
    }
}
