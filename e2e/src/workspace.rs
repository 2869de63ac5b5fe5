//! The checkout: its path, its tracked files, and runs of cargo and git in it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The variable that names the file of skipped tests, for the tests of all crates.
const SKIPPED: &str = "SAGAMORE_SKIPPED";

/// The checkout that this program was built from.
pub struct Workspace {
    root: PathBuf,
}

/// A tracked file with its text.
pub struct Source {
    /// The path from the root, with slashes.
    pub path: String,
    /// The content. Invalid UTF-8 is replaced.
    pub text: String,
}

impl Workspace {
    /// Finds the checkout.
    pub fn find() -> Result<Workspace> {
        let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let root = here.parent().context("find the root of the checkout")?.to_owned();
        Ok(Workspace { root })
    }

    /// Returns the absolute path of a path from the root.
    pub fn path(&self, from_root: &str) -> PathBuf {
        self.root.join(from_root)
    }

    /// Returns all tracked files that exist, sorted by path.
    pub fn tracked(&self) -> Result<Vec<Source>> {
        let list = self.git(&["ls-files", "-z"])?;
        let mut sources = Vec::new();
        for path in list.split('\0').filter(|path| !path.is_empty()) {
            let file = self.path(path);
            if file.is_file() {
                let bytes = std::fs::read(&file).with_context(|| format!("read {path}"))?;
                sources.push(Source {
                    path: path.to_owned(),
                    text: String::from_utf8_lossy(&bytes).into_owned(),
                });
            }
        }
        Ok(sources)
    }

    /// Runs cargo with visible output. Returns one line if it fails.
    pub fn cargo(&self, arguments: &[&str]) -> Result<Vec<String>> {
        self.cargo_with(arguments, &[])
    }

    /// Runs cargo with these environment variables. Returns one line if it fails.
    pub fn cargo_with(
        &self,
        arguments: &[&str],
        variables: &[(&str, String)],
    ) -> Result<Vec<String>> {
        let mut command = self.command(&cargo(), arguments);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let status = command.status().context("run cargo")?;
        Ok(if status.success() {
            Vec::new()
        } else {
            vec![format!("`cargo {}` failed", arguments.join(" "))]
        })
    }

    /// Runs cargo and returns its output.
    pub fn cargo_output(&self, arguments: &[&str]) -> Result<String> {
        self.output(&cargo(), arguments)
    }

    /// Runs a program of cargo's target folder, such as `debug/shop`, and returns its output.
    pub fn built_output(&self, program: &str, arguments: &[&str]) -> Result<String> {
        self.output(&built(program)?, arguments)
    }

    /// Runs a program of cargo's target folder. Returns one line if it fails, none if it succeeds.
    pub fn built(&self, program: &str, arguments: &[&str]) -> Result<Vec<String>> {
        let status = self
            .command(&built(program)?, arguments)
            .status()
            .with_context(|| format!("run {program}"))?;
        Ok(if status.success() {
            Vec::new()
        } else {
            vec![format!("`{program} {}` failed", arguments.join(" "))]
        })
    }

    /// Runs git and returns its output.
    pub fn git(&self, arguments: &[&str]) -> Result<String> {
        self.output("git", arguments)
    }

    /// Reports a part of a check that cannot run on this machine, as tests do.
    pub fn skip(&self, part: &str) -> Result<()> {
        println!("   SKIPPED {part}");
        let mut file = File::options().create(true).append(true).open(self.skipped())?;
        writeln!(file, "SKIPPED {part}").context("report a skipped part")
    }

    /// Returns and removes the reports of skipped tests, sorted.
    pub fn take_skipped(&self) -> Result<Vec<String>> {
        let text = match std::fs::read_to_string(self.skipped()) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.context("read the reports of skipped tests")?,
        };
        std::fs::remove_file(self.skipped()).context("remove the reports of skipped tests")?;
        let lines = text.lines().map(|line| line.trim_start_matches("SKIPPED ").to_owned());
        Ok(lines.collect::<BTreeSet<_>>().into_iter().collect())
    }

    fn skipped(&self) -> PathBuf {
        self.path("target/skipped")
    }

    fn output(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let command = || format!("`{program} {}`", arguments.join(" "));
        let output = self
            .command(program, arguments)
            .stderr(Stdio::inherit())
            .output()
            .with_context(command)?;
        ensure!(output.status.success(), "{} failed", command());
        String::from_utf8(output.stdout).with_context(command)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.root).env(SKIPPED, self.skipped());
        command
    }
}

/// Returns the path of a program in cargo's target folder.
fn built(program: &str) -> Result<String> {
    let ours = std::env::current_exe().context("find cargo's target folder")?;
    let folder = ours.ancestors().nth(2).context("find cargo's target folder")?;
    Ok(folder.join(program).to_string_lossy().into_owned())
}

/// Returns the path of the cargo that runs this program.
fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_skipped_tests_are_taken_once() {
        let folder = tempfile::tempdir().expect("create a directory");
        let workspace = Workspace { root: folder.path().to_owned() };
        std::fs::create_dir(workspace.path("target")).expect("create the target folder");
        assert_eq!(workspace.take_skipped().expect("nothing is skipped"), [] as [&str; 0]);
        let test = "printf 'SKIPPED b: no server\\nSKIPPED a: no broker\\n' >> $SAGAMORE_SKIPPED";
        workspace.output("sh", &["-c", test]).expect("run a test");
        workspace.skip("b: no server").expect("report");
        assert_eq!(
            workspace.take_skipped().expect("two are skipped"),
            ["a: no broker", "b: no server"]
        );
        assert_eq!(workspace.take_skipped().expect("nothing is left"), [] as [&str; 0]);
    }
}
