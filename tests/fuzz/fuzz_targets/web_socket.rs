//! The frames of a WebSocket, after a request that is granted: what is read of them is never more than was sent.
#![no_main]

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use libfuzzer_sys::fuzz_target;
use qemu_spice::internals::open_and_read;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fuzz_target!(|frames: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (ours, mut theirs) = UnixStream::pair().expect("a connection");
        theirs.write_all(REQUEST).expect("room for the request");
        theirs.write_all(frames).expect("room for the frames");
        theirs.shutdown(Shutdown::Write).expect("an end");
        let read = open_and_read(ours, false).await.expect("the request is granted");
        assert!(read.len() <= frames.len());
    });
});
