//! A small disk that can be filled: a file system in memory, mounted on a folder, gone when the test is.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::real::Result;
use crate::real::error::Error;

pub struct SmallDisk {
    mount: PathBuf,
    /// Unmounts when the other end of its pipe is closed: by the drop, or by the end of this process.
    watchdog: Child,
}

impl SmallDisk {
    /// Needs root.
    pub fn mount(mount: &Path, size: &str) -> Result<SmallDisk> {
        fs::create_dir_all(mount)?;
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(mount);
        let output = command.output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Error::new(format!("a small disk cannot be mounted: {said}")));
        }
        let mut watchdog = Command::new("sh");
        watchdog.args(["-c", "cat; umount -l \"$0\""]).arg(mount);
        let watchdog = watchdog.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        Ok(SmallDisk { mount: mount.to_owned(), watchdog })
    }

    /// Takes all the room that is left, to the last page; again and again, for who works there gives some back.
    pub fn fill(&self) -> Result {
        let mut ballast = File::options().create(true).append(true).open(self.ballast())?;
        for size in [1 << 20, 4096] {
            let piece = vec![0; size];
            loop {
                match ballast.write_all(&piece) {
                    Ok(()) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    pub fn make_room(&self) -> Result {
        Ok(fs::remove_file(self.ballast())?)
    }

    fn ballast(&self) -> PathBuf {
        self.mount.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // `wait` closes the pipe first.
        let _ = self.watchdog.wait();
    }
}
