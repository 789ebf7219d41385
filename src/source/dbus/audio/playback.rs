use std::time::Instant;

use zbus::message::Body;

use super::{Side, format};
use crate::display1::{AudioEnabled, AudioOutCall, AudioVolume, AudioWrite, Refusal};
use crate::hub::Hub;
use crate::sound::{Loudness, Mixer};
use crate::source::dbus::object::{AUDIO_LISTENER, Answer, Object};

/// The most channels whose volume is kept.
pub(super) const MAX_VOLUMES: usize = 16;

/// What the guest plays.
pub(super) struct Out {
    hub: Hub,
    mixer: Mixer,
}

impl Out {
    pub(super) fn new(hub: Hub) -> Self {
        Self { hub, mixer: Mixer::default() }
    }

    fn carry_out(&mut self, call: AudioOutCall<'_>, now: Instant) -> Result<(), Refusal> {
        match call {
            AudioOutCall::Init(init) => self.mixer.add(init.id, format(init)?)?,
            AudioOutCall::Fini(id) => self.mixer.remove(id)?,
            AudioOutCall::SetEnabled(AudioEnabled { id, on }) => self.mixer.enable(id, on)?,
            AudioOutCall::SetVolume(AudioVolume { id, mute, volume }) => {
                let channels = volume.0.iter().copied().take(MAX_VOLUMES).collect();
                self.mixer.set_loudness(id, Loudness { channels, mute })?;
            }
            AudioOutCall::Write(AudioWrite { id, data }) => {
                for block in self.mixer.write(id, data.0, now)? {
                    self.hub.playback().play(block);
                }
                return Ok(());
            }
        }
        self.hub.playback().set_loudness(self.mixer.loudness());
        if !self.mixer.is_playing() {
            self.hub.playback().stop();
        }
        Ok(())
    }
}

impl Side for Out {
    const OBJECT: Object = AUDIO_LISTENER;

    fn handle(
        &mut self,
        interface: Option<&str>,
        member: &str,
        body: &Body,
        now: Instant,
    ) -> Result<Answer, Refusal> {
        let call = AudioOutCall::decode(interface, member, body)?;
        self.carry_out(call, now).map(|()| Answer::Nothing)
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        self.hub.playback().stop();
    }
}
