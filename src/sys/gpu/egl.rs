#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::{null, null_mut};

use super::GpuError;

/// Whatever EGL and GBM give to be given back to them.
pub(super) type Handle = *mut c_void;

// `egl.h`, `eglext.h`.
const EXTENSIONS: i32 = 0x3055;
const PLATFORM_GBM: u32 = 0x31d7;
const PLATFORM_DEVICE: u32 = 0x313f;
const OPENGL_ES_API: u32 = 0x30a0;
const CONTEXT_CLIENT_VERSION: i32 = 0x3098;
const NONE: i32 = 0x3038;
const LINUX_DMA_BUF: u32 = 0x3270;

/// What a display must be able to do.
const NEEDED: [&str; 4] = [
    "EGL_KHR_surfaceless_context",
    "EGL_KHR_no_config_context",
    "EGL_KHR_image_base",
    "EGL_EXT_image_dma_buf_import",
];

/// Functions of a C library, by name and type.
macro_rules! functions {
    ($(#[$doc:meta])* $table:ident { $($field:ident = $symbol:literal ($($arg:ty),*) $(-> $result:ty)?;)* }) => {
        $(#[$doc])*
        pub(super) struct $table { $($field: unsafe extern "C" fn($($arg),*) $(-> $result)?,)* }

        impl $table {
            /// Finds all of them, or tells which is missing.
            ///
            /// # Safety
            /// What `find` finds must be a function of the type in the table, for ever.
            pub(super) unsafe fn load(
                find: impl Fn(&'static std::ffi::CStr) -> *mut std::ffi::c_void,
            ) -> Result<Self, &'static std::ffi::CStr> {
                Ok(Self { $($field: {
                    let found = std::ptr::NonNull::new(find($symbol)).ok_or($symbol)?;
                    // SAFETY: the caller says that it is such a function. Pointers to functions are as large as others.
                    unsafe {
                        std::mem::transmute::<
                            std::ptr::NonNull<std::ffi::c_void>,
                            unsafe extern "C" fn($($arg),*) $(-> $result)?,
                        >(found)
                    }
                },)* })
            }
        }
    };
}
pub(super) use functions;

functions!(
    /// `gbm.h`.
    Gbm {
        create_device = c"gbm_create_device" (i32) -> Handle;
        destroy_device = c"gbm_device_destroy" (Handle);
    }
);

functions!(
    /// `egl.h`.
    Egl {
        get_proc_address = c"eglGetProcAddress" (*const c_char) -> Handle;
        query_string = c"eglQueryString" (Handle, i32) -> *const c_char;
        get_error = c"eglGetError" () -> i32;
        initialize = c"eglInitialize" (Handle, *mut i32, *mut i32) -> u32;
        terminate = c"eglTerminate" (Handle) -> u32;
        bind_api = c"eglBindAPI" (u32) -> u32;
        create_context = c"eglCreateContext" (Handle, Handle, Handle, *const i32) -> Handle;
        destroy_context = c"eglDestroyContext" (Handle, Handle) -> u32;
        make_current = c"eglMakeCurrent" (Handle, Handle, Handle, Handle) -> u32;
    }
);

functions!(
    /// `eglext.h`: EGL_EXT_platform_base and EGL_KHR_image_base.
    Extensions {
        get_platform_display = c"eglGetPlatformDisplayEXT" (u32, Handle, *const i32) -> Handle;
        create_image = c"eglCreateImageKHR" (Handle, Handle, u32, Handle, *const i32) -> Handle;
        destroy_image = c"eglDestroyImageKHR" (Handle, Handle) -> u32;
    }
);

functions!(
    /// `eglext.h`: EGL_EXT_device_enumeration and EGL_EXT_device_query.
    Devices {
        query_devices = c"eglQueryDevicesEXT" (i32, *mut Handle, *mut i32) -> u32;
        query_string = c"eglQueryDeviceStringEXT" (Handle, i32) -> *const c_char;
    }
);

/// The libraries, loaded.
pub(super) struct Libraries {
    gbm: Gbm,
    egl: Egl,
    extensions: Extensions,
}

impl Libraries {
    /// Loads the libraries, for as long as the program runs: drivers start threads, and are not made to be unloaded.
    ///
    /// # Errors
    /// If one is missing, with the name of the package it is in.
    pub(super) fn load() -> Result<Self, GpuError> {
        const GBM: Library = Library { name: "libgbm.so.1", package: "libgbm1" };
        const EGL: Library = Library { name: "libEGL.so.1", package: "libegl1" };
        let (gbm, egl) = (GBM.open()?, EGL.open()?);
        let find = |library: &'static libloading::Library| {
            move |symbol: &CStr| {
                // SAFETY: the address is only looked up here, and the library stays loaded.
                unsafe { library.get::<Handle>(symbol).map_or(null_mut(), |found| *found) }
            }
        };
        // SAFETY: functions of these names have had these types since the libraries' first versions.
        let gbm = unsafe { Gbm::load(find(gbm)) }.map_err(|symbol| GBM.lacks(symbol))?;
        // SAFETY: as above.
        let egl = unsafe { Egl::load(find(egl)) }.map_err(|symbol| EGL.lacks(symbol))?;
        // SAFETY: EGL gives a function of the type in its registry for each of its names, or null.
        let extensions = unsafe { Extensions::load(|symbol| (egl.get_proc_address)(symbol.as_ptr())) };
        let extensions = extensions.map_err(|symbol| EGL.lacks(symbol))?;
        Ok(Self { gbm, egl, extensions })
    }

    /// Returns the address of a GLES function, or null.
    pub(super) fn find(&self, symbol: &CStr) -> Handle {
        // SAFETY: it reads the name, and gives an address.
        unsafe { (self.egl.get_proc_address)(symbol.as_ptr()) }
    }

    /// Returns the error of the last call.
    fn error(&self) -> String {
        // SAFETY: it has no arguments.
        let code = unsafe { (self.egl.get_error)() };
        // `egl.h`, from EGL_SUCCESS on.
        const NAMES: [&str; 15] = [
            "it did not say why",
            "EGL_NOT_INITIALIZED",
            "EGL_BAD_ACCESS",
            "EGL_BAD_ALLOC",
            "EGL_BAD_ATTRIBUTE",
            "EGL_BAD_CONFIG",
            "EGL_BAD_CONTEXT",
            "EGL_BAD_CURRENT_SURFACE",
            "EGL_BAD_DISPLAY",
            "EGL_BAD_MATCH",
            "EGL_BAD_NATIVE_PIXMAP",
            "EGL_BAD_NATIVE_WINDOW",
            "EGL_BAD_PARAMETER",
            "EGL_BAD_SURFACE",
            "EGL_CONTEXT_LOST",
        ];
        let name = usize::try_from(code - 0x3000).ok().and_then(|at| NAMES.get(at));
        name.map_or_else(|| format!("error {code:#x}"), |name| (*name).to_owned())
    }
}

/// A library and where Debian has it.
struct Library {
    name: &'static str,
    package: &'static str,
}

impl Library {
    fn open(&self) -> Result<&'static libloading::Library, GpuError> {
        // SAFETY: a system library, whose constructors every program that is linked with it runs, too.
        let library = unsafe { libloading::Library::new(self.name) };
        Ok(Box::leak(Box::new(library.map_err(|error| self.error(error.to_string()))?)))
    }

    fn lacks(&self, symbol: &CStr) -> GpuError {
        self.error(format!("it has no {}", symbol.to_string_lossy()))
    }

    fn error(&self, reason: String) -> GpuError {
        GpuError::Library { name: self.name, package: self.package, reason }
    }
}

