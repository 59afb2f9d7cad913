//! A topic-partition's records in a file, so that they can be looked at elsewhere and later; `schemas/copy.md` is its format.
//!
//! Must not know: Kafka, what a record means. A file is written under another name first, so that one that is there is
//! whole; its last bytes are the SHA-256 of all before them, so that one that was altered is found.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A record as its topic has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Stored {
    /// The text of a header; `None` where it is missing or no text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        std::str::from_utf8(value.as_deref()?).ok()
    }
}

/// What a file is a copy of: its first line, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The format's version.
    pub evenkeel_copy: u32,
    /// The id that the cluster has given itself.
    pub cluster: String,
    pub topic: String,
    pub partition: i32,
    /// The offset of the first record that was still there, and the one behind the last.
    pub start: i64,
    pub end: i64,
}

/// The version that is written, and the newest that can be read.
pub const VERSION: u32 = 1;

/// Why a copy cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct CopyError {
    pub path: PathBuf,
    pub why: Why,
}

#[derive(Debug, thiserror::Error)]
pub enum Why {
    #[error("{0}")]
    Disk(#[from] std::io::Error),
    #[error("it is not a copy, or not whole: {0}")]
    NoCopy(&'static str),
    #[error("it was altered: its bytes are not those that were written")]
    Altered,
    #[error("it is of version {0}, this evenkeel reads up to {VERSION}: use a newer one")]
    Newer(u32),
}

/// Where the copy of a topic-partition lies in a folder.
pub fn path_of(folder: &Path, topic: &str, partition: i32) -> PathBuf {
    folder.join(format!("{topic}-{partition}.copy"))
}

/// The length of the digest at the end.
const DIGEST: u64 = 32;

/// Stands for the length of what is null.
const NULL: u32 = u32::MAX;

/// Writes a copy.
pub struct CopyWriter {
    path: PathBuf,
    out: BufWriter<File>,
    digest: Sha256,
}

impl CopyWriter {
    pub fn create(folder: &Path, about: &About) -> Result<CopyWriter, CopyError> {
        let path = path_of(folder, &about.topic, about.partition);
        let part = part_of(&path);
        let fault = |error: std::io::Error| CopyError { path: part.clone(), why: error.into() };
        std::fs::create_dir_all(folder).map_err(fault)?;
        let out = BufWriter::new(File::create(&part).map_err(fault)?);
        let mut writer = CopyWriter { path, out, digest: Sha256::new() };
        let line = serde_json::to_string(about).expect("names and numbers are JSON");
        writer.put(line.as_bytes())?;
        writer.put(b"\n")?;
        Ok(writer)
    }

    pub fn add(&mut self, record: &Stored) -> Result<(), CopyError> {
        self.put(&record.offset.to_be_bytes())?;
        self.put_option(record.key.as_deref())?;
        self.put_option(record.value.as_deref())?;
        self.put(&length(record.headers.len()).to_be_bytes())?;
        for (name, value) in &record.headers {
            self.put_option(Some(name.as_bytes()))?;
            self.put_option(value.as_deref())?;
        }
        Ok(())
    }

    /// The copy is there from now on.
    pub fn end(mut self) -> Result<PathBuf, CopyError> {
        let digest = self.digest.clone().finalize();
        let part = part_of(&self.path);
        let fault = |error: std::io::Error| CopyError { path: part.clone(), why: error.into() };
        self.out.write_all(&digest).map_err(fault)?;
        let file = self.out.into_inner().map_err(|error| fault(error.into_error()))?;
        file.sync_all().map_err(fault)?;
        std::fs::rename(&part, &self.path).map_err(fault)?;
        Ok(self.path)
    }

    fn put_option(&mut self, bytes: Option<&[u8]>) -> Result<(), CopyError> {
        self.put(&bytes.map_or(NULL, |bytes| length(bytes.len())).to_be_bytes())?;
        self.put(bytes.unwrap_or_default())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), CopyError> {
        self.digest.update(bytes);
        let written = self.out.write_all(bytes);
        written.map_err(|error| CopyError { path: part_of(&self.path), why: error.into() })
    }
}

fn length(length: usize) -> u32 {
    u32::try_from(length).expect("a Kafka record is smaller than four gigabytes")
}

fn part_of(path: &Path) -> PathBuf {
    path.with_extension("copy.part")
}

/// Reads a copy, from its first record on.
pub struct CopyReader {
    pub about: About,
    path: PathBuf,
    file: BufReader<File>,
    /// Bytes of records that were not read yet.
    left: u64,
}

impl CopyReader {
    /// Opens a copy once every byte of it was found to be what was written.
    pub fn open(folder: &Path, topic: &str, partition: i32) -> Result<CopyReader, CopyError> {
        let path = path_of(folder, topic, partition);
        CopyReader::open_file(&path).map_err(|why| CopyError { path, why })
    }

    fn open_file(path: &Path) -> Result<CopyReader, Why> {
        let mut file = BufReader::new(File::open(path)?);
        let body = file.get_ref().metadata()?.len().checked_sub(DIGEST).ok_or(Why::NoCopy("it is too short"))?;
        must_be_unaltered(&mut file, body)?;
        file.seek(SeekFrom::Start(0))?;
        let line = first_line(&mut file)?;
        let about: About = serde_json::from_slice(&line).map_err(|_| Why::NoCopy("its first line says nothing"))?;
        if about.evenkeel_copy > VERSION {
            return Err(Why::Newer(about.evenkeel_copy));
        }
        let left = body - line.len() as u64;
        Ok(CopyReader { about, path: path.to_owned(), file, left })
    }

    /// The next record; `None` after the last.
    pub fn read(&mut self) -> Result<Option<Stored>, CopyError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.record().map(Some).map_err(|why| CopyError { path: self.path.clone(), why })
    }

    fn record(&mut self) -> Result<Stored, Why> {
        let offset = i64::from_be_bytes(self.array()?);
        let (key, value) = (self.option()?, self.option()?);
        let count = u32::from_be_bytes(self.array()?);
        let mut headers = Vec::new();
        for _ in 0..count {
            let name = self.option()?.and_then(|name| String::from_utf8(name).ok());
            headers.push((name.ok_or(Why::NoCopy("a header has no name"))?, self.option()?));
        }
        Ok(Stored { offset, key, value, headers })
    }

    fn option(&mut self) -> Result<Option<Vec<u8>>, Why> {
        let length = u32::from_be_bytes(self.array()?);
        if length == NULL {
            return Ok(None);
        }
        // Before anything is made room for.
        self.left = self.left.checked_sub(length.into()).ok_or(OVER)?;
        let mut bytes = vec![0; length as usize];
        self.file.read_exact(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Why> {
        self.left = self.left.checked_sub(N as u64).ok_or(OVER)?;
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

const OVER: Why = Why::NoCopy("a record is longer than the file");

fn must_be_unaltered(file: &mut BufReader<File>, body: u64) -> Result<(), Why> {
    let mut digest = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    let mut rest = file.by_ref().take(body);
    loop {
        match rest.read(&mut piece)? {
            0 => break,
            count => digest.update(&piece[..count]),
        }
    }
    let mut known = Vec::new();
    file.read_to_end(&mut known)?;
    if digest.finalize().as_slice() == known { Ok(()) } else { Err(Why::Altered) }
}

/// With its line feed.
fn first_line(file: &mut BufReader<File>) -> Result<Vec<u8>, Why> {
    use std::io::BufRead;
    let mut line = Vec::new();
    file.read_until(b'\n', &mut line)?;
    Ok(line)
}
