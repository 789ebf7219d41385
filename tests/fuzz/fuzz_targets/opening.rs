//! The first bytes of a connection: a PROXY header, and requests for the page and for a WebSocket. What comes after
//! them is the client's own, and never more than it has sent.
#![no_main]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use libfuzzer_sys::fuzz_target;
use qemu_spice::internals::open_and_read;

fuzz_target!(|input: (bool, &[u8])| {
    let (trusted, bytes) = input;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (ours, mut theirs) = UnixStream::pair().expect("a connection");
        theirs.write_all(bytes).expect("room for the input");
        theirs.shutdown(Shutdown::Write).expect("an end");
        // The page's files are longer than what a socket holds.
        let reads = std::thread::spawn(move || theirs.read_to_end(&mut Vec::new()));
        if let Some(read) = open_and_read(ours, trusted).await {
            assert!(read.len() <= bytes.len());
        }
        let _ = reads.join();
    });
});
