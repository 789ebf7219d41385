//! A configuration file: TOML whose keys are the long names of options. It becomes words of the command line, so that
//! options are stated, read and checked in one place.

use std::ffi::OsString;
use std::fmt::{self, Write};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, Command, CommandFactory};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Cli;

/// Options that say nothing of how to serve.
const NOT_IN_A_FILE: [&str; 4] = ["config", "help", "print-capabilities", "version"];

/// Columns of the sample.
const COLUMNS: usize = 80;

/// The options in a file.
#[derive(Debug)]
pub(crate) struct Config {
    entries: Vec<Entry>,
}

/// An option in a file.
#[derive(Debug)]
struct Entry {
    line: usize,
    key: String,
    /// As on the command line: `--key=value`.
    words: Vec<OsString>,
}

/// What is wrong in a file.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Fault {
    /// The line, from 1.
    line: usize,
    reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.reason)
    }
}

impl Config {
    /// Returns the file that a command line names with `--config`. `words` begin with the program's name.
    pub(crate) fn named_in(words: &[OsString]) -> Option<PathBuf> {
        let matches = Cli::command().ignore_errors(true).try_get_matches_from(words).ok()?;
        matches.get_one::<PathBuf>("config").cloned()
    }

    /// Reads a file's text.
    ///
    /// # Errors
    ///
    /// All faults in the order of their lines, if there are any.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let line = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count().saturating_add(1);
        let at = |error: &toml::de::Error| line(error.span().map_or(0, |span| span.start));
        let of_toml = |error: &toml::de::Error| Fault { line: at(error), reason: one_line(error.message()) };
        let mut faults: Vec<Fault> = errors.iter().map(of_toml).collect();
        let (command, mut entries) = (Cli::command(), Vec::new());
        for (key, value) in table.get_ref() {
            let (line, key) = (line(key.span().start), key.get_ref().as_ref().to_owned());
            match words(&command, &key, value) {
                Ok(words) => entries.push(Entry { line, key, words }),
                Err(reason) => faults.push(Fault { line, reason }),
            }
        }
        entries.sort_by_key(|entry| entry.line);
        if faults.is_empty() {
            faults.extend(misfit(&entries));
        }
        faults.sort_by_key(|fault| fault.line);
        if faults.is_empty() { Ok(Self { entries }) } else { Err(faults) }
    }

    /// Adds the options to a command line, which wins: what it gives, or excludes, is left out. `words` begin with the
    /// program's name.
    pub(crate) fn added_to(self, words: &[OsString]) -> Vec<OsString> {
        let given = Cli::command().ignore_errors(true).try_get_matches_from(words).ok();
        let is_given = |key: &str| {
            let command = Cli::command();
            let id = option(&command, key).map(|arg| arg.get_id().as_str().to_owned());
            let source = given.as_ref().zip(id).and_then(|(given, id)| given.value_source(&id));
            source == Some(ValueSource::CommandLine)
        };
        let is_excluded = |entry: &Entry| {
            let both = Cli::command().try_get_matches_from(words.iter().chain(&entry.words));
            both.is_err_and(|error| error.kind() == ErrorKind::ArgumentConflict)
        };
        let kept = self.entries.iter().filter(|entry| !is_given(&entry.key) && !is_excluded(entry));
        let kept: Vec<OsString> = kept.flat_map(|entry| entry.words.clone()).collect();
        words.iter().cloned().chain(kept).collect()
    }
}

/// Writes a file with every option, each in a comment with its help.
pub(crate) fn sample() -> Result<String, fmt::Error> {
    let (command, mut text, mut heading) = (Cli::command(), String::new(), None);
    text.push_str("# Each key is the long name of an option of qemu-spice(1), which says more.\n");
    text.push_str("# `qemu-spice check FILE` tells what is wrong in a file.\n");
    for arg in command.get_arguments().filter(|arg| is_for_files(arg) && !arg.is_hide_set()) {
        if heading != arg.get_help_heading() {
            heading = arg.get_help_heading();
            write!(text, "\n\n## {}\n", heading.unwrap_or_default())?;
        }
        text.push('\n');
        comment(&mut text, &arg.get_help().map(ToString::to_string).unwrap_or_default())?;
        let values: Vec<String> =
            arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        if !values.is_empty() && !matches!(arg.get_action(), ArgAction::SetTrue) {
            comment(&mut text, &format!("One of: {}", values.join(", ")))?;
        }
        let default = arg.get_default_values().first().map(|value| value.to_string_lossy().into_owned());
        let name = || arg.get_value_names().and_then(<[_]>::first).map(ToString::to_string);
        let value = default.or_else(name).unwrap_or_default();
        let key = arg.get_long().unwrap_or_default();
        match arg.get_action() {
            ArgAction::SetTrue => writeln!(text, "#{key} = true")?,
            ArgAction::Append => writeln!(text, "#{key} = [\"{value}\"]")?,
            _ => writeln!(text, "#{key} = \"{value}\"")?,
        }
    }
    Ok(text)
}

