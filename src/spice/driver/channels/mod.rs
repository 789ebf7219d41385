//! The kinds of channel that a client can have, each in a file of its own.
//!
//! [`CHANNELS`] and [`DEVICES`] are the only lists of them.

mod cursor;
mod device;
mod display;
mod inputs;
mod main;
mod playback;
mod record;

use futures_util::future::BoxFuture;
use spice_proto::wire::{Caps, ChannelId, ChannelType};

use super::link::Linked;
use super::{ChannelEnd, Server};
use crate::hub::Guest;
use crate::spice::grant::{Deed, Grant};
use crate::spice::session::Session;

/// A kind of channel, and how it is served.
pub(super) struct Channel {
    /// The number that clients know it by.
    pub(super) kind: ChannelType,
    /// Returns the capabilities that the server announces for it.
    pub(super) caps: fn() -> Caps,
    /// Returns the ids of those that a client of this guest is offered.
    ids: fn(&Guest) -> Vec<u8>,
    /// Serves one of a session until it ends. Dropped if the session ends first.
    pub(super) serve: for<'a> fn(&'a Server, &'a Session, Linked) -> BoxFuture<'a, Result<(), ChannelEnd>>,
}

/// All kinds. A client is offered its channels in this order.
const CHANNELS: &[Channel] =
    &[main::CHANNEL, inputs::CHANNEL, display::CHANNEL, cursor::CHANNEL, playback::CHANNEL, record::CHANNEL];

/// Those for clients that may use devices ([`Deed::Devices`]), after all others.
const DEVICES: &[Channel] = &[device::USB, device::FOLDER, device::STREAM];

/// Finds a kind of channel; `None` if this server has none of it.
pub(super) fn find(kind: ChannelType) -> Option<&'static Channel> {
    CHANNELS.iter().chain(DEVICES).find(|channel| channel.kind == kind)
}

/// Returns the channels that a client of `guest` with this grant is offered. Those of a console stand together.
fn offered(guest: &Guest, grant: &Grant) -> Vec<ChannelId> {
    let of = |channel: &Channel| {
        let kind = channel.kind;
        (channel.ids)(guest).into_iter().map(move |id| ChannelId { kind, id })
    };
    let mut channels: Vec<_> = CHANNELS.iter().flat_map(of).collect();
    channels.sort_by_key(|channel| channel.id);
    if grant.allows(Deed::Devices) {
        channels.extend(DEVICES.iter().flat_map(of));
    }
    channels
}

/// Returns an id for each console of `guest`. A guest without consoles gets id 0, so that the client's window
/// waits instead of closing.
fn consoles(guest: &Guest) -> Vec<u8> {
    let ids = guest.consoles.keys().filter_map(|console| u8::try_from(console.0).ok());
    let mut ids: Vec<u8> = ids.collect();
    if ids.is_empty() {
        ids.push(0);
    }
    ids
}

/// Returns an id for the sound of `guest`, if it has any.
fn sound(guest: &Guest) -> Vec<u8> {
    if guest.sound { vec![0] } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::ConsoleId;
    use crate::hub::{ConsoleInfo, PortInfo};
    use crate::spice::grant::{Rights, Who};

    #[test]
    fn a_client_is_offered_keys_and_pointer_and_picture_and_cursor_of_each_console() {
        let with = |consoles: &[u32]| {
            let consoles = consoles.iter().map(|id| (ConsoleId(*id), ConsoleInfo::default()));
            let guest = Guest { consoles: consoles.collect(), ..Guest::default() };
            offered(&guest, &Grant::of_anyone())
                .into_iter()
                .map(|channel| (channel.kind, channel.id))
                .collect::<Vec<_>>()
        };
        use ChannelType::{Cursor, Display, Inputs};
        let first = [(Inputs, 0), (Display, 0), (Cursor, 0)];
        assert_eq!((with(&[]), with(&[0])), (first.to_vec(), first.to_vec()));
        assert_eq!(with(&[0, 2, 300]), [&first[..], &[(Display, 2), (Cursor, 2)]].concat());
    }

    #[test]
    fn sound_is_offered_where_the_guest_has_a_sound_card() {
        let has = |sound| {
            let guest = Guest { sound, ..Guest::default() };
            let kinds: Vec<_> =
                offered(&guest, &Grant::of_anyone()).iter().map(|channel| channel.kind).collect();
            [ChannelType::Playback, ChannelType::Record].map(|kind| kinds.contains(&kind))
        };
        assert_eq!((has(false), has(true)), ([false; 2], [true; 2]));
    }

    #[test]
    fn devices_are_offered_to_those_who_may_use_the_guest() {
        let mut guest = Guest::default();
        for (id, name) in [
            ("a", "com.redhat.spice.0"),
            ("b", "org.qemu.usbredir"),
            ("c", "org.qemu.monitor.hmp.0"),
            ("d", "org.spice-space.webdav.0"),
            ("e", "org.qemu.usbredir"),
            ("f", "org.qemu.console.serial.0"),
        ] {
            guest.add_port(id.to_owned(), PortInfo { name: name.to_owned(), ..PortInfo::default() });
        }
        let of = |rights| {
            let grant = Grant { who: Who::Password, rights, until: None };
            offered(&guest, &grant).into_iter().skip(3).map(|id| id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(of(Rights::Use), ["usbredir:0", "usbredir:1", "webdav:0", "port:0"]);
        assert!(of(Rights::Look).is_empty());
    }
}
