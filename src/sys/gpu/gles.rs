#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};

use super::egl::{EglImage, Handle, Libraries, copied, functions};
use super::{GpuError, GpuWindow};

// `gl2.h`, `gl2ext.h`.
const RENDERER: u32 = 0x1f01;
const EXTENSIONS: u32 = 0x1f03;
const VERTEX_SHADER: u32 = 0x8b31;
const FRAGMENT_SHADER: u32 = 0x8b30;
const COMPILE_STATUS: u32 = 0x8b81;
const LINK_STATUS: u32 = 0x8b82;
const TEXTURE_EXTERNAL: u32 = 0x8d65;
const MAG_FILTER: u32 = 0x2800;
const MIN_FILTER: u32 = 0x2801;
const WRAP_S: u32 = 0x2802;
const WRAP_T: u32 = 0x2803;
const NEAREST: i32 = 0x2600;
const CLAMP_TO_EDGE: i32 = 0x812f;
const FRAMEBUFFER: u32 = 0x8d40;
const FRAMEBUFFER_COMPLETE: u32 = 0x8cd5;
const RENDERBUFFER: u32 = 0x8d41;
const COLOR_ATTACHMENT0: u32 = 0x8ce0;
const MAX_RENDERBUFFER_SIZE: u32 = 0x84e8;
const RGBA8: u32 = 0x8058;
const RGBA: u32 = 0x1908;
const UNSIGNED_BYTE: u32 = 0x1401;
const FLOAT: u32 = 0x1406;
const TRIANGLES: u32 = 0x0004;
const DITHER: u32 = 0x0bd0;

functions!(
    /// `gl2.h`, and `glEGLImageTargetTexture2DOES` of `gl2ext.h`.
    Gl {
        get_error = c"glGetError" () -> u32;
        get_string = c"glGetString" (u32) -> *const c_char;
        get_integer = c"glGetIntegerv" (u32, *mut i32);
        disable = c"glDisable" (u32);
        create_shader = c"glCreateShader" (u32) -> u32;
        shader_source = c"glShaderSource" (u32, i32, *const *const c_char, *const i32);
        compile_shader = c"glCompileShader" (u32);
        get_shader = c"glGetShaderiv" (u32, u32, *mut i32);
        create_program = c"glCreateProgram" () -> u32;
        attach_shader = c"glAttachShader" (u32, u32);
        bind_attribute = c"glBindAttribLocation" (u32, u32, *const c_char);
        link_program = c"glLinkProgram" (u32);
        get_program = c"glGetProgramiv" (u32, u32, *mut i32);
        use_program = c"glUseProgram" (u32);
        uniform_location = c"glGetUniformLocation" (u32, *const c_char) -> i32;
        uniform4 = c"glUniform4f" (i32, f32, f32, f32, f32);
        vertex_pointer = c"glVertexAttribPointer" (u32, i32, u32, u8, i32, *const c_void);
        enable_vertices = c"glEnableVertexAttribArray" (u32);
        gen_textures = c"glGenTextures" (i32, *mut u32);
        delete_textures = c"glDeleteTextures" (i32, *const u32);
        bind_texture = c"glBindTexture" (u32, u32);
        texture_parameter = c"glTexParameteri" (u32, u32, i32);
        image_target = c"glEGLImageTargetTexture2DOES" (u32, Handle);
        gen_framebuffers = c"glGenFramebuffers" (i32, *mut u32);
        bind_framebuffer = c"glBindFramebuffer" (u32, u32);
        gen_renderbuffers = c"glGenRenderbuffers" (i32, *mut u32);
        bind_renderbuffer = c"glBindRenderbuffer" (u32, u32);
        renderbuffer_storage = c"glRenderbufferStorage" (u32, u32, i32, i32);
        framebuffer_renderbuffer = c"glFramebufferRenderbuffer" (u32, u32, u32, u32);
        framebuffer_status = c"glCheckFramebufferStatus" (u32) -> u32;
        viewport = c"glViewport" (i32, i32, i32, i32);
        draw_arrays = c"glDrawArrays" (u32, i32, i32);
        read_pixels = c"glReadPixels" (i32, i32, i32, i32, u32, u32, *mut c_void);
    }
);

/// Goes over the whole drawing; `window` is where in the image it starts and how far it goes.
const VERTEX: &str = "
attribute vec2 at;
uniform vec4 window;
varying highp vec2 from;
void main() {
    from = window.xy + (at * 0.5 + 0.5) * window.zw;
    gl_Position = vec4(at, 0.0, 1.0);
}";

/// Red and blue change places, so that what is read as R, G, B, A is B, G, R, 255.
const FRAGMENT: &str = "
#extension GL_OES_EGL_image_external : require
precision highp float;
uniform samplerExternalOES image;
varying highp vec2 from;
void main() {
    gl_FragColor = vec4(texture2D(image, from).bgr, 1.0);
}";

/// One triangle that covers the drawing, and more.
static TRIANGLE: [f32; 6] = [-1.0, -1.0, 3.0, -1.0, -1.0, 3.0];