/// Appends a comment in lines that fit.
fn comment(text: &mut String, words: &str) -> fmt::Result {
    let mut line = String::from("#");
    for word in words.split_whitespace() {
        if line.len().saturating_add(word.len()) >= COLUMNS {
            writeln!(text, "{line}")?;
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    writeln!(text, "{line}")
}

/// Finds an option by its key.
fn option<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| arg.get_long() == Some(key) && is_for_files(arg))
}

fn is_for_files(arg: &Arg) -> bool {
    arg.get_long().is_some_and(|long| !NOT_IN_A_FILE.contains(&long))
}

/// Returns the words of an option on the command line, each checked as there.
fn words(command: &Command, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<OsString>, String> {
    if value.get_ref().is_table() {
        return Err(format!("`{}` is a table: options stand outside of tables", one_line(key)));
    }
    let arg = option(command, key).ok_or_else(|| unknown(command, key))?;
    let text = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        _ => None,
    };
    let words = match (arg.get_action(), value.get_ref()) {
        (ArgAction::SetTrue, DeValue::Boolean(true)) => vec![format!("--{key}").into()],
        (ArgAction::SetTrue, DeValue::Boolean(false)) => Vec::new(),
        (ArgAction::SetTrue, _) => return Err(format!("`{key}` takes true or false")),
        (ArgAction::Append, DeValue::Array(values)) => {
            let values: Option<Vec<String>> = values.iter().map(|value| text(value.get_ref())).collect();
            let values = values.ok_or_else(|| format!("`{key}` takes a list of texts"))?;
            values.iter().map(|value| format!("--{key}={value}").into()).collect()
        }
        (_, value) => {
            let value = text(value).ok_or_else(|| format!("`{key}` takes a text: {key} = \"…\""))?;
            vec![format!("--{key}={value}").into()]
        }
    };
    match refusal(&words) {
        Some((kind, reason)) if !is_of_several(kind) => Err(reason),
        _ => Ok(words),
    }
}

/// Says that there is no such option, and which is named most like it.
fn unknown(command: &Command, key: &str) -> String {
    if NOT_IN_A_FILE.contains(&key) {
        return format!("`{key}` is for the command line alone");
    }
    let known = command.get_arguments().filter(|arg| is_for_files(arg)).filter_map(Arg::get_long);
    let nearest = known
        .max_by(|one, other| strsim::jaro_winkler(key, one).total_cmp(&strsim::jaro_winkler(key, other)));
    format!("there is no option `{}`; the nearest is `{}`", one_line(key), nearest.unwrap_or_default())
}

/// Finds options that do not go together, or need another. The culprit is the last one without which there is no fault.
fn misfit(entries: &[Entry]) -> Option<Fault> {
    let refusal_without = |left_out: Option<usize>| {
        let kept = entries.iter().enumerate().filter(|(number, _)| Some(*number) != left_out);
        refusal(&kept.flat_map(|(_, entry)| entry.words.clone()).collect::<Vec<_>>())
    };
    let (_, reason) = refusal_without(None)?;
    let mut culprits = entries.iter().enumerate().rev();
    let culprit = culprits.find(|(number, _)| refusal_without(Some(*number)).is_none());
    let line = culprit.map(|(_, entry)| entry).or(entries.last()).map_or(1, |entry| entry.line);
    Some(Fault { line, reason })
}

/// Says why a command line with these words is refused.
fn refusal(words: &[OsString]) -> Option<(ErrorKind, String)> {
    let line = std::iter::once(OsString::from("qemu-spice")).chain(words.iter().cloned());
    let error = Cli::command().try_get_matches_from(line).err()?;
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    Some((error.kind(), one_line(first.trim_start_matches("error: "))))
}

/// Whether a refusal is about several options, not about one.
fn is_of_several(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ArgumentConflict | ErrorKind::MissingRequiredArgument)
}

