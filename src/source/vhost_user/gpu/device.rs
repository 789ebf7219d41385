use super::cursor::{self, CursorChange};
use super::host::Host;
use super::outputs::Outputs;
use super::protocol::{Command, Header, Refusal};
use super::resources::Resources;
use super::scanouts::{Picture, Scanouts, Shown};
use crate::frame::{Pointer, Rect};

/// What a command did to the picture.
#[derive(Clone, Debug)]
pub(in super::super) enum Effect<P> {
    /// A scanout shows something else; `None` if it is off.
    Show {
        /// The scanout.
        scanout: u32,
        /// What it shows.
        picture: Option<Picture<P>>,
    },
    /// A part of a scanout's picture changed.
    Damage {
        /// The scanout.
        scanout: u32,
        /// The part, in the picture's own coordinates.
        part: Rect,
    },
    /// A scanout's cursor changed.
    Cursor(CursorChange),
}

/// What comes of a command: its reply, and its effects in their order.
#[derive(Debug)]
pub(in super::super) struct Outcome<P> {
    /// The bytes to answer with. Commands of the cursor queue have none.
    pub reply: Vec<u8>,
    /// What changed of the picture.
    pub effects: Vec<Effect<P>>,
}

/// The device: its resources, and what it shows of them.
#[derive(Debug)]
pub(in super::super) struct Device<P> {
    resources: Resources<P>,
    scanouts: Scanouts,
}

impl<P> Default for Device<P> {
    fn default() -> Self {
        Self { resources: Resources::default(), scanouts: Scanouts::default() }
    }
}

impl<P: Clone> Device<P> {
    /// Carries out a command of the control queue. `outputs` are the displays that the guest finds.
    pub(in super::super) fn control(
        &mut self,
        request: &[u8],
        outputs: &Outputs,
        host: &impl Host<Pixels = P>,
    ) -> Outcome<P> {
        let (header, command) = Header::decode(request);
        let mut effects = Vec::new();
        let reply = match command {
            Ok(Command::GetDisplayInfo) => header.display_info(&outputs.display_info()),
            Ok(Command::GetEdid { scanout }) => match outputs.edid(scanout) {
                Ok(edid) => header.edid(&edid),
                Err(refusal) => header.reply(Err(refusal)),
            },
            Ok(command) => header.reply(self.draw(command, host, &mut effects)),
            Err(refusal) => header.reply(Err(refusal)),
        };
        Outcome { reply, effects }
    }

    /// Carries out a command of the cursor queue, which has no reply. One that makes no sense does nothing.
    pub(in super::super) fn cursor(&self, request: &[u8], host: &impl Host<Pixels = P>) -> Option<Effect<P>> {
        let (_, command) = Header::decode(request);
        let Ok(Command::Cursor(command)) = command else { return None };
        Scanouts::check(command.scanout).ok()?;
        cursor::change(command, &self.resources, host).ok().map(Effect::Cursor)
    }

    /// Forgets everything, as when the guest resets its graphics card.
    pub(in super::super) fn reset(&mut self) -> Vec<Effect<P>> {
        let before = std::mem::take(self);
        let lit = before.scanouts.lit();
        let dark = lit.flat_map(|scanout| {
            let change = CursorChange { scanout, shape: None, pointer: Pointer::default() };
            [Effect::Show { scanout, picture: None }, Effect::Cursor(change)]
        });
        dark.collect()
    }

    /// Carries out a command that is about pixels.
    fn draw(
        &mut self,
        command: Command<'_>,
        host: &impl Host<Pixels = P>,
        effects: &mut Vec<Effect<P>>,
    ) -> Result<(), Refusal> {
        match command {
            Command::CreateResource { resource, format, size } => {
                self.resources.create(resource, size, format, host)
            }
            Command::CreateBlob { resource, memory: 1, size, ranges } => {
                self.resources.create_blob(resource, size, ranges)
            }
            Command::DropResource { resource } => {
                self.resources.remove(resource)?;
                let off = self.scanouts.turn_off(resource).into_iter();
                effects.extend(off.map(|scanout| Effect::Show { scanout, picture: None }));
                Ok(())
            }
            Command::AttachBacking { resource, ranges } => self.resources.attach(resource, ranges),
            Command::DetachBacking { resource } => self.resources.detach(resource),
            Command::Transfer { resource, part, offset } => {
                self.resources.transfer(resource, part, offset, host)
            }
            Command::SetScanout { scanout, resource: 0, .. }
            | Command::SetScanoutBlob { scanout, resource: 0, .. } => {
                Scanouts::check(scanout)?;
                if self.scanouts.set(scanout, None) {
                    effects.push(Effect::Show { scanout, picture: None });
                }
                Ok(())
            }
            Command::SetScanout { scanout, resource, part } => {
                Scanouts::check(scanout)?;
                let picture = self.resources.picture(resource, part)?;
                self.show(scanout, Shown { resource, part, blob: None }, picture, effects);
                Ok(())
            }
            Command::SetScanoutBlob { scanout, resource, part, layout } => {
                Scanouts::check(scanout)?;
                let picture = self.resources.blob_picture(resource, part, layout, host)?;
                self.show(scanout, Shown { resource, part, blob: Some(layout) }, picture, effects);
                Ok(())
            }
            Command::Flush { resource, part } => self.flush(resource, part, effects),
            Command::GetDisplayInfo
            | Command::GetEdid { .. }
            | Command::CreateBlob { .. }
            | Command::Cursor(_) => Err(Refusal::Unspecified),
        }
    }

    fn show(&mut self, scanout: u32, shown: Shown, picture: Picture<P>, effects: &mut Vec<Effect<P>>) {
        if self.scanouts.set(scanout, Some(shown)) {
            effects.push(Effect::Show { scanout, picture: Some(picture) });
        }
    }

    /// Tells those who read of what the guest drew.
    fn flush(&self, resource: u32, part: Rect, effects: &mut Vec<Effect<P>>) -> Result<(), Refusal> {
        if !self.resources.contains(resource) {
            return Err(Refusal::Resource);
        }
        for (scanout, shown, seen) in self.scanouts.flushed(resource, part) {
            let part = Rect { x: seen.x - shown.part.x, y: seen.y - shown.part.y, ..seen };
            effects.push(Effect::Damage { scanout, part });
        }
        Ok(())
    }
}
