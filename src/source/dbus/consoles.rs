use std::collections::HashMap;
use std::os::fd::OwnedFd;

use tracing::warn;
use zbus::MessageStream;
use zbus::fdo::ManagedObjects;
use zbus::message::Message;
use zbus::zvariant::{Fd, Value};

use super::connect::Qemu;
use super::ports;
use crate::display1::{
    AUDIO_PATH, CHARDEV, CONSOLE, KEYBOARD, MOUSE, ROOT, VM, VM_PATH, chardev_id, console_id, console_path,
};
use crate::frame::ConsoleId;
use crate::hub::{ConsoleInfo, Guest, Leds};
use crate::source::SourceError;

/// The longest description of a VM taken, in bytes. One of 16 consoles has under 20 KiB.
const MAX_DESCRIPTION: usize = 1 << 20;

/// The longest name of a VM or label of a console kept, in characters.
const MAX_NAME: usize = 256;

/// Asks QEMU what the VM is called and which consoles it has.
pub(super) async fn discover(qemu: &Qemu) -> Result<Guest, SourceError> {
    const WHAT: &str = "GetManagedObjects";
    let answer = qemu.call(ROOT, "org.freedesktop.DBus.ObjectManager", WHAT, &()).await?;
    let body = answer.body();
    if body.len() > MAX_DESCRIPTION {
        return Err(SourceError::Answer { what: WHAT, error: format!("it has {} bytes", body.len()) });
    }
    let objects: ManagedObjects =
        body.deserialize().map_err(|error| SourceError::Answer { what: WHAT, error: error.to_string() })?;
    let mut guest = guest(&objects);
    if guest.sound && qemu.is_peer() && !is_safe_for_sound(&objects) {
        warn!(
            "no sound: a QEMU before 8.1 would end if it were asked for it here; on a D-Bus bus it would not"
        );
        guest.sound = false;
    }
    if guest.consoles.is_empty() { Err(SourceError::NoConsole) } else { Ok(guest) }
}

/// Gives QEMU a socket to show a console on.
pub(super) async fn register(qemu: &Qemu, id: ConsoleId, socket: OwnedFd) -> Result<(), SourceError> {
    let called = qemu.call(&console_path(id), CONSOLE, "RegisterListener", &Fd::from(socket)).await;
    called.map(|_| ()).map_err(|error| match error {
        SourceError::Refused { error, .. } => SourceError::Register { console: id, error },
        other => other,
    })
}

/// Asks something small of a console. QEMU answers when it has carried out all that it was told before.
pub(super) async fn ask(qemu: &Qemu, id: ConsoleId) -> Result<Message, SourceError> {
    qemu.call(&console_path(id), "org.freedesktop.DBus.Properties", "Get", &(CONSOLE, "Label")).await
}

/// The changes that [`apply_change`] understands, from now on.
pub(super) async fn changes(qemu: &Qemu) -> Result<MessageStream, SourceError> {
    qemu.changes().await
}