/// Makes one line of it.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn faults(text: &str) -> Vec<String> {
        Config::parse(text).map(|_| ()).unwrap_err().iter().map(ToString::to_string).collect()
    }

    fn parsed(text: &str, words: &[&str]) -> Cli {
        let words: Vec<OsString> = std::iter::once(&"qemu-spice").chain(words).map(Into::into).collect();
        Cli::try_parse_from(Config::parse(text).unwrap().added_to(&words)).unwrap()
    }

    #[test]
    fn a_file_says_what_the_command_line_can_say() {
        let text = "qmp = '/run/q' # where\nwait = true\ninvited-only = false\nmax-bitrate = 4_000_000\n\
                    spice-addr = ['127.0.0.1:1', 'unix:/run/s']\nweb-origin = 'https://vm.example'\n";
        let serve = parsed(text, &[]).serve;
        assert_eq!(serve.qmp, Some("/run/q".into()));
        assert!(serve.wait && !serve.invited_only);
        assert_eq!((serve.max_bitrate, serve.spice_addr.len()), (Some(4_000_000), 2));
        assert_eq!(serve.web_origin, ["https://vm.example"]);
    }

    #[test]
    fn the_command_line_wins() {
        let text = "qmp = '/run/q'\nspice-addr = ['127.0.0.1:1', '127.0.0.1:2']\npassword-file = '/p'\n";
        let serve = parsed(text, &["--spice-addr", "none", "--bus-name=x.y", "--invited-only"]).serve;
        assert_eq!((serve.spice_addr.len(), serve.bus_name.as_str()), (1, "x.y"));
        assert_eq!((serve.qmp, serve.password_file), (Some("/run/q".into()), None));
        let serve = parsed(text, &["-a", "unix:path=/run/bus"]).serve;
        assert_eq!((serve.qmp, serve.dbus_address.as_deref()), (None, Some("unix:path=/run/bus")));
        assert_eq!(parsed(text, &["--qmp", "/mine"]).serve.qmp, Some("/mine".into()));
    }

    #[test]
    fn each_fault_has_its_line_and_reason() {
        assert_eq!(
            faults("wait = true\npasword-file = '/p'\nclipboard = 'sideways'\n\nwait-for = 1\nqmp = true\n"),
            [
                "2: there is no option `pasword-file`; the nearest is `password-file`",
                "3: invalid value 'sideways' for '--clipboard <WAY>' [possible values: none, to-guest, from-guest, \
                 both]",
                "5: there is no option `wait-for`; the nearest is `wait`",
                "6: `qmp` takes a text: qmp = \"…\"",
            ]
        );
        assert_eq!(faults("wait = 'yes'"), ["1: `wait` takes true or false"]);
        assert_eq!(
            faults("[viewers]\nqmp = 'a'"),
            ["1: `viewers` is a table: options stand outside of tables"]
        );
        assert_eq!(faults("\nconfig = 'b'"), ["2: `config` is for the command line alone"]);
        assert_eq!(faults("wait = true\nwait = true"), ["2: duplicate key"]);
        assert!(faults("qmp = '/run/q'\nspice-addr = ['a:1'").concat().starts_with("2: "));
        assert!(faults("a\u{202e}\n").concat().starts_with("1: "));
    }

    #[test]
    fn options_that_do_not_fit_together_are_a_fault_of_one_line() {
        let told = faults("password-file = '/p'\nbus-name = 'a.b'\ninvited-only = true\n");
        assert!(told.len() == 1 && told.concat().starts_with("3: "), "{told:?}");
        let told = faults("wait = true\nsasl-users = '/u'\nbus-name = 'a.b'\n");
        assert!(told.len() == 1 && told.concat().starts_with("2: "), "{told:?}");
        assert!(told.concat().contains("--tls-creds"), "{told:?}");
    }

    #[test]
    fn the_file_is_found_among_other_options() {
        let named = |words: &[&str]| Config::named_in(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(named(&["q", "--sasl-users", "u", "--config", "f"]), Some("f".into()));
        assert_eq!(named(&["q", "--wait"]), None);
        assert_eq!(named(&["q", "status"]), None);
    }

    #[test]
    fn the_sample_has_every_option_and_is_right_in_parts() {
        let sample = sample().unwrap();
        let command = Cli::command();
        for arg in command.get_arguments().filter(|arg| is_for_files(arg) && !arg.is_hide_set()) {
            let key = arg.get_long().unwrap();
            let line = sample.lines().find(|line| line.starts_with(&format!("#{key} = "))).unwrap();
            let told = Config::parse(line.trim_start_matches('#'));
            let is_an_example = told.is_err_and(|faults| !faults[0].reason.contains("takes"));
            assert!(is_an_example || Config::parse(line.trim_start_matches('#')).is_ok(), "{line}");
        }
        assert!(sample.lines().all(|line| line.len() <= COLUMNS));
        assert!(Config::parse(&sample).is_ok());
    }
}
