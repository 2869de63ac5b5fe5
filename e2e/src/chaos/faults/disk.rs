//! A volume in memory for PostgreSQL, which can be filled to the last byte.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// The volume's size, enough for the data of an hour.
const SIZE: &str = "size=3g";
const BLOCK_BYTES: usize = 1 << 20;

/// A mounted volume, unmounted on drop.
pub struct Volume {
    path: PathBuf,
}

impl Volume {
    /// Mounts an empty volume at this folder. `None` without the permission to mount.
    pub fn mount(path: &Path) -> Option<Volume> {
        fs::create_dir_all(path).ok()?;
        drop(Volume { path: path.to_owned() }); // unmounts the volume of an interrupted campaign
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", SIZE, "tmpfs"])
            .arg(path)
            .output()
            .ok()?;
        mounted.status.success().then(|| Volume { path: path.to_owned() })
    }

    /// Fills the remaining space.
    pub fn fill(&self) -> Result<()> {
        let mut file =
            File::create(self.filler()).context("create the file that fills the volume")?;
        let mut block = vec![0; BLOCK_BYTES];
        while !block.is_empty() {
            while file.write_all(&block).is_ok() {}
            block.truncate(block.len() / 2); // the last bytes, in ever smaller blocks
        }
        Ok(())
    }

    /// Frees the space.
    pub fn empty(&self) -> Result<()> {
        fs::remove_file(self.filler()).context("remove the file that fills the volume")
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // PostgreSQL has exited
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).output();
    }
}