/// Takes up a change of a property, or of which ports there are. What is not known is passed over.
pub(super) fn apply_change(guest: &mut Guest, change: &Message) {
    let (header, body) = (change.header(), change.body());
    if body.len() > MAX_DESCRIPTION {
        return;
    }
    match header.member().map(|member| member.as_str()) {
        Some("PropertiesChanged") => {}
        Some("InterfacesAdded") => return ports::added(guest, &body),
        Some("InterfacesRemoved") => return ports::removed(guest, &body),
        _ => return,
    }
    let Some(path) = header.path().map(|path| path.as_str()) else { return };
    let Ok((interface, properties, _)) = body.deserialize::<(&str, HashMap<&str, Value<'_>>, Vec<&str>)>()
    else {
        return;
    };
    match interface {
        MOUSE => {
            let console = console_id(path).and_then(|id| guest.consoles.get_mut(&id));
            if let (Some(console), Some(Value::Bool(absolute))) = (console, properties.get("IsAbsolute")) {
                console.absolute = *absolute;
            }
        }
        KEYBOARD if console_id(path).is_some() => {
            if let Some(Value::U32(bits)) = properties.get("Modifiers") {
                guest.leds = Leds::from_bits(*bits);
            }
        }
        CHARDEV => {
            if let Some(port) = chardev_id(path).and_then(|id| guest.ports.get_mut(id)) {
                ports::change(port, |name| properties.get(name));
            }
        }
        _ => {}
    }
}

/// Returns whether QEMU survives the registration of a listener to its sound by a peer without a name. At least 7.2
/// looks that name up all the same and ends; all since 8.1 have this property.
fn is_safe_for_sound(objects: &ManagedObjects) -> bool {
    let audio = objects.iter().find(|(path, _)| path.as_str() == AUDIO_PATH);
    audio.is_some_and(|(_, interfaces)| {
        interfaces.values().any(|properties| properties.contains_key("Interfaces"))
    })
}

fn guest(objects: &ManagedObjects) -> Guest {
    let property = |path: &str, interface: &str, name: &str| -> Option<&Value<'_>> {
        let (_, interfaces) = objects.iter().find(|(at, _)| at.as_str() == path)?;
        let (_, properties) = interfaces.iter().find(|(known, _)| known.as_str() == interface)?;
        properties.get(name).map(|value| &**value)
    };
    let text = |path: &str, interface: &str, name: &str| match property(path, interface, name) {
        Some(Value::Str(text)) => text.chars().take(MAX_NAME).collect(),
        _ => String::new(),
    };
    let mut guest = Guest {
        name: text(VM_PATH, VM, "Name"),
        uuid: uuid(&text(VM_PATH, VM, "UUID")).unwrap_or_default(),
        sound: objects.keys().any(|path| path.as_str() == AUDIO_PATH),
        ..Guest::default()
    };
    for id in objects.keys().filter_map(|path| console_id(path.as_str())) {
        let path = console_path(id);
        if text(&path, CONSOLE, "Type") != "Graphic" {
            continue;
        }
        let absolute = matches!(property(&path, MOUSE, "IsAbsolute"), Some(Value::Bool(true)));
        guest.consoles.insert(id, ConsoleInfo { label: text(&path, CONSOLE, "Label"), absolute });
    }
    let mut sorted: Vec<_> = objects.iter().collect();
    sorted.sort_unstable_by_key(|(path, _)| path.as_str());
    for (path, interfaces) in sorted {
        ports::add(&mut guest, path.as_str(), interfaces);
    }
    // All keyboards of a QEMU show the same lights.
    if let Some((&first, _)) = guest.consoles.first_key_value()
        && let Some(Value::U32(bits)) = property(&console_path(first), KEYBOARD, "Modifiers")
    {
        guest.leds = Leds::from_bits(*bits);
    }
    guest
}

