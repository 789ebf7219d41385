//! A console's listener, as QEMU calls it.

use super::*;

/// A console's listener, as QEMU sees it. Each method is one call, and gives the listener's answer.
pub struct Screen {
    /// Which console it listens to.
    pub console: u32,
    /// What it says it has besides the plain listener.
    pub interfaces: Vec<String>,
    connection: Connection,
    /// The number of its last message. QEMU counts them for each connection, zbus for the whole process.
    serial: AtomicU32,
}

impl Screen {
    pub(super) fn new(console: u32, connection: Connection) -> Self {
        Self { console, interfaces: Vec::new(), connection, serial: AtomicU32::new(0) }
    }

    /// `Scanout`: width, height, stride, pixman's format, pixels.
    pub async fn scanout(&self, w: u32, h: u32, stride: u32, format: u32, data: &[u8]) -> zbus::Result<()> {
        self.call(LISTENER, "Scanout", &(w, h, stride, format, data)).await
    }

    /// `Update`.
    pub async fn update(
        &self,
        (x, y, w, h): (i32, i32, i32, i32),
        stride: u32,
        format: u32,
        data: &[u8],
    ) -> zbus::Result<()> {
        self.call(LISTENER, "Update", &(x, y, w, h, stride, format, data)).await
    }

    /// `ScanoutMap`: file, offset, width, height, stride, pixman's format.
    pub async fn scanout_map(
        &self,
        fd: &OwnedFd,
        offset: u32,
        w: u32,
        h: u32,
        stride: u32,
        format: u32,
    ) -> zbus::Result<()> {
        self.call(MAP, "ScanoutMap", &(Fd::from(fd), offset, w, h, stride, format)).await
    }

    /// `UpdateMap`.
    pub async fn update_map(&self, rect: (i32, i32, i32, i32)) -> zbus::Result<()> {
        self.call(MAP, "UpdateMap", &rect).await
    }

    /// `ScanoutDMABUF` of a linear buffer: file, width, height, stride, fourcc, y0_top. A memfd will do.
    pub async fn scanout_dmabuf(
        &self,
        fd: &OwnedFd,
        w: u32,
        h: u32,
        stride: u32,
        fourcc: u32,
        y0_top: bool,
    ) -> zbus::Result<()> {
        self.scanout_dmabuf_tiled(fd, w, h, stride, fourcc, 0, y0_top).await
    }

    /// `ScanoutDMABUF` with a modifier.
    #[expect(clippy::too_many_arguments, reason = "it is what QEMU says, word for word")]
    pub async fn scanout_dmabuf_tiled(
        &self,
        fd: &OwnedFd,
        w: u32,
        h: u32,
        stride: u32,
        fourcc: u32,
        modifier: u64,
        y0_top: bool,
    ) -> zbus::Result<()> {
        let body = (Fd::from(fd), w, h, stride, fourcc, modifier, y0_top);
        self.call(LISTENER, "ScanoutDMABUF", &body).await
    }

    /// `ScanoutDMABUF2` of a part of one linear buffer.
    pub async fn scanout_dmabuf2(
        &self,
        fd: &OwnedFd,
        (x, y, w, h): (u32, u32, u32, u32),
        (offset, stride): (u32, u32),
        fourcc: u32,
        (whole_w, whole_h): (u32, u32),
    ) -> zbus::Result<()> {
        let (fds, offsets, strides) = (vec![Fd::from(fd)], vec![offset], vec![stride]);
        let body = (fds, x, y, w, h, offsets, strides, 1u32, fourcc, whole_w, whole_h, 0u64, false);
        self.call(DMABUF2, "ScanoutDMABUF2", &body).await
    }