/// Draws images into memory of the GPU, and reads the drawing.
///
/// INVARIANT: its context is current on this thread whenever it is called. It ends with its context.
pub(super) struct Painter {
    gl: Gl,
    window: i32,
    /// The largest side of a drawing.
    limit: i32,
    /// How large the drawing is that there is room for.
    room: (i32, i32),
}

/// An image as a texture. To be given back to the painter that made it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Texture(u32);

impl Painter {
    /// Sets up the current context.
    pub(super) fn new(libraries: &Libraries) -> Result<Self, String> {
        // SAFETY: EGL gives a function of the type in its registry for each of its names, or null.
        let gl = unsafe { Gl::load(|symbol| libraries.find(symbol)) };
        let gl = gl.map_err(|symbol| format!("no {}", symbol.to_string_lossy()))?;
        if !gl.text(EXTENSIONS).split(' ').any(|name| name == "GL_OES_EGL_image_external") {
            return Err("its driver lacks GL_OES_EGL_image_external".into());
        }
        let program = gl.program()?;
        let (mut limit, mut buffer, mut drawing) = (0, 0, 0);
        // SAFETY: the three numbers are there to be written, the name ends with a zero, the triangle is static and has
        // as many numbers as are told.
        let window = unsafe {
            (gl.get_integer)(MAX_RENDERBUFFER_SIZE, &raw mut limit);
            (gl.disable)(DITHER);
            (gl.use_program)(program);
            (gl.vertex_pointer)(0, 2, FLOAT, 0, 0, TRIANGLE.as_ptr().cast());
            (gl.enable_vertices)(0);
            (gl.gen_renderbuffers)(1, &raw mut buffer);
            (gl.bind_renderbuffer)(RENDERBUFFER, buffer);
            (gl.gen_framebuffers)(1, &raw mut drawing);
            (gl.bind_framebuffer)(FRAMEBUFFER, drawing);
            (gl.framebuffer_renderbuffer)(FRAMEBUFFER, COLOR_ATTACHMENT0, RENDERBUFFER, buffer);
            (gl.uniform_location)(program, c"window".as_ptr())
        };
        gl.check()?;
        Ok(Self { gl, window, limit, room: (0, 0) })
    }

    /// Returns whether the CPU renders in place of a GPU.
    pub(super) fn is_software(&self) -> bool {
        let renderer = self.gl.text(RENDERER);
        ["llvmpipe", "softpipe"].iter().any(|name| renderer.contains(name))
    }

    /// Makes a texture of an image.
    pub(super) fn texture(&self, image: EglImage) -> Result<Texture, String> {
        let mut name = 0;
        // SAFETY: the name is there to be written, and the image was made by this context's display.
        unsafe {
            (self.gl.gen_textures)(1, &raw mut name);
            (self.gl.bind_texture)(TEXTURE_EXTERNAL, name);
            let parameters = [
                (MIN_FILTER, NEAREST),
                (MAG_FILTER, NEAREST),
                (WRAP_S, CLAMP_TO_EDGE),
                (WRAP_T, CLAMP_TO_EDGE),
            ];
            for (parameter, value) in parameters {
                (self.gl.texture_parameter)(TEXTURE_EXTERNAL, parameter, value);
            }
            (self.gl.image_target)(TEXTURE_EXTERNAL, image.handle());
        }
        let texture = Texture(name);
        self.gl.check().inspect_err(|_| self.forget(texture))?;
        Ok(texture)
    }

    /// Gives a texture back.
    pub(super) fn forget(&self, texture: Texture) {
        // SAFETY: one name is there to be read.
        unsafe { (self.gl.delete_textures)(1, &raw const texture.0) };
    }

    /// Draws a part of an image of this size, and reads it as rows of B, G, R, 255.
    pub(super) fn read(
        &mut self,
        (image, texture): (EglImage, Texture),
        size: (u32, u32),
        window: GpuWindow,
    ) -> Result<Vec<u8>, GpuError> {
        let side = |n: u32| i32::try_from(n).map_err(|_| GpuError::Window);
        let (width, height) = (side(window.width)?, side(window.height)?);
        self.make_room(width, height)?;
        let len = u64::from(window.width) * u64::from(window.height) * 4;
        let mut pixels = vec![0; usize::try_from(len).map_err(|_| GpuError::Window)?];
        let [x, y, across, down] = place(size, window)?;
        let gl = &self.gl;
        // SAFETY: the image and the texture are of this context. `pixels` has room for the drawing, at four bytes
        // a pixel and without padding between rows.
        unsafe {
            (gl.viewport)(0, 0, width, height);
            (gl.bind_texture)(TEXTURE_EXTERNAL, texture.0);
            // Again each time: some drivers look for what others wrote into the memory only then.
            (gl.image_target)(TEXTURE_EXTERNAL, image.handle());
            (gl.uniform4)(self.window, x, y, across, down);
            (gl.draw_arrays)(TRIANGLES, 0, 3);
            (gl.read_pixels)(0, 0, width, height, RGBA, UNSIGNED_BYTE, pixels.as_mut_ptr().cast());
        }
        gl.check().map_err(GpuError::Driver)?;
        Ok(pixels)
    }

