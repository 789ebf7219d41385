#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use rustix::ioctl::{Getter, ioctl};

/// `TIOCOUTQ` of `asm-generic/ioctls.h`, which tcp(7) calls `SIOCOUTQ`: bytes written and not acknowledged.
const SIOCOUTQ: rustix::ioctl::Opcode = 0x5411;

/// What the kernel knows of a TCP connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TcpState {
    /// Bytes that the other host has acknowledged, of all that were sent.
    pub acked: u64,
    /// Bytes that were written and are not acknowledged.
    pub outstanding: u64,
    /// The most bytes of a packet.
    pub packet: u64,
    /// How long the other host has taken nothing more, all together: its program does not read.
    pub refused: Duration,
    /// The shortest time there and back that was seen; zero if none was.
    pub min_rtt: Duration,
}

/// Asks the kernel for the state of a TCP connection.
///
/// # Errors
/// If it is none, or the kernel is older than 4.10, which does not tell as much.
pub(crate) fn tcp_state(socket: impl AsFd) -> io::Result<TcpState> {
    let info = tcp_info(&socket)?;
    // SAFETY: this request fills in one int and nothing else.
    let outstanding: c_int = unsafe { ioctl(&socket, Getter::<SIOCOUTQ, c_int>::new())? };
    Ok(TcpState {
        acked: info.tcpi_bytes_acked,
        outstanding: u64::try_from(outstanding).unwrap_or(0),
        packet: u64::from(info.tcpi_snd_mss),
        refused: Duration::from_micros(info.tcpi_rwnd_limited),
        // All ones until there was an answer.
        min_rtt: Duration::from_micros(u64::from(
            Some(info.tcpi_min_rtt).filter(|rtt| *rtt != u32::MAX).unwrap_or(0),
        )),
    })
}

fn tcp_info(socket: &impl AsFd) -> io::Result<libc::tcp_info> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut len = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).unwrap_or(0);
    // SAFETY: the kernel writes `len` bytes at most, all of which are ours.
    let done = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    let needed = std::mem::offset_of!(libc::tcp_info, tcpi_rwnd_limited) + size_of::<u64>();
    if usize::try_from(len).is_ok_and(|len| len < needed) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    // SAFETY: it consists of integers alone, and was zeroed: whatever the kernel wrote of it, it is whole.
    Ok(unsafe { info.assume_init() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn what_was_written_is_outstanding_until_it_is_acknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut theirs = listener.accept().unwrap().0;
        let before = tcp_state(&ours).unwrap();
        ours.write_all(&[7; 10_000]).unwrap();
        theirs.read_exact(&mut [0; 10_000]).unwrap();
        let all_there = || tcp_state(&ours).unwrap().outstanding == 0;
        assert!((0..1000).any(|_| all_there() || {
            std::thread::sleep(Duration::from_millis(1));
            false
        }));
        let after = tcp_state(&ours).unwrap();
        assert_eq!(after.acked - before.acked, 10_000);
        assert!((500..=65_536).contains(&after.packet), "{after:?}");
        assert!(after.min_rtt > Duration::ZERO && after.min_rtt < Duration::from_secs(1));
        ours.set_nonblocking(true).unwrap();
        while ours.write(&[7; 10_000]).is_ok() {}
        std::thread::sleep(Duration::from_millis(20));
        let full = tcp_state(&ours).unwrap();
        assert!(full.outstanding > 0 && full.refused > after.refused, "nobody reads: {full:?}");
    }

    #[test]
    fn other_sockets_are_refused() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(tcp_state(&one).is_err());
    }
}
