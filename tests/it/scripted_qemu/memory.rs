//! Files in memory.

use super::*;

/// A file in memory, as QEMU shares pictures in.
pub fn memfd(bytes: &[u8]) -> OwnedFd {
    named_memfd("scanout", bytes)
}

/// … that is told from others by its name.
pub fn named_memfd(name: &str, bytes: &[u8]) -> OwnedFd {
    let fd = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    std::fs::File::from(fd.try_clone().unwrap()).write_all(bytes).unwrap();
    fd
}

/// How many file descriptors of this process are of the memory with this name.
pub fn open_files(name: &str) -> usize {
    let files = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = files.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok());
    links.filter(|link| link.to_string_lossy().contains(&format!("memfd:{name} "))).count()
}
