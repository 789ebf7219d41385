//! The encoders that GStreamer has, and the pipeline around one.

mod elements;
mod pipeline;
mod probe;

pub use elements::Element;
pub(super) use pipeline::Pipeline;
pub use pipeline::PipelineError;
pub(super) use probe::probe;
