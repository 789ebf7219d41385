//! A QMP socket: whatever is there answers our questions with these bytes, and hangs up.
#![no_main]

use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use qemu_spice::internals::open_display;

/// An abstract socket, and its name as `--qmp` takes it.
static SOCKET: LazyLock<(UnixListener, PathBuf)> = LazyLock::new(|| {
    let name = format!("qemu-spice-fuzz-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    (UnixListener::bind_addr(&address).expect("a socket of our own"), format!("@{name}").into())
});

fuzz_target!(|answers: &[u8]| {
    let (listener, path) = &*SOCKET;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let qemu = async {
            tokio::task::yield_now().await; // until it has connected
            let (mut qemu, _) = listener.accept().expect("a connection");
            qemu.set_nonblocking(true).expect("a socket");
            let _ = qemu.write(answers);
            qemu.shutdown(std::net::Shutdown::Write).expect("a socket");
            qemu
        };
        let _ = tokio::join!(open_display(path), qemu);
    });
});