    /// `ScanoutDMABUF2` of several planes, each at its offset and with its stride; the last file has those left over.
    pub async fn scanout_dmabuf2_of(
        &self,
        files: &[&OwnedFd],
        (w, h): (u32, u32),
        (offsets, strides): (&[u32], &[u32]),
        fourcc: u32,
    ) -> zbus::Result<()> {
        let files: Vec<Fd<'_>> = files.iter().map(|file| Fd::from(*file)).collect();
        let planes = u32::try_from(strides.len()).unwrap();
        let body = (files, 0u32, 0u32, w, h, offsets, strides, planes, fourcc, w, h, 0u64, false);
        self.call(DMABUF2, "ScanoutDMABUF2", &body).await
    }

    /// `UpdateDMABUF`; gives how long the guest waited.
    pub async fn update_dmabuf(&self, rect: (i32, i32, i32, i32)) -> zbus::Result<Duration> {
        let start = Instant::now();
        self.call(LISTENER, "UpdateDMABUF", &rect).await?;
        Ok(start.elapsed())
    }

    /// `Disable`.
    pub async fn disable(&self) -> zbus::Result<()> {
        self.call(LISTENER, "Disable", &()).await
    }

    /// `MouseSet`.
    pub async fn mouse_set(&self, x: i32, y: i32, on: bool) -> zbus::Result<()> {
        self.call(LISTENER, "MouseSet", &(x, y, i32::from(on))).await
    }

    /// `CursorDefine`: width, height, hot spot, pixels.
    pub async fn cursor_define(&self, w: i32, h: i32, hot: (i32, i32), data: &[u8]) -> zbus::Result<()> {
        self.call(LISTENER, "CursorDefine", &(w, h, hot.0, hot.1, data)).await
    }

    /// Any call, with any arguments.
    pub async fn call(
        &self,
        interface: &str,
        method: &str,
        body: &(impl Serialize + DynamicType),
    ) -> zbus::Result<()> {
        self.ask(interface, method, body).await.map(drop)
    }

    /// Any call; gives what it returns.
    pub async fn ask(
        &self,
        interface: &str,
        method: &str,
        body: &(impl Serialize + DynamicType),
    ) -> zbus::Result<Message> {
        let call = self.message(interface, method).build(body)?;
        let mut answers = MessageStream::from(&self.connection);
        let answered = async {
            self.connection.send(&call).await?;
            while let Some(answer) = answers.next().await {
                let answer = answer?;
                if answer.header().reply_serial() == Some(call.primary_header().serial_num()) {
                    let failed = answer.message_type() == Type::Error;
                    return if failed { Err(answer.into()) } else { Ok(answer) };
                }
            }
            Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe).into())
        };
        tokio::time::timeout(PATIENCE, answered).await.expect("a call was never answered")
    }

    /// A call that is made but discarded before it is sent.
    pub fn lose(&self) {
        self.serial.fetch_add(1, Ordering::Relaxed);
    }

    fn message(&self, interface: &str, method: &str) -> zbus::message::Builder<'static> {
        let serial = NonZeroU32::new(self.serial.fetch_add(1, Ordering::Relaxed) + 1).unwrap();
        let (interface, method) = (interface.to_owned(), method.to_owned());
        let call = Message::method_call(format!("{ROOT}/Listener"), method).unwrap();
        call.interface(interface).unwrap().serial(serial)
    }

    /// Any call, without waiting for an answer: `quiet` tells the listener not to send one.
    pub async fn post(
        &self,
        interface: &str,
        method: &str,
        body: &(impl Serialize + DynamicType),
        quiet: bool,
    ) {
        let call = self.message(interface, method);
        let call = if quiet { call.with_flags(Flags::NoReplyExpected).unwrap() } else { call };
        self.connection.send(&call.build(body).unwrap()).await.unwrap();
    }

    /// Any call, with a body that may not be what its signature says, and no files. No answer is waited for.
    #[allow(unsafe_code)]
    pub async fn post_without_files(&self, interface: &str, method: &str, signature: &str, words: &[u32]) {
        let call = self.message(interface, method);
        let body: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        // SAFETY: the message may be wrong, which is what it is for; it is only sent, never read here.
        let call = unsafe { call.build_raw_body(&body, signature, Vec::new()) };
        self.connection.send(&call.unwrap()).await.unwrap();
    }

    /// The listener's connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}
