//! The checkout: where it is, which files it tracks, and how cargo and git are run in it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The checkout that this program was built from.
pub struct Workspace {
    root: PathBuf,
}

/// A tracked file with its text.
pub struct Source {
    /// From the root, with slashes.
    pub path: String,
    /// What it holds; what is no UTF-8 is replaced.
    pub text: String,
}

impl Workspace {
    /// Finds it.
    pub fn find() -> Result<Workspace> {
        let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let root = here.parent().context("xtask lies in the root of nothing")?.to_owned();
        Ok(Workspace { root })
    }

    /// Where a path from the root is.
    pub fn path(&self, from_root: &str) -> PathBuf {
        self.root.join(from_root)
    }

    /// All tracked files that are there, sorted by path.
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

    /// Runs cargo for all to see; an offence when it fails.
    pub fn cargo(&self, arguments: &[&str]) -> Result<Vec<String>> {
        self.cargo_with(arguments, &[])
    }

    /// The same, with these variables set.
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

    /// What cargo says.
    pub fn cargo_says(&self, arguments: &[&str]) -> Result<String> {
        self.says(&cargo(), arguments)
    }

    /// Runs a program of the folder that cargo builds into, such as `debug/shop`, and returns what it printed.
    pub fn built_says(&self, program: &str, arguments: &[&str]) -> Result<String> {
        self.says(&built(program)?, arguments)
    }

    /// Runs a program of the folder that cargo builds into. Returns one line if it fails, none if it succeeds.
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

    /// What git says.
    pub fn git(&self, arguments: &[&str]) -> Result<String> {
        self.says("git", arguments)
    }

    fn says(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let told = || format!("`{program} {}`", arguments.join(" "));
        let output = self
            .command(program, arguments)
            .stderr(Stdio::inherit())
            .output()
            .with_context(told)?;
        ensure!(output.status.success(), "{} failed", told());
        String::from_utf8(output.stdout).with_context(told)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.root);
        command
    }
}

/// The path of a program that cargo has built into the folder of this one.
fn built(program: &str) -> Result<String> {
    let ours = std::env::current_exe().context("find the folder that cargo builds into")?;
    let folder = ours.ancestors().nth(2).context("find the folder that cargo builds into")?;
    Ok(folder.join(program).to_string_lossy().into_owned())
}

/// The cargo that runs us.
fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}
