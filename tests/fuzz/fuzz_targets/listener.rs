//! A listener's connection, whatever QEMU says on it and whatever files come along, and a viewer that reads what
//! it shows.
//!
//! The input is pieces of what is said: how many files go with a piece, how many bytes it has (two, little end first),
//! the bytes. Each D-Bus message is a piece as long as nothing is broken.
#![no_main]

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use qemu_spice::internals::{ConsoleId, DmabufReads, Hub, ReadPath, Scanout, Subscription, listen};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What QEMU answers before its first message.
const HANDSHAKE: &[u8] = b"OK 0123456789abcdef0123456789abcdef\r\nAGREE_UNIX_FD\r\n";

/// The most files of a piece.
const MAX_FILES: usize = 4;

/// Two files of 64 KiB: one that can be cut short, and one that is mapped.
static FILES: LazyLock<[OwnedFd; 2]> = LazyLock::new(|| [file(SealFlags::empty()), file(SealFlags::SHRINK)]);

fuzz_target!(|input: &[u8]| {
    let (ours, qemu) = UnixStream::pair().expect("a socket pair");
    let console = Hub::default().console(ConsoleId(0)).expect("the first console");
    let reads = DmabufReads::new(ReadPath::Auto, Some("/nowhere".into()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        tokio::select! {
            _ = listen(ours, console.clone(), reads) => {}
            () = speak(qemu, input) => {}
            () = view(console.subscribe()) => {}
        }
    });
});

/// Plays QEMU: shakes hands, says everything, and takes answers for ever, so that there is room for the next.
async fn speak(qemu: UnixStream, mut input: &[u8]) {
    qemu.set_nonblocking(true).expect("a socket");
    let mut qemu = tokio::net::UnixStream::from_std(qemu).expect("a socket");
    say(&qemu, HANDSHAKE, 0);
    let mut heard = Vec::new();
    while !heard.ends_with(b"BEGIN\r\n") && qemu.read_buf(&mut heard).await.is_ok_and(|count| count > 0) {}
    while let Some((&[files, low, high], tail)) = input.split_first_chunk() {
        let (piece, tail) = tail.split_at(tail.len().min(u16::from_le_bytes([low, high]).into()));
        say(&qemu, piece, usize::from(files) % (MAX_FILES + 1));
        input = tail;
    }
    let _ = qemu.shutdown().await;
    let _ = tokio::io::copy(&mut qemu, &mut tokio::io::sink()).await;
    std::future::pending().await
}

/// Says something with files attached, as much of it as there is room for.
fn say(qemu: &impl AsFd, bytes: &[u8], files: usize) {
    let files: Vec<BorrowedFd<'_>> = FILES.iter().cycle().take(files).map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&files));
    }
    let _ = rustix::net::sendmsg(qemu, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
}

/// Reads every pixel that is said to have changed.
async fn view(viewer: Subscription) {
    while viewer.bell().recv().await.is_ok() {
        let Some(change) = viewer.take() else { continue };
        let Some((scanout, mut reader)) = change.scanout.as_deref().and_then(|s| Some((s, s.reader().ok()?)))
        else {
            continue;
        };
        for part in change.damage.rects() {
            assert!(Scanout::size(scanout).rect().contains(*part));
            let mut pixels = vec![0; usize::try_from(part.area() * 4).expect("no more than its memory")];
            reader.read(*part, &mut pixels).expect("what was checked can be read");
        }
    }
}

fn file(seals: SealFlags) -> OwnedFd {
    let file =
        rustix::fs::memfd_create("shared", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("a file");
    rustix::fs::ftruncate(&file, 64 << 10).expect("room");
    rustix::fs::fcntl_add_seals(&file, seals).expect("a seal");
    file
}
