//! Schemas on disk: one file each.
//!
//! Must not know: HTTP. A damaged file is as good as none.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{RegistrySettings, Wanted};
use crate::adapters::debezium::Found;
use crate::adapters::debezium::frame::SchemaId;
use crate::domain::hash::fnv1a;

/// Files kept; of more, the oldest go.
const KEPT: usize = 4096;

pub struct Cache {
    folder: PathBuf,
    /// Ids mean something in their registry alone.
    registry: u64,
}

impl Cache {
    pub fn new(folder: PathBuf, settings: &RegistrySettings) -> Cache {
        let named = format!("{} {:?}", settings.url, settings.use_id);
        Cache { folder, registry: fnv1a(named.as_bytes()) }
    }

    fn path(&self, id: &SchemaId) -> PathBuf {
        let id = match id {
            SchemaId::Number(id) => format!("id-{id}"),
            SchemaId::Guid(guid) => format!("guid-{}", uuid::Uuid::from_bytes(*guid).hyphenated()),
            SchemaId::Global(id) => format!("global-{id}"),
            SchemaId::Content(id) => format!("content-{id}"),
        };
        self.folder.join(format!("{:016x}-{id}", self.registry))
    }

    fn path_of_subject(&self, wanted: &Wanted) -> PathBuf {
        let named = format!("{}\n{}", wanted.subject, wanted.schema);
        self.folder.join(format!("{:016x}-subject-{:016x}", self.registry, fnv1a(named.as_bytes())))
    }

    pub fn get(&self, id: &SchemaId) -> Option<Found> {
        match read(&self.path(id))?.split_once('\n')? {
            ("AVRO", schema) => Some(Found::Avro(schema.into())),
            ("JSON", _) => Some(Found::Json),
            _ => None,
        }
    }

    /// Keeps what stays true.
    pub fn put(&self, id: &SchemaId, found: &Found) -> io::Result<()> {
        let text = match found {
            Found::Avro(schema) => format!("AVRO\n{schema}"),
            Found::Json => "JSON\n".to_owned(),
            Found::Useless(_) | Found::Asked => return Ok(()),
        };
        if self.get(id).as_ref() == Some(found) {
            return Ok(());
        }
        self.write(&self.path(id), &text)
    }

    /// The id of a schema in its subject. Who may register it now, or may not, changes no id.
    pub fn id_of(&self, wanted: &Wanted) -> Option<u32> {
        let text = read(&self.path_of_subject(wanted))?;
        let mut parts = text.splitn(3, '\n');
        let (subject, id, schema) = (parts.next()?, parts.next()?, parts.next()?);
        let id = id.parse().ok()?;
        (subject == wanted.subject && schema == wanted.schema).then_some(id)
    }

    pub fn put_id(&self, wanted: &Wanted, id: u32) -> io::Result<()> {
        if self.id_of(wanted) == Some(id) {
            return Ok(());
        }
        self.write(&self.path_of_subject(wanted), &format!("{}\n{id}\n{}", wanted.subject, wanted.schema))
    }

    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let written = path.with_extension(format!("{}.new", std::process::id()));
        fs::write(&written, format!("{:016x}\n{text}", fnv1a(text.as_bytes())))?;
        fs::rename(&written, path)?;
        self.bound()
    }

    fn bound(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let age = entry.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            files.push((age, entry.path()));
        }
        if files.len() > KEPT {
            files.sort();
            for (_, path) in &files[..files.len() - KEPT] {
                // Another process of the same machine may be faster.
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }
}

/// A file's text, where it is whole.
fn read(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let (sum, rest) = text.split_once('\n')?;
    (sum == format!("{:016x}", fnv1a(rest.as_bytes()))).then(|| rest.to_owned())
}
