//! What would end QEMU if we asked to see a console, and how that is known beforehand.
//!
//! QEMU (7.2 to 11.1) compares a new listener with the console's device and exits where they do not fit. D-Bus tells
//! neither the device, if it has an `id`, nor whether there is GL. QMP does, and so does QEMU's command line. Of a
//! QEMU at the other end of a socket that was handed over, only a device without an `id` is known.

use std::fmt;
use std::io::Read;

/// The most bytes of a command line that are looked at. One of libvirt's has under 20 KiB.
const MAX_COMMAND_LINE: u64 = 1 << 20;

/// How the types of devices begin that show nothing but GPU buffers.
const GPU_TYPES: [&str; 2] = ["vhost-user-gpu", "vhost-user-vga"];

/// Why asking to see a console would end QEMU, or could.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Obstacle {
    /// The device takes listeners with GL alone, and this display has none.
    Missing,
    /// The device takes listeners with GL alone, and nothing tells whether this display has it.
    Unknown,
    /// Another display of this QEMU has the GL of all its consoles.
    TakenBySpice,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "a vhost-user GPU needs GL, start QEMU with -display dbus,gl=on",
            Self::Unknown => {
                "a vhost-user GPU needs GL, and D-Bus does not tell whether there is any: \
                 start QEMU with -display dbus,p2p=yes,gl=on and a QMP socket, and give --qmp"
            }
            Self::TakenBySpice => "-spice gl=on keeps GL to itself, start QEMU without it",
        })
    }
}

/// The options of a QEMU that D-Bus does not tell, as far as they are known.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DisplayOptions {
    /// Whether its D-Bus display has GL.
    pub(super) gl: Option<bool>,
    /// Whether its SPICE server has GL.
    spice_gl: bool,
    /// The ids of its vhost-user GPUs, or their types where they have none.
    pub(super) gpus: Vec<String>,
    /// The same for those that show pixels alone (`dmabuf=off`, which a patched QEMU has) and so need no GL.
    pixel_gpus: Vec<String>,
}

impl DisplayOptions {
    /// Reads them from the command line of a running process, if that is a QEMU's and can be read.
    pub(super) fn of_process(pid: u32) -> Self {
        let mut line = Vec::new();
        let read = std::fs::File::open(format!("/proc/{pid}/cmdline"))
            .and_then(|file| file.take(MAX_COMMAND_LINE).read_to_end(&mut line));
        if read.is_ok() { Self::of_command_line(&line) } else { Self::default() }
    }

    /// Reads a command line whose arguments end with zeros.
    fn of_command_line(line: &[u8]) -> Self {
        let line = String::from_utf8_lossy(line);
        let mut known = Self::default();
        let mut option = "";
        for argument in line.split('\0') {
            // `a=b,c=d`, or the same as JSON.
            let words: Vec<&str> =
                argument.split(|c| "=,:\"{} ".contains(c)).filter(|word| !word.is_empty()).collect();
            let gl = || words.windows(2).any(|pair| matches!(pair, ["gl", "on" | "core" | "es"]));
            match option {
                "display" if words.contains(&"dbus") => known.gl = Some(gl()),
                "spice" => known.spice_gl = gl(),
                "device" => {
                    let after = |name| words.windows(2).find(|pair| pair.first() == Some(&name))?.last();
                    let device = after("driver").or(words.first()).filter(|device| is_gpu(device));
                    let off = after("dmabuf").is_some_and(|value| *value == "off");
                    let gpus = if off { &mut known.pixel_gpus } else { &mut known.gpus };
                    gpus.extend(device.map(|device| (*after("id").unwrap_or(device)).to_owned()));
                }
                _ => {}
            }
            option = argument.trim_start_matches('-');
        }
        known.pixel_gpus.retain(|name| !known.gpus.contains(name));
        known
    }

    /// Returns whether a graphic console with this label is that of a vhost-user GPU, as far as is known.
    pub(super) fn is_vhost_user(&self, label: &str) -> bool {
        is_gpu(label) || has(&self.gpus, label) || has(&self.pixel_gpus, label)
    }