/// A GPU, opened, with a GLES context that draws to no surface. Not to be sent to another thread.
pub(super) struct Display<'l> {
    libraries: &'l Libraries,
    handle: Handle,
    context: Handle,
    extensions: String,
    /// Dropped after EGL is done with it.
    _device: Option<Device<'l>>,
}

/// A GBM device, and the render node it is made of.
struct Device<'l> {
    gbm: &'l Gbm,
    handle: Handle,
    _node: OwnedFd,
}

/// An image that EGL made. To be given back to the display that made it.
#[derive(Clone, Copy, Debug)]
pub(super) struct EglImage(Handle);

impl EglImage {
    /// Returns the handle for GLES.
    pub(super) fn handle(self) -> Handle {
        self.0
    }
}

impl<'l> Display<'l> {
    /// Opens a GPU by its render node.
    pub(super) fn open(libraries: &'l Libraries, node: OwnedFd) -> Result<Self, String> {
        let device = Device::new(&libraries.gbm, node)
            .ok_or("no driver for it (on Debian: apt install libgl1-mesa-dri)")?;
        // SAFETY: the device outlives the display, in which it is kept. No attributes are given.
        let handle =
            unsafe { (libraries.extensions.get_platform_display)(PLATFORM_GBM, device.handle, null()) };
        Self::start(libraries, handle, Some(device))
    }

    /// Opens the CPU as a GPU (Mesa's llvmpipe), which maps a buffer where a GPU would import it.
    pub(super) fn software(libraries: &'l Libraries) -> Result<Self, String> {
        // SAFETY: EGL gives a function of the type in its registry for each of its names, or null.
        let devices = unsafe { Devices::load(|symbol| libraries.find(symbol)) };
        let devices = devices.map_err(|symbol| format!("no {}", symbol.to_string_lossy()))?;
        let (mut found, mut count) = ([null_mut(); 16], 0);
        // SAFETY: there is room for as many devices as are told, and for their number.
        if unsafe { (devices.query_devices)(16, found.as_mut_ptr(), &raw mut count) } == 0 {
            return Err(libraries.error());
        }
        let count = usize::try_from(count).unwrap_or(0);
        let is_software = |device: &Handle| {
            // SAFETY: EGL gave the device just now.
            let text = unsafe { (devices.query_string)(*device, EXTENSIONS) };
            // SAFETY: the text lives as long as EGL.
            unsafe { copied(text) }.split(' ').any(|name| name == "EGL_MESA_device_software")
        };
        let device = found.into_iter().take(count).find(is_software).ok_or("EGL has no software device")?;
        // SAFETY: EGL's devices live as long as it. No attributes are given.
        let handle = unsafe { (libraries.extensions.get_platform_display)(PLATFORM_DEVICE, device, null()) };
        Self::start(libraries, handle, None)
    }

