//! The encoders that GStreamer has, how a picture gets into each, and the pipeline around one.

mod control;
mod elements;
mod import;
mod input;
mod opus;
mod pipeline;
mod probe;

pub(super) use control::Control;
pub(crate) use elements::{Element, EncoderKind};
pub(super) use import::Lease;
pub(super) use input::{Input, Version, input};
pub(super) use opus::OpusEncoder;
pub(crate) use opus::{OpusDecoder, has_opus};
pub(crate) use pipeline::PipelineError;
pub(super) use pipeline::{EncodedBuffer, Pipeline};
pub(super) use probe::survey;
pub(crate) use probe::{Finding, Verdict, start};
