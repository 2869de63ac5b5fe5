//! PostgreSQL: the distribution's server, with a separate data folder.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::folder::{DATABASE, Folder, Ports, create, write};
use super::process::run;
use super::secure;
use super::service::Service;

/// The folder in which distributions install the servers, one folder per version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// The superuser of the database, and the system user that runs the server if root starts it.
const USER: &str = "postgres";
const CONNECTIONS_MAX: u32 = 200;
/// The rule that admits all other users on loopback.
const TRUSTED: &str = "host all all 127.0.0.1/32 trust\n";

/// The server.
pub struct Postgres {
    folder: PathBuf,
    secure: PathBuf,
    ports: Ports,
}

impl Postgres {
    /// Returns the server of this folder.
    pub fn new(folder: &Folder, ports: Ports) -> Postgres {
        Postgres { folder: folder.of("postgres"), secure: folder.secure(), ports }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Returns the folder of the programs: of the version that created the data, or else the newest
    /// one.
    fn programs(&self) -> Result<PathBuf> {
        let versions = installed(Path::new(VERSIONS));
        match fs::read_to_string(self.data().join("PG_VERSION")) {
            Ok(data_version) => match versions
                .iter()
                .find(|(version, _)| version.to_string() == data_version.trim())
            {
                Some((_, programs)) => Ok(programs.clone()),
                None => bail!(
                    "PostgreSQL {} created the data but is not installed: install it, or delete \
                     the data with `up --fresh`",
                    data_version.trim()
                ),
            },
            Err(_) => {
                versions.into_iter().next_back().map(|(_, programs)| programs).with_context(|| {
                    format!(
                        "PostgreSQL is not installed (no {VERSIONS}): run `apt-get install \
                    postgresql` as root"
                    )
                })
            }
        }
    }

    /// Builds a command that runs as the owner of the data, because the server refuses to run as
    /// root.
    fn as_owner(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        if !is_root()? {
            return Ok(Command::new(program));
        }
        let mut command = Command::new("setpriv");
        command
            .args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--init-groups", "--"])
            .arg(program);
        Ok(command)
    }

    fn client(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(self.programs()?.join(program));
        command.args([
            "--host=127.0.0.1",
            &format!("--port={}", self.ports.postgres),
            &format!("--username={USER}"),
        ]);
        Ok(command)
    }

    fn initialise(&self) -> Result<()> {
        eprintln!("postgres: preparing the data folder");
        let new = self.folder.join("data.new");
        if new.exists() {
            fs::remove_dir_all(&new).with_context(|| format!("remove {}", new.display()))?;
        }
        let mut command = self.as_owner(self.programs()?.join("initdb"))?;
        command.arg("-D").arg(&new).args([
            "-U",
            USER,
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
        ]);
        run(command.current_dir("/")).with_context(|| {
            format!(
                "create {} (the user {USER} needs access: every parent folder needs the \
                 permission x for others)",
                new.display()
            )
        })?;
        fs::rename(&new, self.data())
            .with_context(|| format!("rename to {}", self.data().display()))
    }
}

impl Postgres {
    /// Copies the certificates into the data folder. The server requires a key that only its owner
    /// can read.
    fn take_certificate(&self) -> Result<()> {
        for name in ["server.crt", "server.key", "ca.pem"] {
            let (from, to) = (self.secure.join(name), self.data().join(name));
            fs::copy(&from, &to).with_context(|| format!("copy {}", from.display()))?;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600))
                .with_context(|| format!("restrict the permissions of {}", to.display()))?;
            if is_root()? {
                run(Command::new("chown").arg(USER).arg(&to))
                    .with_context(|| format!("change the owner of {} to {USER}", to.display()))?;
            }
        }
        Ok(())
    }
}

impl Service for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn prepare(&self) -> Result<()> {
        if installed(Path::new(VERSIONS)).is_empty() && is_root()? {
            install()?;
        }
        create(&self.folder)?;
        if is_root()? {
            run(Command::new("chown").arg(USER).arg(&self.folder))
                .with_context(|| format!("change the owner of the folder to {USER}"))?;
        }
        if !self.data().join("PG_VERSION").exists() {
            self.initialise()?;
        }
        write(&self.data().join("pg_hba.conf"), &format!("{}{TRUSTED}", secure::rules()))?;
        self.take_certificate()
    }

    fn command(&self) -> Result<Command> {
        let mut command = self.as_owner(self.programs()?.join("postgres"))?;
        command.arg("-D").arg(self.data()).current_dir("/");
        for setting in [
            format!("port={}", self.ports.postgres),
            "listen_addresses=127.0.0.1".to_owned(),
            "unix_socket_directories=".to_owned(),
            format!("max_connections={CONNECTIONS_MAX}"),
            "ssl=on".to_owned(),
            "ssl_ca_file=ca.pem".to_owned(),
        ] {
            command.arg("-c").arg(setting);
        }
        Ok(command)
    }

    fn answers(&self) -> bool {
        self.client("pg_isready").is_ok_and(|mut command| run(command.arg("--quiet")).is_ok())
    }

    fn settle(&self) -> Result<()> {
        let exists = format!("SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'");
        if run(self.client("psql")?.args([
            "--dbname=postgres",
            "--tuples-only",
            "--no-align",
            "--command",
            &exists,
        ]))? != "1"
        {
            run(self.client("createdb")?.arg(DATABASE))?;
        }
        run(self.client("psql")?.args([
            "--quiet",
            "--dbname",
            DATABASE,
            "--command",
            &secure::roles(),
        ]))?;
        Ok(())
    }

    /// A fast shutdown: clients are disconnected, and no data is lost.
    fn stop_signal(&self) -> &'static str {
        "INT"
    }
}

/// Returns the versions in this folder with their programs, the oldest first.
fn installed(versions: &Path) -> Vec<(u32, PathBuf)> {
    let entries = fs::read_dir(versions).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .filter(|(_, programs)| {
            programs.join("postgres").exists() && programs.join("initdb").exists()
        })
        .collect();
    found.sort();
    found
}

fn install() -> Result<()> {
    eprintln!("postgres: installing the package postgresql");
    let hint =
        "PostgreSQL is missing, and apt-get could not install it: install the package postgresql";
    run(Command::new("apt-get").args(["update", "-q"])).context(hint)?;
    run(Command::new("apt-get")
        .args(["install", "-q", "-y", "postgresql"])
        .env("DEBIAN_FRONTEND", "noninteractive"))
    .context(hint)?;
    Ok(())
}

fn is_root() -> Result<bool> {
    Ok(fs::metadata("/proc/self").context("read /proc (the services require Linux)")?.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_sorted_as_numbers_and_folders_without_a_server_are_skipped() {
        let root = std::env::temp_dir().join(format!("sagamore-xtask-{}", std::process::id()));
        for version in ["9", "15", "16", "common"] {
            let programs = root.join(version).join("bin");
            fs::create_dir_all(&programs).unwrap();
            for program in ["postgres", "initdb"].iter().filter(|_| version != "16") {
                fs::write(programs.join(program), "").unwrap();
            }
        }
        let found = installed(&root);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(found.iter().map(|(version, _)| *version).collect::<Vec<_>>(), [9, 15]);
        assert!(installed(Path::new("/nowhere")).is_empty());
    }
}
