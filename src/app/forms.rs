//! In which form records are published: as Avro only once the registry has told the ids of its schemas.
//!
//! Must not know: what is published, when.

use std::time::Duration;

use super::StageError;
use super::settings::{AvroSettings, Settings};
use crate::adapters::records::avro::{Form, Naming, Subject};
use crate::adapters::registry::{Answered, Client, ClientError, RemoteRegistry, Wanted};

/// What the registry is asked for.
pub struct Forms {
    registry: RemoteRegistry,
    naming: Naming,
    /// In the order of [`Naming::subjects`].
    wanted: Vec<Wanted>,
}

impl Forms {
    /// `None` where records are JSON, which needs nobody.
    pub fn open(settings: &Settings) -> Result<Option<Forms>, StageError> {
        let (Some(avro), Some(registry)) = (settings.avro, &settings.registry) else { return Ok(None) };
        let registry = RemoteRegistry::open(registry, settings.schemas_folder())?;
        Ok(Some(Forms { registry, naming: avro.naming, wanted: wanted(settings, avro) }))
    }

    /// The form, where every id is known within a time.
    pub fn form(&self, patience: Duration) -> Result<Form, StageError> {
        // All are asked for before any is waited for.
        let asked: Vec<&Wanted> =
            self.wanted.iter().filter(|wanted| self.registry.id_of(wanted) == Answered::Asked).collect();
        let mut why = None;
        for wanted in asked {
            why = self.registry.wait_for(wanted, patience);
        }
        let ids: Result<Vec<u32>, StageError> = self.wanted.iter().map(|wanted| self.id_of(wanted, &why)).collect();
        ids.map(|ids| self.naming.form(&ids))
    }

    fn id_of(&self, wanted: &Wanted, why: &Option<String>) -> Result<u32, StageError> {
        let subject = || wanted.subject.clone();
        match self.registry.id_of(wanted) {
            Answered::Id(id) => Ok(id),
            Answered::Asked => {
                Err(StageError::SchemaAwaited { subject: subject(), why: why.clone().unwrap_or_default() })
            }
            Answered::Refused(why) if wanted.registers => Err(StageError::SchemaRefused { subject: subject(), why }),
            Answered::Refused(why) => Err(StageError::SchemaUnregistered { subject: subject(), why }),
        }
    }
}

fn wanted(settings: &Settings, avro: AvroSettings) -> Vec<Wanted> {
    let topics = &settings.topics;
    let wanted =
        |subject: Subject| Wanted { subject: subject.name, schema: subject.schema.text, registers: avro.registers };
    avro.naming.subjects(&topics.discrepancies, &topics.open).into_iter().map(wanted).collect()
}

/// The subjects whose schemas could not be written with, each with the reason. Nothing is registered.
pub fn objections(settings: &Settings) -> Result<Vec<(String, String)>, ClientError> {
    let (Some(avro), Some(registry)) = (settings.avro, &settings.registry) else { return Ok(Vec::new()) };
    let client = Client::new(registry)?;
    let mut objections = Vec::new();
    for wanted in wanted(settings, avro) {
        objections.extend(client.objection(&wanted)?.map(|why| (wanted.subject, why)));
    }
    Ok(objections)
}
