//! The encoders that GStreamer has, how a picture gets into each, and the pipeline around one, here or in a process of
//! its own.

mod control;
mod elements;
mod import;
mod input;
mod opus;
mod pipeline;
mod pipelines;
mod probe;
mod process;

pub(super) use control::Control;
pub(crate) use elements::{Element, EncoderKind};
pub(super) use import::Lease;
pub(super) use input::{Input, Version, input};
pub(super) use opus::OpusEncoder;
pub(crate) use opus::{OpusDecoder, has_opus};
pub(super) use pipeline::Pipeline;
pub(crate) use pipeline::PipelineError;
pub(super) use pipelines::{EncodedBytes, RunningPipeline};
pub(crate) use pipelines::{Isolation, Pipelines};
pub(super) use probe::survey;
pub(crate) use probe::{Finding, Verdict, start};
pub use process::Answer;
pub(crate) use process::{encode_for_parent, launch_for_parent};