    /// Returns what is in the way of asking for a graphic console with this label. A label is its device's `id`, else
    /// its type, and the number of the head if there are several.
    pub(super) fn obstacle(&self, label: &str) -> Option<Obstacle> {
        if self.spice_gl {
            return Some(Obstacle::TakenBySpice);
        }
        let gpu = self.is_vhost_user(label) && !has(&self.pixel_gpus, label);
        match self.gl {
            _ if !gpu => None,
            Some(true) => None,
            Some(false) => Some(Obstacle::Missing),
            None => Some(Obstacle::Unknown),
        }
    }
}

/// Whether a console's label is of one of the devices named.
fn has(names: &[String], label: &str) -> bool {
    let device = label.rsplit_once('.').map_or(label, |(device, _)| device);
    names.iter().any(|name| name == label || name == device)
}

/// Whether a type of devices is that of a vhost-user GPU.
pub(super) fn is_gpu(device: &str) -> bool {
    GPU_TYPES.iter().any(|known| device.starts_with(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(arguments: &[&str]) -> DisplayOptions {
        DisplayOptions::of_command_line(format!("qemu-system-x86_64\0{}\0", arguments.join("\0")).as_bytes())
    }

    #[test]
    fn a_vhost_user_gpu_is_known_by_its_type_or_its_id() {
        let nothing = DisplayOptions::default();
        for label in ["vhost-user-gpu-pci", "vhost-user-vga", "vhost-user-gpu", "vhost-user-gpu-pci.1"] {
            assert_eq!(nothing.obstacle(label), Some(Obstacle::Unknown), "{label}");
        }
        for label in ["virtio-vga", "video0", "VGA", ""] {
            assert_eq!(nothing.obstacle(label), None, "{label}");
        }
        let by_id =
            known(&["-display", "dbus", "-device", "virtio-vga,id=a", "-device", "vhost-user-vga,id=b.c"]);
        assert_eq!(
            ["a", "b.c", "b.c.1", "b", "c"].map(|label| by_id.obstacle(label).is_some()),
            [false, true, true, false, false]
        );
    }

    #[test]
    fn the_command_line_tells_whether_there_is_gl() {
        let obstacle = |display: &[&str]| {
            let gpu = ["--device", r#"{"driver":"vhost-user-gpu-pci","id":"video0","bus":"pcie.0"}"#];
            known(&[&gpu, display].concat()).obstacle("video0")
        };
        assert_eq!(obstacle(&["-display", "dbus,p2p=yes"]), Some(Obstacle::Missing));
        assert_eq!(obstacle(&["-display", "dbus,gl=off"]), Some(Obstacle::Missing));
        for on in [
            "dbus,p2p=yes,gl=on,rendernode=/dev/dri/renderD128",
            "gl=es,type=dbus",
            r#"{"type": "dbus", "gl": "core"}"#,
        ] {
            assert_eq!(obstacle(&["--display", on]), None, "{on}");
        }
        assert_eq!(obstacle(&["-display", "egl-headless,gl=on"]), Some(Obstacle::Unknown));
        assert_eq!(obstacle(&["-name", "dbus,gl=on"]), Some(Obstacle::Unknown));
    }

    #[test]
    fn a_vhost_user_gpu_that_shows_pixels_alone_needs_no_gl() {
        let gpus = ["-device", "vhost-user-vga,id=a,dmabuf=off", "-device", "vhost-user-gpu-pci,dmabuf=off"];
        let same_type = ["-device", "vhost-user-gpu-pci,chardev=b"];
        let obstacle = |arguments: &[&str], label| known(arguments).obstacle(label).is_some();
        assert_eq!(["a", "a.1", "vhost-user-gpu-pci"].map(|label| obstacle(&gpus, label)), [false; 3]);
        assert!(obstacle(&[&gpus[..], &same_type].concat(), "vhost-user-gpu-pci"));
    }

    #[test]
    fn the_gl_of_spice_is_for_no_other_display() {
        let both = known(&["-display", "dbus", "-spice", "unix=on,addr=/run/s,gl=on"]);
        assert_eq!(both.obstacle("virtio-vga"), Some(Obstacle::TakenBySpice));
        assert_eq!(known(&["-display", "dbus", "-spice", "port=5900"]).obstacle("virtio-vga"), None);
    }

    #[test]
    fn a_process_that_is_gone_tells_nothing() {
        assert_eq!(DisplayOptions::of_process(u32::MAX), DisplayOptions::default());
    }
}
