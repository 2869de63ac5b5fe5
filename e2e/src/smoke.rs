//! `cargo xtask release`: the README's first commands, in a build without debug assertions.
//!
//! All other tests run a build with them. A program that relies on a dependency's debug assertion
//! passes there and fails for users.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::wire::{Connection, Outcome, Request};
use crate::workspace::Workspace;

/// The time limit of a response, longer than the longest requested wait.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// The profile of Cargo.toml, and its folder in cargo's target folder.
const PROFILE: &str = "smoke";
/// The options of the build. All checks that need another build than the tests share this one:
/// without debug assertions, with TLS, and with planted bugs, which do nothing unless planted.
///
/// With crates' names instead of `--workspace`, cargo would build many dependencies again.
const BUILD: [&str; 5] = [
    "--workspace",
    "--profile",
    PROFILE,
    "--features",
    "sagamore-shop/tls,sagamore-sim/planted-bugs",
];

/// A program in one process, killed on drop.
struct Running {
    program: PathBuf,
    address: SocketAddr,
    child: Child,
    /// Kept open, because the program writes more after its address.
    _output: BufReader<ChildStdout>,
}

/// Builds both programs, and runs the README's commands. Returns the violations, one per line.
pub fn run(workspace: &Workspace) -> Result<Vec<String>> {
    let programs = ["--bin", "shop", "--bin", "sagamore"];
    let build = [&["build", "--quiet"], &BUILD[..], &programs[..]].concat();
    let built = workspace.cargo_with(&build, &installed_openssl())?;
    ensure!(built.is_empty(), "build: {}", built.join("; "));
    let program = |name: &str| workspace.path("target").join(PROFILE).join(name);

    let shop = Running::start(&program("shop"), &["--ephemeral"])?;
    let started = shop.get("/saga/start/12345?wait=10")?;
    ensure!(started.contains("completed successfully for order 12345"), "start: {started}");
    expect(&shop.cli(&["show", "12345"])?, 0, "checkout:12345  completed")?;
    expect(&shop.cli(&["list"])?, 0, "checkout:12345")?;
    expect(&shop.cli(&["show", "nope"])?, 1, "SAGA-")?;

    let empty = Running::start(&program("sagamore"), &["dev", "--ephemeral"])?;
    empty.get("/livez")?;
    expect(&empty.cli(&["list"])?, 0, "no sagas")?;
    Ok(Vec::new())
}

/// Runs test programs of this build with these variables. Returns one line if one fails.
pub fn test(
    workspace: &Workspace,
    names: &[&str],
    variables: &[(&str, String)],
) -> Result<Vec<String>> {
    let variables = [variables, &installed_openssl()[..]].concat();
    let names: Vec<&str> = names.iter().flat_map(|name| ["--test", name]).collect();
    workspace.cargo_with(&[&["test"], &BUILD[..], &names[..]].concat(), &variables)
}

/// Returns the variable that makes the build use the installed OpenSSL, if its headers exist.
/// Building OpenSSL takes two minutes.
fn installed_openssl() -> Vec<(&'static str, String)> {
    let found = Command::new("pkg-config").args(["--exists", "openssl"]).status();
    let found = found.is_ok_and(|status| status.success());
    found.then(|| ("OPENSSL_NO_VENDOR", "1".to_owned())).into_iter().collect()
}

impl Running {
    /// Starts a program on a free port, and waits until it is ready.
    fn start(program: &Path, arguments: &[&str]) -> Result<Running> {
        let mut command = Command::new(program);
        command.args(arguments).args(["--listen", "127.0.0.1:0"]).env("RUST_LOG", "warn");
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("start {}", program.display()))?;
        let mut output = BufReader::new(child.stdout.take().context("the output is piped")?);
        let address = output.by_ref().lines().map_while(Result::ok).find_map(|line| {
            let (_, address) = line.split_once("http://")?;
            address.trim().parse().ok()
        });
        let Some(address) = address else {
            let _ = child.kill(); // it may have ended
            anyhow::bail!("{} ended before it was ready: {}", program.display(), child.wait()?);
        };
        Ok(Running { program: program.to_owned(), address, child, _output: output })
    }

    /// Sends a GET. Returns the body of the response, whose status must be 200.
    fn get(&self, path: &str) -> Result<String> {
        let (method, target) = ("GET".to_owned(), path.to_owned());
        let request = Request { method, target, ..Request::default() };
        match Connection::to(self.address).send(&request, ANSWER_MAX) {
            Outcome::Answered(response) if response.code == 200 => {
                Ok(String::from_utf8(response.body)?)
            }
            other => anyhow::bail!("GET {path}: {other:?}"),
        }
    }

    /// Runs a command of the program as a client of this process.
    fn cli(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("SAGAMORE_SERVER", format!("http://{}", self.address));
        command.output().with_context(|| format!("run {}", self.program.display()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill(); // the process may have ended
        let _ = self.child.wait();
    }
}

/// Checks the exit code of a command, and a part of its output or of its error.
fn expect(output: &Output, code: i32, part: &str) -> Result<()> {
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    ensure!(
        output.status.code() == Some(code) && text.iter().any(|text| text.contains(part)),
        "expected exit code {code} and '{part}', but got {}:\n{}{}",
        output.status,
        text[0],
        text[1]
    );
    Ok(())
}