    fn make_room(&mut self, width: i32, height: i32) -> Result<(), GpuError> {
        let (wide, high) = self.room;
        if width <= wide && height <= high {
            return Ok(());
        }
        if width > self.limit || height > self.limit {
            return Err(GpuError::Driver(format!("it draws at most {} pixels across", self.limit)));
        }
        self.room = (0, 0);
        // SAFETY: the renderbuffer is bound since the beginning, and the framebuffer that draws into it.
        let status = unsafe {
            (self.gl.renderbuffer_storage)(RENDERBUFFER, RGBA8, width, height);
            (self.gl.framebuffer_status)(FRAMEBUFFER)
        };
        self.gl.check().map_err(GpuError::Driver)?;
        if status != FRAMEBUFFER_COMPLETE {
            return Err(GpuError::Driver(format!("it cannot draw into memory (status {status:#x})")));
        }
        self.room = (width, height);
        Ok(())
    }
}

impl Gl {
    fn text(&self, name: u32) -> String {
        // SAFETY: what it gives lives as long as the context.
        unsafe { copied((self.get_string)(name)) }
    }

    fn program(&self) -> Result<u32, String> {
        let shaders = [self.shader(VERTEX_SHADER, VERTEX)?, self.shader(FRAGMENT_SHADER, FRAGMENT)?];
        let mut linked = 0;
        // SAFETY: names end with a zero, and the number is there to be written.
        let program = unsafe {
            let program = (self.create_program)();
            for shader in shaders {
                (self.attach_shader)(program, shader);
            }
            (self.bind_attribute)(program, 0, c"at".as_ptr());
            (self.link_program)(program);
            (self.get_program)(program, LINK_STATUS, &raw mut linked);
            program
        };
        self.check()?;
        if linked == 0 { Err("its driver does not link our shaders".into()) } else { Ok(program) }
    }

    fn shader(&self, kind: u32, source: &str) -> Result<u32, String> {
        let (text, mut compiled) = (source.as_ptr().cast(), 0);
        let len = i32::try_from(source.len()).unwrap_or(0);
        // SAFETY: one text of that length is there to be read, and the number is there to be written.
        let shader = unsafe {
            let shader = (self.create_shader)(kind);
            (self.shader_source)(shader, 1, &raw const text, &raw const len);
            (self.compile_shader)(shader);
            (self.get_shader)(shader, COMPILE_STATUS, &raw mut compiled);
            shader
        };
        if compiled == 0 { Err("its driver does not compile our shaders".into()) } else { Ok(shader) }
    }

    /// Returns the first error since the last check.
    fn check(&self) -> Result<(), String> {
        let mut first = 0;
        // A lost context gives the same error for ever.
        for _ in 0..8 {
            // SAFETY: it has no arguments.
            let code = unsafe { (self.get_error)() };
            if code == 0 {
                break;
            }
            first = if first == 0 { code } else { first };
        }
        if first == 0 { Ok(()) } else { Err(format!("GL error {first:#x}")) }
    }
}

/// Returns where in an image the drawing starts and how far it extends, as fractions of the image's sides:
/// left, first row, width, height. The first row read is the first row drawn; the image's row 0 is at 0.
fn place((width, height): (u32, u32), window: GpuWindow) -> Result<[f32; 4], GpuError> {
    let number = |n: u32| u16::try_from(n).map(f32::from).map_err(|_| GpuError::Window);
    let (width, height) = (number(width)?, number(height)?);
    let (x, across) = (number(window.x)? / width, number(window.width)? / width);
    let (y, down) = (number(window.y)? / height, number(window.height)? / height);
    let bottom = number(window.y + window.height)? / height;
    Ok(if window.bottom_up { [x, bottom, across, -down] } else { [x, y, across, down] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// As the shaders count: the middle of each pixel of the drawing falls near the middle of its own in the image.
        #[test]
        fn every_pixel_is_taken_from_its_place(
            (width, height) in (1u32..=16_384, 1u32..=16_384),
            (x, y, w, h) in any::<(u32, u32, u32, u32)>(),
            (column, row) in any::<(u32, u32)>(),
            bottom_up: bool,
        ) {
            let (x, y) = (x % width, y % height);
            let (w, h) = (w % (width - x) + 1, h % (height - y) + 1);
            let (column, row) = (column % w, row % h);
            let window = GpuWindow { x, y, width: w, height: h, bottom_up };
            let [left, top, across, down] = place((width, height), window).unwrap();
            let at = |n: u32, len: u32| (n as f32 + 0.5) / len as f32;
            let from_x = (left + at(column, w) * across) * width as f32;
            let from_y = (top + at(row, h) * down) * height as f32;
            let expected = if bottom_up { y + h - 1 - row } else { y + row };
            prop_assert!((from_x - (x + column) as f32 - 0.5).abs() < 0.25, "{from_x}");
            prop_assert!((from_y - expected as f32 - 0.5).abs() < 0.25, "{from_y} for {expected}");
        }
    }
}
