use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{GpuError, GpuImage, GpuWindow};

/// How long a driver may take to start: it loads libraries and compiles a program for the GPU.
const OPEN_DEADLINE: Duration = Duration::from_secs(10);

/// How long a read may take, waiting for others included.
const READ_DEADLINE: Duration = Duration::from_secs(1);

/// The most reads that wait: one for each reader of a program with many viewers.
const QUEUE: usize = 64;

/// Imports are dropped when nothing was read for so long: they keep the guest's memory alive.
const IDLE: Duration = Duration::from_secs(5);

/// How long the end waits for the driver to tidy up.
const END_DEADLINE: Duration = Duration::from_secs(1);

/// What the thread does. Made, used and dropped on it, whatever it is made of.
pub(super) trait Read {
    /// Reads a part of an image.
    fn read(&mut self, image: &Arc<GpuImage>, window: GpuWindow) -> Result<Vec<u8>, GpuError>;

    /// Drops the images that are kept for the next read.
    fn forget(&mut self);
}

/// The one thread on which a driver is called, and the queue to it.
#[derive(Debug)]
pub(super) struct Thread {
    requests: Option<SyncSender<Request>>,
    deadline: Duration,
    /// Nothing is ever sent: the thread's end closes it.
    ended: Mutex<Receiver<()>>,
}

#[derive(Debug)]
struct Request {
    image: Arc<GpuImage>,
    window: GpuWindow,
    until: Instant,
    answer: SyncSender<Result<Vec<u8>, GpuError>>,
}

impl Thread {
    /// Starts the thread, and waits until `open` is done on it.
    ///
    /// # Errors
    /// What `open` says, or that it takes too long.
    pub(super) fn start<R: Read>(
        open: impl FnOnce() -> Result<R, GpuError> + Send + 'static,
    ) -> Result<Self, GpuError> {
        let (requests, queue) = sync_channel::<Request>(QUEUE);
        let (opened, is_open) = sync_channel(1);
        let (end, ended) = channel();
        let run = move || {
            let _end: Sender<()> = end;
            match open() {
                Ok(mut reader) => {
                    let _ = opened.send(Ok(()));
                    serve(&mut reader, &queue);
                }
                Err(error) => {
                    let _ = opened.send(Err(error));
                }
            }
        };
        let builder = std::thread::Builder::new().name("gpu".into());
        builder.spawn(run).map_err(|error| GpuError::Driver(error.to_string()))?;
        match is_open.recv_timeout(OPEN_DEADLINE) {
            Ok(opened) => opened?,
            Err(RecvTimeoutError::Timeout) => return Err(GpuError::Late),
            Err(RecvTimeoutError::Disconnected) => return Err(GpuError::Gone),
        }
        Ok(Self { requests: Some(requests), deadline: READ_DEADLINE, ended: Mutex::new(ended) })
    }

    /// Has a part of an image read, and waits for it: not longer than a second, whatever the driver does.
    pub(super) fn read(&self, image: Arc<GpuImage>, window: GpuWindow) -> Result<Vec<u8>, GpuError> {
        let (answer, answered) = sync_channel(1);
        let until = Instant::now() + self.deadline;
        let requests = self.requests.as_ref().ok_or(GpuError::Gone)?;
        match requests.try_send(Request { image, window, until, answer }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(GpuError::Busy),
            Err(TrySendError::Disconnected(_)) => return Err(GpuError::Gone),
        }
        match answered.recv_timeout(self.deadline) {
            Ok(read) => read,
            Err(RecvTimeoutError::Timeout) => Err(GpuError::Late),
            Err(RecvTimeoutError::Disconnected) => Err(GpuError::Gone),
        }
    }
}

impl Drop for Thread {
    /// Waits for the driver's cleanup unless it hangs, because a driver that cleans up while the process
    /// exits crashes it.
    fn drop(&mut self) {
        self.requests = None;
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(END_DEADLINE);
    }
}

fn serve(reader: &mut impl Read, queue: &Receiver<Request>) {
    let mut forgotten = true;
    loop {
        // Nothing wakes an idle program twice.
        let next = if forgotten { queue.recv().map_err(Into::into) } else { queue.recv_timeout(IDLE) };
        match next {
            Ok(request) => {
                forgotten = false;
                // Whoever asked has given up already.
                if request.until > Instant::now() {
                    let _ = request.answer.send(reader.read(&request.image, request.window));
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                reader.forget();
                forgotten = true;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: GpuWindow = GpuWindow { x: 0, y: 0, width: 1, height: 1, bottom_up: false };

    fn image() -> Arc<GpuImage> {
        Arc::new(GpuImage { planes: Vec::new(), fourcc: 0, modifier: None, width: 1, height: 1 })
    }

    /// Reads when it is told to, by whoever holds the other end.
    struct Told(Receiver<()>);

    impl Read for Told {
        fn read(&mut self, _: &Arc<GpuImage>, _: GpuWindow) -> Result<Vec<u8>, GpuError> {
            let _ = self.0.recv();
            Ok(vec![1, 2, 3, 255])
        }

        fn forget(&mut self) {}
    }

    fn told() -> (Thread, Sender<()>) {
        let (tell, told) = channel();
        let mut thread = Thread::start(move || Ok(Told(told))).unwrap();
        thread.deadline = Duration::from_millis(50);
        (thread, tell)
    }

    #[test]
    fn what_was_read_comes_back() {
        let (thread, tell) = told();
        tell.send(()).unwrap();
        assert_eq!(thread.read(image(), WINDOW).unwrap(), [1, 2, 3, 255]);
    }

    #[test]
    fn a_driver_that_hangs_holds_nobody_for_long_and_no_read_for_ever() {
        let (thread, tell) = told();
        let late = image();
        assert!(matches!(thread.read(late.clone(), WINDOW), Err(GpuError::Late)));
        std::thread::scope(|scope| {
            let reads: Vec<_> =
                (0..QUEUE + 4).map(|_| scope.spawn(|| thread.read(image(), WINDOW))).collect();
            let errors: Vec<_> = reads.into_iter().map(|read| read.join().unwrap().unwrap_err()).collect();
            assert!(errors.iter().any(|error| matches!(error, GpuError::Busy)));
        });
        // It comes to itself: what nobody waits for any more is not read.
        drop(tell);
        let begun = Instant::now();
        while thread.read(image(), WINDOW).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(Arc::strong_count(&late), 1);
    }

    #[test]
    fn a_driver_that_does_not_start_says_why() {
        let start = Thread::start(|| Err::<Told, _>(GpuError::Driver("no".into())));
        assert!(matches!(start, Err(GpuError::Driver(_))));
        assert!(matches!(Thread::start(|| -> Result<Told, _> { panic!("meant") }), Err(GpuError::Gone)));
    }
}
