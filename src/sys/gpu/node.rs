use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Stat};

/// The major device number of the kernel's graphics devices.
const DRM_MAJOR: u32 = 226;

/// The first minor number of those that only render; below are those that have screens too.
const FIRST_RENDER_MINOR: u32 = 128;

/// Opens a render node.
///
/// Looks at what was opened. Newer versions of Mesa take any file, and draw with the CPU.
///
/// # Errors
/// If `node` cannot be opened, or is something else; it tells what to take or allow.
pub(super) fn open(node: &Path) -> Result<OwnedFd, String> {
    let file = rustix::fs::open(node, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let file = file.map_err(|error| match error {
        rustix::io::Errno::ACCESS => format!("{error} (is the user in the group `render`?)"),
        _ => error.to_string(),
    })?;
    let stat = rustix::fs::fstat(&file).map_err(|error| error.to_string())?;
    if is_render_node(&stat) {
        Ok(file)
    } else {
        Err("no render node (take one of /dev/dri/renderD*)".into())
    }
}

fn is_render_node(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && rustix::fs::major(stat.st_rdev) == DRM_MAJOR
        && rustix::fs::minor(stat.st_rdev) >= FIRST_RENDER_MINOR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_render_node_is_not_opened_as_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for node in [Path::new("/dev/null"), file.path()] {
            let error = open(node).unwrap_err();
            assert!(error.contains("no render node") && error.contains("/dev/dri/renderD*"), "{error}");
        }
        assert!(open(Path::new("/nowhere/renderD128")).unwrap_err().contains("No such file"));
    }

    #[test]
    fn a_render_node_is_known_by_its_device_number() {
        // Of a file, as there may be no GPU here.
        let mut stat = rustix::fs::stat("/dev/null").unwrap();
        for (mode, major, minor, expected) in [
            (FileType::CharacterDevice, 226, 128, true),
            (FileType::CharacterDevice, 226, 191, true),
            (FileType::CharacterDevice, 226, 0, false), // card0
            (FileType::CharacterDevice, 1, 128, false),
            (FileType::BlockDevice, 226, 128, false),
        ] {
            stat.st_mode = mode.as_raw_mode();
            stat.st_rdev = rustix::fs::makedev(major, minor);
            assert_eq!(is_render_node(&stat), expected, "{mode:?} {major}:{minor}");
        }
    }
}
