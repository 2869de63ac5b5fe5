//! The output of commands: exit codes, JSON, and text that is coloured on terminals.

use std::error::Error;
use std::fmt;
use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use sagamore_core::saga::Status;
use serde::Serialize;

use crate::plain;

/// The result of a command, which becomes the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The saga completed, or the command succeeded.
    Completed,
    /// The command failed.
    Error,
    /// The command line is invalid, or the user declined the confirmation.
    Usage,
    /// The saga was compensated.
    Compensated,
    /// The saga is stuck.
    Stuck,
    /// The saga was not at rest at the end of the wait.
    Timeout,
}

impl Exit {
    /// Returns the exit code of a saga's status; `None` for a saga in progress.
    pub fn of(status: Status) -> Option<Exit> {
        match status {
            Status::Running | Status::Compensating => None,
            Status::Completed => Some(Exit::Completed),
            Status::Compensated => Some(Exit::Compensated),
            Status::Stuck => Some(Exit::Stuck),
        }
    }

    /// Returns the code for the operating system.
    pub fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Exit::Completed => 0,
            Exit::Error => 1,
            Exit::Usage => 2,
            Exit::Compensated => 3,
            Exit::Stuck => 4,
            Exit::Timeout => 5,
        })
    }
}

/// Returns an error with its causes. A cause that the text already ends with is not repeated.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let cause = error.to_string();
        match text.as_str() {
            "" => text = cause,
            text if text.ends_with(cause.as_str()) => {}
            _ => text = format!("{text}: {cause}"),
        }
        next = error.source();
    }
    text
}

/// Writes one JSON document to stdout.
pub fn json(value: &impl Serialize) -> serde_json::Result<()> {
    write(format_args!("{}\n", serde_json::to_string(value)?));
    Ok(())
}

/// Writes JSON of the server to stdout, without changes except for escaped control characters.
pub fn raw(body: &[u8]) {
    write(format_args!("{}\n", plain::json(&String::from_utf8_lossy(body))));
}

/// The error that ended the output to stdout.
static ENDED: Mutex<Option<io::Error>> = Mutex::new(None);

/// Writes to stdout. After an error, further output is discarded, and [`finish`] decides the exit
/// code.
pub fn write(text: fmt::Arguments<'_>) {
    let mut ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
    if ended.is_none() {
        let mut stdout = anstream::stdout().lock();
        *ended = stdout.write_fmt(text).and_then(|()| stdout.flush()).err();
    }
}

/// Writes to stderr, and ignores errors.
pub fn complain(text: fmt::Arguments<'_>) {
    let _ = anstream::stderr().lock().write_fmt(text);
}

/// Whether stdout is closed or has failed.
pub fn is_ended() -> bool {
    ENDED.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// Returns the exit code. A pipe that the reader has closed (`head`, a pager) is no error, because
/// the reader has what it needs. Other lost output is an error.
pub fn finish(program: &str, exit: Exit) -> Exit {
    match &*ENDED.lock().unwrap_or_else(PoisonError::into_inner) {
        None => exit,
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => exit,
        Some(error) => {
            complain(format_args!("{program}: cannot write the output: {error}\n"));
            Exit::Error
        }
    }
}

macro_rules! out {
    ($($text:tt)*) => { $crate::output::write(format_args!($($text)*)) };
}

macro_rules! outln {
    ($($text:tt)*) => { $crate::output::write(format_args!("{}\n", format_args!($($text)*))) };
}

macro_rules! err {
    ($($text:tt)*) => { $crate::output::complain(format_args!($($text)*)) };
}

macro_rules! errln {
    ($($text:tt)*) => { $crate::output::complain(format_args!("{}\n", format_args!($($text)*))) };
}

/// Prints the effect of a command, and asks for confirmation.
pub fn confirmed(effect: &str, question: &str) -> io::Result<bool> {
    errln!("{effect}");
    if !std::io::stdin().is_terminal() {
        errln!("Nothing was done. Without a terminal, add --yes.");
        return Ok(false);
    }
    err!("{question} [y/N] ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    let yes = matches!(answer.trim(), "y" | "Y" | "yes");
    if !yes {
        errln!("Nothing was done.");
    }
    Ok(yes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    #[derive(Debug, thiserror::Error)]
    #[error("read orders.jsonl: {source}")]
    struct Outer {
        source: std::io::Error,
    }

    #[test]
    fn a_cause_is_not_repeated() {
        let check =
            |error: anyhow::Error, expected: &str| assert_eq!(causes(error.as_ref()), expected);
        check(anyhow!("it broke"), "it broke");
        check(
            Err::<(), _>(anyhow!("no such file")).context("read the input").unwrap_err(),
            "read the input: no such file",
        );
        let outer = Outer { source: std::io::Error::other("no such file") };
        check(outer.into(), "read orders.jsonl: no such file");
    }
}
