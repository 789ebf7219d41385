//! Options that have a few values.

use clap::ValueEnum;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::encode::Codec;

/// Which video codec to encode with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum VideoCodec {
    /// The best that there is an encoder for, if any.
    Auto,
    /// This one, or an error.
    Only(Codec),
    /// No video.
    None,
}

/// Which ways of copy and paste there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Clipboard {
    /// None.
    None,
    /// What was copied at the viewer can be pasted in the guest.
    ToGuest,
    /// What was copied in the guest can be pasted at the viewer.
    FromGuest,
    /// Both.
    Both,
}

impl Clipboard {
    /// Whether this way, or both, is allowed.
    pub(crate) fn allows(self, way: Self) -> bool {
        self == way || self == Self::Both
    }
}

/// On or off.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// Whether the program closes itself off from what it does not need.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Sandbox {
    /// As far as the kernel can
    On,
    /// Wholly, or the program does not start
    Strict,
    /// Not at all: for debugging
    Off,
}

/// The name of [`VideoCodec::Auto`].
pub(super) const AUTO: &str = "auto";

/// Reads the name of a [`VideoCodec`].
pub(super) fn video_codec() -> impl TypedValueParser<Value = VideoCodec> {
    let auto = PossibleValue::new(AUTO).help(
        "For each viewer the best that it decodes and that there is an encoder for, and images without one",
    );
    let codecs = Codec::ALL.map(|codec| PossibleValue::new(codec.name()).help(codec.help()));
    let none = PossibleValue::new("none").help("No video");
    let all = std::iter::once(auto).chain(codecs).chain([none]);
    PossibleValuesParser::new(all).map(|name| match name.as_str() {
        AUTO => VideoCodec::Auto,
        name => {
            let codec = Codec::ALL.into_iter().find(|codec| codec.name() == name);
            codec.map_or(VideoCodec::None, VideoCodec::Only)
        }
    })
}

/// Which video encoders run in processes of their own.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum EncoderProcess {
    /// Those of devices, whose drivers are large
    Hardware,
    /// All, also those on the processor
    All,
    /// None
    None,
}

/// What the guest's pointer is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Pointer {
    /// In the place where the viewer's pointer is
    Tablet,
    /// Moved by as much as the viewer's, for guests and games that want a mouse
    Mouse,
}

/// When to pass the guest's buffers through.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Passthrough {
    /// To viewers that can import them
    Auto,
    /// To nobody
    Never,
}

/// How the guest's GPU buffers are read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum ReadDmabuf {
    /// By the CPU where it can, else by the GPU
    Auto,
    /// By the GPU
    Gpu,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Entries of the journal where systemd connects standard error to it, else lines of text
    Auto,
    /// Lines of text
    Text,
    /// A JSON document in each line
    Json,
    /// Entries of the journal
    Journal,
}
