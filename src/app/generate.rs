//! What is made of the command line's description: man pages, completions, a sample of a configuration file.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::config::sample;
use crate::cli::{Cli, Document};

/// Prints a document, or writes the man pages of all commands into `folder`.
pub(super) fn generate(what: Document, folder: Option<&Path>) -> anyhow::Result<()> {
    let mut command = Cli::command();
    let mut text = Vec::new();
    match (what, folder) {
        (Document::Man, Some(folder)) => {
            return clap_mangen::generate_to(command, folder).with_context(|| folder.display().to_string());
        }
        (_, Some(_)) => bail!("only man pages are written into a folder"),
        (Document::Man, None) => clap_mangen::Man::new(command).render(&mut text)?,
        (Document::Config, None) => text.extend(sample()?.bytes()),
        (Document::Bash, None) => clap_complete::generate(Shell::Bash, &mut command, "qemu-spice", &mut text),
        (Document::Zsh, None) => clap_complete::generate(Shell::Zsh, &mut command, "qemu-spice", &mut text),
        (Document::Fish, None) => clap_complete::generate(Shell::Fish, &mut command, "qemu-spice", &mut text),
    }
    Ok(std::io::stdout().write_all(&text)?)
}
