use std::ops::Deref;
use std::sync::Arc;

use super::pipeline::EncodedBuffer;
use super::process::{Launcher, RemotePipeline};
use super::{Control, Element, EncoderKind, Input, Lease, Pipeline, PipelineError, start};
use crate::encode::picture::Planes;
use crate::frame::{Dmabuf, Size};

/// Which encoders run in processes of their own.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Isolation {
    /// None.
    #[default]
    None,
    /// Those of devices, whose drivers are large.
    Hardware,
    /// All.
    All,
}

impl Isolation {
    fn covers(self, element: Element) -> bool {
        match self {
            Self::None => false,
            Self::Hardware => element.kind() == EncoderKind::Hardware,
            Self::All => true,
        }
    }
}

/// Starts pipelines, here or in processes of their own. Cheap to clone; all clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pipelines {
    isolation: Isolation,
    launcher: Option<Arc<Launcher>>,
}

impl Pipelines {
    /// Makes them for what `isolation` says, and starts what starts processes, if any of `elements` is there that is
    /// to have one. Each encoder's process is told `words` on its command line.
    pub(crate) fn new(isolation: Isolation, elements: &[Element], words: &[String]) -> Self {
        let is_apart = |&element: &Element| isolation.covers(element) && element.is_installed();
        // Where GStreamer does not start, those tell who want an encoder.
        let needs_launcher = isolation != Isolation::None && start().is_ok() && elements.iter().any(is_apart);
        let launcher = needs_launcher.then(|| Launcher::start(words)).and_then(|started| {
            started
                .inspect_err(|error| tracing::warn!(%error, "no process that starts encoders' processes"))
                .ok()
        });
        Self { isolation, launcher: launcher.map(Arc::new) }
    }

    /// Starts an encoder for pictures of this size that come in this way.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) fn start(
        &self,
        element: Element,
        input: &Input,
        size: Size,
        control: Control,
    ) -> Result<RunningPipeline, PipelineError> {
        if !self.isolation.covers(element) {
            return Pipeline::new(element, input, size, control).map(RunningPipeline::Here);
        }
        let started = match &self.launcher {
            Some(launcher) => RemotePipeline::start(launcher, element, input, size, control),
            None => Err("there is no process that starts one for it".to_owned()),
        };
        started
            .map(|pipeline| RunningPipeline::Apart(element, pipeline))
            .map_err(|reason| PipelineError { element: element.name(), reason })
    }
}

/// An encoder at work on pictures of one size. Ends when dropped.
#[derive(Debug)]
pub(crate) enum RunningPipeline {
    /// In this process.
    Here(Pipeline),
    /// In one of its own.
    Apart(Element, RemotePipeline),
}

/// What an encoder made of a picture.
pub(crate) enum EncodedBytes {
    /// Where it left it.
    Here(EncodedBuffer),
    /// As it came from another process.
    Apart(Vec<u8>),
}

impl Deref for EncodedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Here(buffer) => buffer,
            Self::Apart(bytes) => bytes,
        }
    }
}

impl RunningPipeline {
    /// From the next one on, no frame should have more bytes than this. An encoder that cannot be told goes on as it
    /// is.
    pub(crate) fn limit(&mut self, frame_bytes: Option<u64>) {
        match self {
            Self::Here(pipeline) => pipeline.limit(frame_bytes),
            Self::Apart(_, pipeline) => pipeline.limit(frame_bytes),
        }
    }

    /// Encodes one picture.
    ///
    /// # Errors
    /// If the encoder fails, takes too long, or its process ends. It is of no use afterwards.
    pub(crate) fn encode(&mut self, key: bool, planes: Planes) -> Result<EncodedBytes, PipelineError> {
        match self {
            Self::Here(pipeline) => pipeline.encode(key, planes).map(EncodedBytes::Here),
            Self::Apart(element, pipeline) => told(*element, pipeline.encode(key, &planes)),
        }
    }

    /// Encodes one picture out of the guest's own buffer. Holds the lease for as long as that is read.
    ///
    /// # Errors
    /// As for [`RunningPipeline::encode`], and if the encoder cannot read it.
    pub(crate) fn encode_dmabuf(
        &mut self,
        key: bool,
        dmabuf: &Dmabuf,
        lease: Lease,
    ) -> Result<EncodedBytes, PipelineError> {
        match self {
            Self::Here(pipeline) => {
                let buffer = pipeline.import(dmabuf, &lease)?;
                drop(lease); // its memory has it now
                pipeline.encode_dmabuf(key, buffer).map(EncodedBytes::Here)
            }
            // The answer is all that tells of what is read there.
            Self::Apart(element, pipeline) => told(*element, pipeline.encode_dmabuf(key, dmabuf)),
        }
    }

    /// Stops it in the middle of its work.
    #[cfg(test)]
    pub(crate) fn stop(&self) {
        let Self::Here(pipeline) = self else { panic!("it is not here") };
        pipeline.stop();
    }
}

fn told(element: Element, encoded: Result<Vec<u8>, String>) -> Result<EncodedBytes, PipelineError> {
    let element = element.name();
    encoded.map(EncodedBytes::Apart).map_err(|reason| PipelineError { element, reason })
}
