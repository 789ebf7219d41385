//! The calls that the listeners of the guest's sound get. `dbus-interfaces/org.qemu.Display1.AudioListener.xml`
//! describes them.

use serde::{Deserialize, Serialize};
use zbus::zvariant::Type;

use super::Bytes;
use super::call::calls;
use super::names::{AUDIO_IN, AUDIO_IN_PATH, AUDIO_OUT, AUDIO_OUT_PATH};

calls! {
    /// One call of the listener to what the guest plays.
    pub(crate) enum AudioOutCall at AUDIO_OUT_PATH {
        /// A stream begins, which is not enabled yet.
        Init(AudioInit) is AUDIO_OUT."Init",
        /// A stream ends.
        Fini(u64) is AUDIO_OUT."Fini",
        /// A stream is enabled or disabled.
        SetEnabled(AudioEnabled) is AUDIO_OUT."SetEnabled",
        /// A stream is to be so loud.
        SetVolume(AudioVolume<'m>) is AUDIO_OUT."SetVolume",
        /// The sound of a stream.
        Write(AudioWrite<'m>) is AUDIO_OUT."Write",
    }
}

calls! {
    /// One call of the listener that gives the guest what it records.
    pub(crate) enum AudioInCall at AUDIO_IN_PATH {
        /// A stream begins, which is not enabled yet.
        Init(AudioInit) is AUDIO_IN."Init",
        /// A stream ends.
        Fini(u64) is AUDIO_IN."Fini",
        /// A stream is enabled or disabled.
        SetEnabled(AudioEnabled) is AUDIO_IN."SetEnabled",
        /// A stream is to be so loud.
        SetVolume(AudioVolume<'m>) is AUDIO_IN."SetVolume",
        /// Sound is wanted, and the guest stands still until the answer.
        Read(AudioRead) is AUDIO_IN."Read",
    }
}

/// What a stream is. A peer may give any numbers.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, Type)]
pub(crate) struct AudioInit {
    pub(crate) id: u64,
    pub(crate) bits: u8,
    pub(crate) is_signed: bool,
    pub(crate) is_float: bool,
    pub(crate) rate: u32,
    pub(crate) channels: u8,
    pub(crate) frame_bytes: u32,
    pub(crate) second_bytes: u32,
    pub(crate) big_endian: bool,
}

/// Whether a stream makes sound.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, Type)]
pub(crate) struct AudioEnabled {
    pub(crate) id: u64,
    pub(crate) on: bool,
}

/// How loud a stream is to be: of each channel from 0 to 255.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, Type)]
pub(crate) struct AudioVolume<'m> {
    pub(crate) id: u64,
    pub(crate) mute: bool,
    #[serde(borrow)]
    pub(crate) volume: Bytes<'m>,
}

/// Sound of a stream, in its format.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, Type)]
pub(crate) struct AudioWrite<'m> {
    pub(crate) id: u64,
    #[serde(borrow)]
    pub(crate) data: Bytes<'m>,
}

/// How many bytes are wanted at most.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, Type)]
pub(crate) struct AudioRead {
    pub(crate) id: u64,
    pub(crate) size: u64,
}

#[cfg(test)]
mod tests {
    use zbus::Message;

    use super::*;
    use crate::display1::call::tests::methods_of;

    fn signature(message: &Message) -> (String, String, String) {
        let (header, body) = (message.header(), message.body());
        let interface = header.interface().unwrap().to_string();
        (interface, header.member().unwrap().to_string(), body.signature().to_string_no_parens())
    }

    #[test]
    fn every_call_is_as_the_interface_file_says() {
        let init = AudioInit {
            id: 1,
            bits: 16,
            is_signed: true,
            is_float: false,
            rate: 44_100,
            channels: 2,
            frame_bytes: 4,
            second_bytes: 176_400,
            big_endian: false,
        };
        let enabled = AudioEnabled { id: 1, on: true };
        let volume = AudioVolume { id: 1, mute: false, volume: Bytes(&[1, 2]) };
        let out = [
            AudioOutCall::Init(init),
            AudioOutCall::Fini(1),
            AudioOutCall::SetEnabled(enabled),
            AudioOutCall::SetVolume(volume),
            AudioOutCall::Write(AudioWrite { id: 1, data: Bytes(&[3]) }),
        ];
        let input = [
            AudioInCall::Init(init),
            AudioInCall::Fini(1),
            AudioInCall::SetEnabled(enabled),
            AudioInCall::SetVolume(volume),
            AudioInCall::Read(AudioRead { id: 1, size: 2 }),
        ];
        let mut ours = Vec::new();
        for call in out {
            let message = call.message().unwrap();
            let (interface, member, types) = signature(&message);
            let body = message.body();
            let again = AudioOutCall::decode(Some(&interface), &member, &body).unwrap();
            assert_eq!(std::mem::discriminant(&again), std::mem::discriminant(&call));
            ours.push((interface, member, types));
        }
        for call in input {
            let message = call.message().unwrap();
            let (interface, member, types) = signature(&message);
            let body = message.body();
            let again = AudioInCall::decode(Some(&interface), &member, &body).unwrap();
            assert_eq!(std::mem::discriminant(&again), std::mem::discriminant(&call));
            ours.push((interface, member, types));
        }
        let mut methods = methods_of(crate::display1::AUDIO_XML);
        methods.retain(|(interface, ..)| interface.contains("Audio"));
        methods.sort();
        ours.sort();
        assert_eq!(ours, methods);
    }
}
