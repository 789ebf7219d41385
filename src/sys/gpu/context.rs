use std::path::Path;

use super::egl::{Display, EglImage, Libraries};
use super::gles::{Painter, Texture};
use super::import::attributes;
use super::{GpuError, GpuImage, GpuWindow, node};

/// One render node, ready to import and to draw.
pub(super) struct Context<'l> {
    painter: Painter,
    display: Display<'l>,
}

/// A buffer as one context has imported it. To be given back to that context.
#[derive(Debug)]
pub(super) struct Imported {
    image: EglImage,
    texture: Texture,
}

impl<'l> Context<'l> {
    /// Opens a render node.
    ///
    /// A node without a GPU (vgem) has Mesa's software renderer. That cannot map what it imports from another device
    /// through such a node, and crashes when it reads it; by itself it maps the buffer as any program does.
    pub(super) fn open(libraries: &'l Libraries, node: &Path) -> Result<Self, GpuError> {
        let open = || {
            let context = Self::new(libraries, Display::open(libraries, node::open(node)?)?)?;
            if !context.painter.is_software() {
                return Ok(context);
            }
            drop(context);
            Self::new(libraries, Display::software(libraries)?)
        };
        open().map_err(|reason: String| GpuError::Node { node: node.to_owned(), reason })
    }

    /// Makes an importer for a display whose context is current.
    fn new(libraries: &Libraries, display: Display<'l>) -> Result<Self, String> {
        Ok(Self { painter: Painter::new(libraries)?, display })
    }

    /// Imports a buffer.
    pub(super) fn import(&self, image: &GpuImage) -> Result<Imported, String> {
        self.display.make_current().map_err(|error| error.to_string())?;
        let modifiers = self.display.has("EGL_EXT_image_dma_buf_import_modifiers");
        if !modifiers && image.modifier.is_some_and(|modifier| modifier != 0) {
            return Err("its driver lacks EGL_EXT_image_dma_buf_import_modifiers".into());
        }
        let egl = self.display.import(&attributes(image, modifiers))?;
        match self.painter.texture(egl) {
            Ok(texture) => Ok(Imported { image: egl, texture }),
            Err(error) => {
                self.display.forget(egl);
                Err(error)
            }
        }
    }

    /// Reads a part of a buffer that was imported here.
    pub(super) fn read(
        &mut self,
        imported: &Imported,
        size: (u32, u32),
        window: GpuWindow,
    ) -> Result<Vec<u8>, GpuError> {
        self.display.make_current()?;
        self.painter.read((imported.image, imported.texture), size, window)
    }

    /// Gives back what was imported here.
    pub(super) fn forget(&self, imported: Imported) {
        if self.display.make_current().is_ok() {
            self.painter.forget(imported.texture);
        }
        self.display.forget(imported.image);
    }
}
