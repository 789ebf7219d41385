use std::sync::Arc;

use super::picture::{Picture, PictureError, Pixels, Planes};
use crate::frame::{Dmabuf, Rect, Region, Scanout, Size};

/// How often a picture is tried to be read: a GPU that is asked for the first time may need longer than it gets, and an
/// idle guest shows nothing else.
const READ_TRIES: usize = 3;

/// What a console shows, or an area of that, for the encoder to take: as the guest's own buffer, or as planes that the
/// CPU writes.
///
/// The planes are brought up to date as soon as something changes, or only when they are asked for: an encoder that
/// reads the guest's buffer has no use for them, and one that stops doing so finds nothing missing.
pub(super) struct ConsolePicture {
    scanout: Arc<Scanout>,
    /// The part that is encoded.
    area: Rect,
    picture: Option<Picture>,
    /// What the planes do not show yet.
    unread: Region,
    /// How the planes are laid out.
    pixels: Pixels,
    /// Whether to read what changes at once.
    ahead: bool,
}

impl ConsolePicture {
    /// Shows `area` of this scanout, of which nothing is read yet, and nothing will be before it is needed.
    pub(super) fn new(scanout: Arc<Scanout>, area: Rect, pixels: Pixels) -> Self {
        let unread = area.into();
        Self { scanout, area, picture: None, unread, pixels, ahead: false }
    }

    /// Returns the size of what is encoded.
    pub(super) fn size(&self) -> Size {
        Size::new(self.area.width, self.area.height)
    }

    /// Returns the guest's buffer, if all of it is what is encoded.
    pub(super) fn dmabuf(&self) -> Option<&Dmabuf> {
        self.scanout.as_dmabuf().filter(|_| self.area == self.scanout.size().rect())
    }

    /// Chooses whether changes are read at once or when they are needed.
    pub(super) fn read_ahead(&mut self, ahead: bool) {
        self.ahead = ahead;
    }

    /// Takes a scanout of the same size, and its damage inside the area. Returns whether the guest's pixels have been
    /// read.
    /// If not, they should stay unchanged until the encoder has read them.
    ///
    /// # Errors
    /// If they cannot be read, tried some times. What cannot be read stays as it was and is read the next time: its
    /// memory may be gone because another scanout is on its way.
    pub(super) fn change(&mut self, scanout: Arc<Scanout>, damage: &Region) -> Result<bool, PictureError> {
        self.scanout = scanout;
        self.unread.add_region(damage);
        if !self.ahead {
            return Ok(false);
        }
        for _ in 1..READ_TRIES {
            if self.read().is_ok() {
                return Ok(true);
            }
        }
        self.read().map(|()| true)
    }

    /// Brings the planes up to date.
    ///
    /// # Errors
    /// As for [`ConsolePicture::change`].
    pub(super) fn read(&mut self) -> Result<(), PictureError> {
        let unread = self.unread.take();
        if unread.is_empty() {
            return Ok(());
        }
        let area = self.area;
        let picture = self.picture.get_or_insert_with(|| Picture::of(area, self.pixels));
        let read = self.scanout.reader().map_err(PictureError::from).and_then(|mut reader| {
            unread.rects().iter().try_for_each(|&rect| picture.refresh(&mut reader, rect))
        });
        if read.is_err() {
            self.unread.add_region(&unread);
        }
        read
    }

    /// Returns the planes as last read, if they ever were.
    pub(super) fn planes(&self) -> Option<Planes> {
        self.picture.as_ref().map(Picture::planes)
    }
}
