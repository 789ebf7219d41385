//! The command line, and the configuration file that it names.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use clap::Parser;

use crate::cli::Cli;
use crate::cli::config::{Config, Fault};

/// The most bytes of a file that are read: the sample, which has every option, has about a tenth of them.
const FILE_MAX: u64 = 64 << 10;

/// Reads the command line, and what the file of its `--config` adds.
///
/// # Errors
///
/// Where the file cannot be read, or has a fault; the first is told.
pub(super) fn command_line() -> anyhow::Result<Cli> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let Some(file) = Config::named_in(&words) else { return Ok(Cli::parse_from(words)) };
    let config = read(&file)?;
    let config =
        config.map_err(|faults| anyhow!("{}", listed(&file, faults.get(..1).unwrap_or_default())))?;
    Ok(Cli::parse_from(config.added_to(&words)))
}

/// Tells what is wrong in a file.
pub(super) fn check(file: &Path) -> anyhow::Result<()> {
    match read(file)? {
        Ok(_) => super::say(&format!("{}: no faults", file.display())),
        Err(faults) => bail!("{}", listed(file, &faults)),
    }
}

fn read(file: &Path) -> anyhow::Result<Result<Config, Vec<Fault>>> {
    let name = || format!("the configuration in {}", file.display());
    let mut text = String::new();
    File::open(file).with_context(name)?.take(FILE_MAX).read_to_string(&mut text).with_context(name)?;
    if u64::try_from(text.len()).is_ok_and(|length| length == FILE_MAX) {
        bail!("{} has more than {} KiB", name(), FILE_MAX >> 10);
    }
    Ok(Config::parse(&text))
}

/// Lists faults as compilers do, so that editors find them.
fn listed(file: &Path, faults: &[Fault]) -> String {
    let lines: Vec<String> = faults.iter().map(|fault| format!("{}:{fault}", file.display())).collect();
    lines.join("\n")
}