/// The bytes of a UUID in its usual form of 32 hexadecimal digits and four dashes.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let number = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32)?;
    Some(number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::PortInfo;
    use std::collections::BTreeMap;
    use zbus::zvariant::{OwnedObjectPath, OwnedValue};

    type Rows<'a> = &'a [(&'a str, &'a str, &'a str, Value<'a>)];

    fn objects(rows: Rows<'_>) -> ManagedObjects {
        let mut objects = ManagedObjects::new();
        for (path, interface, name, value) in rows {
            let path = OwnedObjectPath::try_from(format!("{ROOT}/{path}")).unwrap();
            let interfaces = objects.entry(path).or_default();
            let properties = interfaces.entry((*interface).try_into().unwrap()).or_default();
            properties.insert((*name).to_owned(), OwnedValue::try_from(value).unwrap());
        }
        objects
    }

    fn change(path: &str, interface: &str, name: &str, value: Value<'_>) -> Message {
        let signal =
            Message::signal(format!("{ROOT}/{path}"), "org.freedesktop.DBus.Properties", "PropertiesChanged");
        signal.unwrap().build(&(interface, HashMap::from([(name, value)]), Vec::<&str>::new())).unwrap()
    }

    #[test]
    fn graphic_consoles_are_found_and_followed() {
        let mut guest = guest(&objects(&[
            ("VM", VM, "Name", "alpine".into()),
            ("VM", VM, "UUID", "00112233-4455-6677-8899-aabbccddeeff".into()),
            ("Console_1", CONSOLE, "Type", "Text".into()),
            ("Console_10", CONSOLE, "Type", "Graphic".into()),
            ("Console_2", CONSOLE, "Type", "Graphic".into()),
            ("Console_2", CONSOLE, "Label", "virtio-vga".into()),
            ("Console_2", MOUSE, "IsAbsolute", true.into()),
            ("Console_2", KEYBOARD, "Modifiers", 2u32.into()),
            ("Console_x", CONSOLE, "Type", "Graphic".into()),
            ("Chardev_agent", CHARDEV, "Name", "com.redhat.spice.0".into()),
            ("Chardev_usb1", CHARDEV, "Name", "org.qemu.usbredir".into()),
            ("Chardev_usb1", CHARDEV, "FEOpened", true.into()),
        ]));
        let port = |name: &str, is_open| PortInfo { name: name.to_owned(), is_open, ..PortInfo::default() };
        let agent = ("agent".to_owned(), port("com.redhat.spice.0", false));
        let usb = ("usb1".to_owned(), port("org.qemu.usbredir", true));
        assert_eq!(guest.ports, BTreeMap::from([agent, usb]));
        apply_change(&mut guest, &change("Chardev_agent", CHARDEV, "FEOpened", true.into()));
        apply_change(&mut guest, &change("Chardev_other", CHARDEV, "FEOpened", true.into()));
        apply_change(&mut guest, &change("Chardev_usb1", CHARDEV, "Owner", ":1.7".into()));
        assert!(guest.ports["agent"].is_open && guest.ports.len() == 2);
        assert!(guest.ports["usb1"].is_taken && !guest.ports["agent"].is_taken);
        let usb2 = OwnedObjectPath::try_from(format!("{ROOT}/Chardev_usb2")).unwrap();
        let properties =
            HashMap::from([("Name", Value::from("org.qemu.usbredir")), ("FEOpened", true.into())]);
        let objects = |member: &'static str| {
            Message::signal(ROOT, "org.freedesktop.DBus.ObjectManager", member).unwrap()
        };
        let added = (&usb2, HashMap::from([(CHARDEV, properties)]));
        apply_change(&mut guest, &objects("InterfacesAdded").build(&added).unwrap());
        assert_eq!(guest.ports["usb2"], PortInfo { number: 1, ..port("org.qemu.usbredir", true) });
        apply_change(&mut guest, &objects("InterfacesRemoved").build(&(&usb2, vec![CHARDEV])).unwrap());
        assert!(guest.ports.len() == 2 && !guest.ports.contains_key("usb2"));
        assert_eq!((guest.name.as_str(), guest.uuid[15], guest.leds.bits()), ("alpine", 0xff, Leds::NUM));
        let first = ConsoleInfo { label: "virtio-vga".into(), absolute: true };
        let both = [(ConsoleId(2), first), (ConsoleId(10), ConsoleInfo::default())];
        assert_eq!(guest.consoles, BTreeMap::from(both));

        apply_change(&mut guest, &change("Console_10", MOUSE, "IsAbsolute", true.into()));
        apply_change(&mut guest, &change("Console_2", MOUSE, "IsAbsolute", false.into()));
        apply_change(&mut guest, &change("Console_2", KEYBOARD, "Modifiers", 0xf5u32.into()));
        assert!(guest.consoles[&ConsoleId(10)].absolute && !guest.consoles[&ConsoleId(2)].absolute);
        assert_eq!(guest.leds.bits(), Leds::SCROLL | Leds::CAPS);
        let before = guest.clone();
        apply_change(&mut guest, &change("Console_77", MOUSE, "IsAbsolute", true.into()));
        apply_change(&mut guest, &change("Console_2", MOUSE, "IsAbsolute", "yes".into()));
        assert_eq!(guest, before);
    }

    #[test]
    fn a_vm_without_a_uuid_has_zeros() {
        assert_eq!(uuid("00000000-0000-0000-0000-000000000000"), Some([0; 16]));
        assert_eq!(uuid("+0112233-4455-6677-8899-aabbccddeef"), None);
        assert_eq!(uuid(""), None);
    }
}
