//! `qemu-spice screenshot`: the picture comes as pixels, and is made a PNG here.

use std::fs::OpenOptions;
use std::io::{self, BufReader, BufWriter, IsTerminal, Read, Write};
use std::path::Path;

use anyhow::{Context, bail};

use crate::admin::{Control, Picture};
use crate::cli::Screenshot;

/// Writes what a console shows to a file, or to standard output.
pub(super) async fn screenshot(control: &Control, what: &Screenshot) -> anyhow::Result<()> {
    let Screenshot { file: path, console, force, .. } = what;
    let is_output = path == Path::new("-");
    if is_output && io::stdout().is_terminal() {
        bail!("a PNG is nothing for a terminal: give a file's name");
    }
    if !is_output && !*force && path.symlink_metadata().is_ok() {
        bail!("{} is there: --force writes over it", path.display());
    }
    let picture = control.screenshot(*console).await?;
    if is_output {
        return write_png(&picture, io::stdout().lock()).context("cannot write to standard output");
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).create_new(!force);
    let name = || format!("cannot write to {}", path.display());
    let file = options.open(path).with_context(name)?;
    let written = write_png(&picture, &file).with_context(name);
    if written.is_err() && file.metadata().is_ok_and(|about| about.is_file()) {
        let _ = std::fs::remove_file(path); // a part of a picture is none
    }
    written
}

fn write_png(picture: &Picture, to: impl Write) -> anyhow::Result<()> {
    let Picture { pixels, width, height } = picture;
    let row = usize::try_from(*width)?.checked_mul(4).context("no picture has such a width")?;
    let mut png = png::Encoder::new(BufWriter::new(to), *width, *height);
    png.set_color(png::ColorType::Rgb);
    png.set_depth(png::BitDepth::Eight);
    let mut png = png.write_header()?;
    let mut rows = png.stream_writer()?;
    let (mut from, mut bgrx) = (BufReader::new(pixels), vec![0; row]);
    for _ in 0..*height {
        from.read_exact(&mut bgrx).context("the picture is shorter than it says")?;
        let rgb: Vec<u8> =
            bgrx.chunks_exact(4).flat_map(|pixel| pixel.iter().rev().skip(1)).copied().collect();
        rows.write_all(&rgb)?;
    }
    rows.finish()?;
    Ok(png.finish()?)
}
