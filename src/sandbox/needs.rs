use std::path::{Path, PathBuf};

/// Where systems keep programs, libraries and what these read, and where GStreamer and the drivers of graphics cards
/// look for parts of theirs when they first need them. Of Debian and most others, then of Nix, Guix and Flatpak.
const SYSTEM: &[&str] = &[
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/opt",
    "/nix/store",
    "/gnu/store",
    "/app",
    "/run/opengl-driver",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/glvnd",
    "/etc/egl",
    "/etc/drirc",
    "/etc/vulkan",
    "/etc/OpenCL",
    "/etc/libva.conf",
    "/etc/nvidia",
    "/etc/localtime",
    "/etc/machine-id",
    "/var/lib/dbus/machine-id",
];

/// What the kernel tells of the machine, its devices and this process. Of others it is command lines: QEMU's says what
/// D-Bus does not.
const KERNEL: &[&str] = &[
    "/proc",
    "/sys/bus",
    "/sys/class",
    "/sys/dev",
    "/sys/devices",
    "/sys/fs/cgroup",
    "/sys/module",
    "/run/udev",
];

/// Devices: they are used, not read alone. One that is not there when the sandbox closes is not there later.
const DEVICES: &[&str] =
    &["/dev/dri", "/dev/udmabuf", "/dev/dma_heap", "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"];

/// The beginnings of names in /dev of devices that encode.
const ENCODING_DEVICES: &[&str] = &["nvidia", "video", "media"];

/// How names of hosts become addresses (resolver(5), nss(5)), and who is trusted (for `rtsps` and `rtmps`).
const RESOLVER: &[&str] = &[
    "/etc/resolv.conf",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/networks",
    "/etc/mdns.allow",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
];

/// The TCP port of name servers, for long answers.
const DNS: u16 = 53;

/// Variables of the environment with folders that GStreamer, the dynamic linker and drivers look in, between colons.
pub(super) const FOLDERS: &[&str] = &[
    "GST_PLUGIN_PATH",
    "GST_PLUGIN_PATH_1_0",
    "GST_PLUGIN_SYSTEM_PATH",
    "GST_PLUGIN_SYSTEM_PATH_1_0",
    "GST_PRESET_PATH",
    "LD_LIBRARY_PATH",
    "LIBVA_DRIVERS_PATH",
    "LIBGL_DRIVERS_PATH",
    "GBM_BACKENDS_PATH",
    "ONEVPL_SEARCH_PATH",
    "__EGL_VENDOR_LIBRARY_DIRS",
    "__EGL_VENDOR_LIBRARY_FILENAMES",
];

/// What a process needs of the system besides what it has open. All else is refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Needs {
    /// Files, and folders with all that is in them.
    pub(super) read: Vec<PathBuf>,
    /// Devices, and folders with all devices in them.
    pub(super) devices: Vec<PathBuf>,
    /// Folders in which new files are written.
    pub(super) write: Vec<PathBuf>,
    /// Folders in which sockets of its own are removed.
    pub(super) remove: Vec<PathBuf>,
    pub(super) sockets: Sockets,
    /// New sockets that somebody may connect to, as far as Landlock lets them have a name.
    pub(super) listens: bool,
    /// Root's right to connect to sockets of other users.
    pub(super) others: bool,
}

/// Which sockets a process may make. Those that it has, it may use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Sockets {
    /// None.
    None,
    /// Unix sockets; those without a file as well if they are `@NAME`s.
    Unix { names: bool },
    /// Those of the network too: UDP, and connections to these TCP ports.
    Network { names: bool, ports: Vec<u16> },
}

impl Needs {
    /// Returns what encoding and reading pictures takes: libraries, plugins and graphics devices, and no sockets.
    /// `folders` are more of their folders; `in_dev` the names in /dev.
    pub(crate) fn of_encoders(folders: &[PathBuf], in_dev: &[String]) -> Self {
        let encodes = |name: &&String| ENCODING_DEVICES.iter().any(|start| name.starts_with(start));
        let encoding = in_dev.iter().filter(encodes).map(|name| Path::new("/dev").join(name));
        Self {
            read: paths(SYSTEM).chain(paths(KERNEL)).chain(folders.iter().cloned()).collect(),
            devices: paths(DEVICES).chain(encoding).collect(),
            write: Vec::new(),
            remove: Vec::new(),
            sockets: Sockets::None,
            listens: false,
            others: false,
        }
    }