    fn start(libraries: &'l Libraries, handle: Handle, device: Option<Device<'l>>) -> Result<Self, String> {
        let egl = &libraries.egl;
        if handle.is_null() {
            return Err(format!("no EGL for it: {}", libraries.error()));
        }
        // SAFETY: the display was just made; nobody asks for the version.
        if unsafe { (egl.initialize)(handle, null_mut(), null_mut()) } == 0 {
            return Err(format!("EGL does not start: {}", libraries.error()));
        }
        let mut display =
            Self { libraries, handle, context: null_mut(), extensions: String::new(), _device: device };
        // SAFETY: the display is initialized, and its text lives as long as it.
        display.extensions = unsafe { copied((egl.query_string)(handle, EXTENSIONS)) };
        if let Some(missing) = NEEDED.iter().find(|name| !display.has(name)) {
            return Err(format!("its driver lacks {missing}"));
        }
        let attributes = [CONTEXT_CLIENT_VERSION, 2, NONE];
        // SAFETY: no config and no context to share with are allowed (EGL_KHR_no_config_context); the list ends itself.
        display.context = unsafe {
            (egl.bind_api)(OPENGL_ES_API);
            (egl.create_context)(handle, null_mut(), null_mut(), attributes.as_ptr())
        };
        if display.context.is_null() {
            return Err(format!("no GLES: {}", libraries.error()));
        }
        display.make_current().map_err(|error| error.to_string())?;
        Ok(display)
    }

    /// Returns whether the display has `extension`.
    pub(super) fn has(&self, extension: &str) -> bool {
        self.extensions.split(' ').any(|name| name == extension)
    }

    /// Sends the thread's GLES calls here.
    pub(super) fn make_current(&self) -> Result<(), GpuError> {
        // SAFETY: display and context are ours; no surface is allowed (EGL_KHR_surfaceless_context).
        let made =
            unsafe { (self.libraries.egl.make_current)(self.handle, null_mut(), null_mut(), self.context) };
        if made == 0 { Err(GpuError::Driver(self.libraries.error())) } else { Ok(()) }
    }

    /// Imports dma-bufs. `attributes` end with `EGL_NONE`.
    pub(super) fn import(&self, attributes: &[i32]) -> Result<EglImage, String> {
        if attributes.last() != Some(&NONE) {
            return Err("a list without end".into());
        }
        // SAFETY: the list ends itself, and the files it names are open: the caller borrows them. The driver takes
        // references of its own. A dma-buf is imported into no context.
        let image = unsafe {
            let create = self.libraries.extensions.create_image;
            create(self.handle, null_mut(), LINUX_DMA_BUF, null_mut(), attributes.as_ptr())
        };
        if image.is_null() { Err(self.libraries.error()) } else { Ok(EglImage(image)) }
    }

    /// Gives an image back.
    pub(super) fn forget(&self, image: EglImage) {
        // SAFETY: the image was made by this display, and whoever has it gives it away.
        unsafe { (self.libraries.extensions.destroy_image)(self.handle, image.0) };
    }
}

impl Drop for Display<'_> {
    fn drop(&mut self) {
        let egl = &self.libraries.egl;
        // SAFETY: the display and its context are ours, and nothing uses them any more.
        unsafe {
            (egl.make_current)(self.handle, null_mut(), null_mut(), null_mut());
            if !self.context.is_null() {
                (egl.destroy_context)(self.handle, self.context);
            }
            (egl.terminate)(self.handle);
        }
    }
}

impl<'l> Device<'l> {
    fn new(gbm: &'l Gbm, node: OwnedFd) -> Option<Self> {
        // SAFETY: the file stays open as long as the device: it is kept in it, and dropped after it.
        let handle = unsafe { (gbm.create_device)(node.as_raw_fd()) };
        (!handle.is_null()).then_some(Self { gbm, handle, _node: node })
    }
}

impl Drop for Device<'_> {
    fn drop(&mut self) {
        // SAFETY: the device is ours, and EGL was ended before: it is the display's last field.
        unsafe { (self.gbm.destroy_device)(self.handle) };
    }
}

/// Copies a C string; null becomes an empty one.
///
/// # Safety
/// It must end with a zero, and be there as long as this runs.
pub(super) unsafe fn copied(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller says so.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_named_with_its_package() {
        let error = Library { name: "libnone.so.1", package: "libnone1" }.open().unwrap_err().to_string();
        assert!(error.contains("libnone.so.1") && error.contains("apt install libnone1"), "{error}");
    }
}
