use std::ops::AddAssign;

/// Exact images that viewers were sent, by how they are packed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Packed {
    /// Not at all.
    pub raw: Images,
    /// As LZ4.
    pub lz4: Images,
    /// As GLZ inside zlib.
    pub zlib_glz: Images,
}

/// Some images together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Images {
    /// Their pixels.
    pub pixels: u64,
    /// What these were packed into.
    pub bytes: u64,
}

impl Packed {
    /// Returns each way, by the name that metrics have for it, with its images.
    pub(crate) fn each(&self) -> [(&'static str, Images); 3] {
        [("raw", self.raw), ("lz4", self.lz4), ("zlib-glz", self.zlib_glz)]
    }
}

impl AddAssign for Packed {
    fn add_assign(&mut self, more: Self) {
        self.raw += more.raw;
        self.lz4 += more.lz4;
        self.zlib_glz += more.zlib_glz;
    }
}

impl AddAssign for Images {
    fn add_assign(&mut self, more: Self) {
        self.pixels = self.pixels.saturating_add(more.pixels);
        self.bytes = self.bytes.saturating_add(more.bytes);
    }
}