    /// Adds a file or folder that is read.
    pub(crate) fn read(&mut self, path: impl Into<PathBuf>) {
        self.read.push(path.into());
    }

    /// Adds the folder of a file that is made and written.
    pub(crate) fn write_beside(&mut self, file: &Path) {
        self.write.push(folder_of(file));
    }

    /// Adds the folder of a socket that is removed.
    pub(crate) fn remove(&mut self, socket: &Path) {
        self.remove.push(folder_of(socket));
    }

    /// Lets it connect to unix sockets, and to those without a file (`@NAME`) if `names`.
    pub(crate) fn connect_unix(&mut self, names: bool) {
        self.sockets = match std::mem::replace(&mut self.sockets, Sockets::None) {
            Sockets::None => Sockets::Unix { names },
            Sockets::Unix { names: before } => Sockets::Unix { names: names || before },
            Sockets::Network { names: before, ports } => Sockets::Network { names: names || before, ports },
        };
    }

    /// Lets it listen at unix sockets without a file, whose names the kernel chooses.
    pub(crate) fn listen(&mut self) {
        self.listens = true;
        self.connect_unix(false);
    }

    /// Leaves root, if it is root, the right to connect to unix sockets of other users.
    pub(crate) fn connect_to_others(&mut self) {
        self.others = true;
    }

    /// Lets it look up names of hosts, speak UDP, and connect to this TCP port if there is one.
    pub(crate) fn connect_network(&mut self, port: Option<u16>) {
        self.sockets = match std::mem::replace(&mut self.sockets, Sockets::None) {
            Sockets::None => Sockets::Network { names: false, ports: vec![DNS] },
            Sockets::Unix { names } => Sockets::Network { names, ports: vec![DNS] },
            more @ Sockets::Network { .. } => more,
        };
        if let Sockets::Network { ports, .. } = &mut self.sockets {
            ports.extend(port);
        }
        self.read.extend(paths(RESOLVER));
    }
}

impl Sockets {
    /// Whether unix sockets without a file may be connected to that others have made.
    pub(super) fn reach_names(&self) -> bool {
        matches!(self, Self::Unix { names: true } | Self::Network { names: true, .. })
    }

    /// The TCP ports that may be connected to.
    pub(super) fn ports(&self) -> &[u16] {
        match self {
            Self::Network { ports, .. } => ports,
            _ => &[],
        }
    }
}

/// Returns the folder of a file.
pub(crate) fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn paths(names: &[&'static str]) -> impl Iterator<Item = PathBuf> {
    names.iter().map(PathBuf::from).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoders_need_no_sockets_and_no_files_of_people() {
        let needs = Needs::of_encoders(&["/my/plugins".into()], &["nvidia0".into(), "sda".into()]);
        assert_eq!(needs.sockets, Sockets::None);
        assert!(needs.write.is_empty() && needs.remove.is_empty());
        assert!(needs.read.contains(&"/my/plugins".into()));
        assert!(needs.devices.contains(&"/dev/nvidia0".into()));
        assert!(!needs.devices.iter().any(|device| device.ends_with("sda")));
        let private = ["/", "/etc", "/home", "/root", "/dev", "/run", "/tmp", "/var"].map(PathBuf::from);
        assert!(private.iter().all(|folder| !needs.read.contains(folder) && !needs.devices.contains(folder)));
    }

    #[test]
    fn sockets_add_up() {
        let mut needs = Needs::of_encoders(&[], &[]);
        needs.connect_unix(false);
        assert_eq!(needs.sockets, Sockets::Unix { names: false });
        needs.connect_network(None);
        needs.connect_unix(true);
        needs.connect_network(Some(1935));
        needs.connect_unix(false);
        assert_eq!(needs.sockets, Sockets::Network { names: true, ports: vec![DNS, 1935] });
        assert!(needs.read.contains(&"/etc/resolv.conf".into()));
    }

    #[test]
    fn a_file_without_a_folder_is_in_this_one() {
        assert_eq!(folder_of(Path::new("users")), Path::new("."));
        assert_eq!(folder_of(Path::new("/run/vm.sock")), Path::new("/run"));
    }
}
