//! The calls of the clipboards, which QEMU and we make of each other.
//! `dbus-interfaces/org.qemu.Display1.Clipboard.xml` describes them.

use serde::{Deserialize, Serialize};
use zbus::zvariant::Type;

use super::call::calls;
use super::names::{CLIPBOARD, CLIPBOARD_PATH};

/// The MIME type of text, the only one that QEMU 7.0 to 11 know.
pub(crate) const TEXT: &str = "text/plain;charset=utf-8";

calls! {
    /// One call of the clipboards.
    pub(crate) enum ClipboardCall at CLIPBOARD_PATH {
        /// Serial numbers begin anew.
        Register(()) is CLIPBOARD."Register",
        /// The caller is gone.
        Unregister(()) is CLIPBOARD."Unregister",
        /// The caller has something new.
        Grab(Grab<'m>) is CLIPBOARD."Grab",
        /// Nobody has anything any more.
        Release(u32) is CLIPBOARD."Release",
        /// The caller wants what we have.
        Request(Paste<'m>) is CLIPBOARD."Request",
    }
}

/// Something new in a clipboard. A peer may give any numbers.
#[derive(Clone, Debug, Deserialize, Serialize, Type)]
pub(crate) struct Grab<'m> {
    pub(crate) selection: u32,
    pub(crate) serial: u32,
    #[serde(borrow)]
    pub(crate) mimes: Vec<&'m str>,
}

/// What is wanted of a clipboard, and as what.
#[derive(Clone, Debug, Deserialize, Serialize, Type)]
pub(crate) struct Paste<'m> {
    pub(crate) selection: u32,
    #[serde(borrow)]
    pub(crate) mimes: Vec<&'m str>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::display1::CLIPBOARD_XML;
    use crate::display1::call::tests::methods_of;

    #[test]
    fn every_call_is_as_the_interface_file_says() {
        let calls = [
            ClipboardCall::Register(()),
            ClipboardCall::Unregister(()),
            ClipboardCall::Grab(Grab { selection: 1, serial: 2, mimes: vec![TEXT] }),
            ClipboardCall::Release(1),
            ClipboardCall::Request(Paste { selection: 1, mimes: vec![TEXT] }),
        ];
        let mut ours: Vec<_> = calls.iter().map(|call| there_and_back(call)).collect();
        let mut methods = methods_of(CLIPBOARD_XML);
        methods.sort();
        ours.sort();
        assert_eq!(ours, methods);
    }

    fn there_and_back(call: &ClipboardCall<'_>) -> (String, String, String) {
        let message = call.message().unwrap();
        let header = message.header();
        let (interface, member) =
            (header.interface().unwrap().to_string(), header.member().unwrap().to_string());
        let body = message.body();
        let again = ClipboardCall::decode(Some(&interface), &member, &body).unwrap();
        assert_eq!(std::mem::discriminant(&again), std::mem::discriminant(call));
        let types = body.signature().to_string_no_parens();
        (interface, member, types)
    }
}
