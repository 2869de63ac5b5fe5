//! The end and the output of a command: exit codes, JSON, text with colours where they are wanted.

use std::fmt;
use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use sagamore_core::saga::Status;
use serde::Serialize;

use crate::plain;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The saga completed, or the command simply did what it should.
    Completed,
    /// Something went wrong.
    Error,
    /// The command line was not understood.
    Usage,
    /// The saga was compensated.
    Compensated,
    /// The saga is stuck.
    Stuck,
    /// The saga did not come to rest in time.
    Timeout,
}

impl Exit {
    /// What an outcome means for the exit code; none while the saga is under way.
    pub fn of(status: Status) -> Option<Exit> {
        match status {
            Status::Running | Status::Compensating => None,
            Status::Completed => Some(Exit::Completed),
            Status::Compensated => Some(Exit::Compensated),
            Status::Stuck => Some(Exit::Stuck),
        }
    }

    /// As the system wants it.
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

/// An error with its causes, each told once: many an error has told its cause already.
pub fn causes(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        match told.as_str() {
            "" => told = cause,
            known if known.ends_with(cause.as_str()) => {}
            _ => told = format!("{told}: {cause}"),
        }
    }
    told
}

/// One JSON document on stdout.
pub fn json(value: &impl Serialize) -> Result<()> {
    write(format_args!("{}\n", serde_json::to_string(value)?));
    Ok(())
}

/// JSON as the server gave it.
pub fn raw(body: &[u8]) {
    write(format_args!("{}\n", plain::json(&String::from_utf8_lossy(body))));
}

/// Why stdout took no more output.
static ENDED: Mutex<Option<io::Error>> = Mutex::new(None);

/// Writes to stdout. After a failure nothing more is written; [`finish`] decides what that means for the process.
pub fn write(text: fmt::Arguments<'_>) {
    let mut ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
    if ended.is_none() {
        let mut stdout = anstream::stdout().lock();
        *ended = stdout.write_fmt(text).and_then(|()| stdout.flush()).err();
    }
}

/// Writes to stderr, if somebody still reads it.
pub fn complain(text: fmt::Arguments<'_>) {
    let _ = anstream::stderr().lock().write_fmt(text);
}

/// Whether stdout takes no more output: the reader has gone, or the disk is full.
pub fn is_ended() -> bool {
    ENDED.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// How the process ends: a reader that has gone (`| head`, a pager that quits) has what it wanted, and changes nothing;
/// output that is lost is an error.
pub fn finish(program: &str, exit: Exit) -> Exit {
    match &*ENDED.lock().unwrap_or_else(PoisonError::into_inner) {
        None => exit,
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => exit,
        Some(error) => {
            complain(format_args!("{program}: write the output: {error}\n"));
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

/// Says what is going to happen, and asks whether it shall.
pub fn agreed(effect: &str, question: &str) -> Result<bool> {
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
    fn a_cause_is_told_once() {
        let check = |error: anyhow::Error, wanted: &str| assert_eq!(causes(&error), wanted);
        check(anyhow!("it broke"), "it broke");
        check(
            Err::<(), _>(anyhow!("no such file")).context("read the input").unwrap_err(),
            "read the input: no such file",
        );
        let outer = Outer { source: std::io::Error::other("no such file") };
        check(outer.into(), "read orders.jsonl: no such file");
    }
}
