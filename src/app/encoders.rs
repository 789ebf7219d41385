//! Which video encoders there are, and where they run.

use anyhow::{Context, bail};
use clap::ValueEnum;
use tracing::warn;

use super::{logging, sandbox, say};
use crate::cli::{EncoderProcess, LogFormat, Sandbox, Serve, VideoCodec};
use crate::encode::{
    Codec, Element, EncoderKind, Encoders, Isolation, Pipelines, Verdict, encode_for_parent,
    launch_for_parent,
};

/// Makes what starts encoders: those in processes of their own take another that starts them.
pub(super) fn pipelines(options: &Serve) -> Pipelines {
    let isolation = match options.encoder_process {
        EncoderProcess::Hardware => Isolation::Hardware,
        EncoderProcess::All => Isolation::All,
        EncoderProcess::None => Isolation::None,
    };
    let elements = match options.video_codec {
        VideoCodec::Auto => Element::of(&Codec::ALL),
        VideoCodec::Only(codec) => Element::of(&[codec]),
        VideoCodec::None => Vec::new(),
    };
    Pipelines::new(isolation, &elements, &words(options.sandbox, options.log_format))
}

/// Finds the encoders of this machine; `None` where every viewer gets images.
pub(super) fn start(codec: VideoCodec, pipelines: Pipelines) -> anyhow::Result<Option<Encoders>> {
    match codec {
        VideoCodec::None => Ok(None),
        VideoCodec::Only(codec) => Ok(Some(Encoders::probe(&Element::of(&[codec]), pipelines)?)),
        VideoCodec::Auto => match Encoders::automatic(pipelines) {
            Ok(encoders) => Ok(Some(encoders)),
            Err(error) => {
                warn!(%error, "no video: every viewer gets images, which cost more of the network");
                Ok(None)
            }
        },
    }
}

/// Is the process that starts encoders' processes.
pub(super) fn launch(sandbox: Sandbox, log: LogFormat) -> anyhow::Result<()> {
    launch_for_parent(&words(sandbox, log)).context("cannot start encoders")
}

/// Is an encoder's process.
pub(super) fn encode(how: Sandbox, log: LogFormat) -> anyhow::Result<()> {
    crate::sys::give_back_large_buffers();
    sandbox::close_encoder(how)?;
    // What the kernel lacks for that was told by the program. There is no way to the journal but standard error.
    logging::start(if log == LogFormat::Json { log } else { LogFormat::Text })?;
    encode_for_parent().context("cannot encode")
}

/// What an encoder's process is told on its command line.
fn words(sandbox: Sandbox, log: LogFormat) -> Vec<String> {
    let values = [sandbox.to_possible_value(), log.to_possible_value()];
    values.into_iter().flatten().map(|value| value.get_name().to_owned()).collect()
}

/// Prints the findings about each video encoder as a table.
pub(super) fn probe() -> anyhow::Result<()> {
    let all = Element::of(&Codec::ALL);
    let findings = Encoders::survey(
        &all,
        &Pipelines::new(Isolation::Hardware, &all, &words(Sandbox::On, LogFormat::Auto)),
    )?;
    let works = findings.iter().filter(|found| found.verdict == Verdict::Works);
    let works: Vec<Element> = works.map(|found| found.element).collect();
    let is_used =
        |element: Element| works.iter().find(|first| first.codec() == element.codec()) == Some(&element);
    say(&row("ENCODER", "KIND", "INPUT", "STATE"))?;
    for found in findings {
        let kind = match found.element.kind() {
            EncoderKind::Hardware => "hardware",
            EncoderKind::Software => "software",
        };
        let input = match (&found.verdict, found.imports) {
            (Verdict::Works, true) => "dmabuf",
            (Verdict::Works, false) => "memory",
            _ => "-",
        };
        let mut state = found.to_string();
        if is_used(found.element) {
            state += ", and is used";
        }
        say(&row(found.element.name(), kind, input, &state))?;
    }
    if !works.is_empty() { Ok(()) } else { bail!("no video encoder works here: viewers get images") }
}

fn row(name: &str, kind: &str, input: &str, state: &str) -> String {
    format!("{name:12} {kind:9} {input:7} {state}")
}
