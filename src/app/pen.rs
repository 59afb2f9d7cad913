//! Writes records for whoever reads them, masked as the configuration says.
//!
//! Must not know: whether they are published.

use std::borrow::Borrow;
use std::sync::Arc;

use super::settings::Settings;
use crate::adapters::records::avro::Form;
use crate::adapters::records::{Message, Renderer};
use crate::domain::record::Record;
use crate::domain::rule::Plan;

pub struct Pen<S> {
    settings: S,
    form: Form,
    known: Option<(Arc<Plan>, Renderer)>,
}

impl<S: Borrow<Settings>> Pen<S> {
    pub fn new(settings: S) -> Pen<S> {
        Pen { settings, form: Form::Json, known: None }
    }

    /// Bodies are in another form from now on.
    pub fn write_in(&mut self, form: Form) {
        (self.form, self.known) = (form, None);
    }

    /// The renderer of a plan; made anew where the rules have changed.
    pub fn renderer(&mut self, plan: &Arc<Plan>) -> &Renderer {
        let known = self.known.take().filter(|(known, _)| Arc::ptr_eq(known, plan));
        let (_, renderer) = self.known.insert(known.unwrap_or_else(|| {
            let settings = self.settings.borrow();
            let masks = settings.sources.iter().map(|source| source.shape.masks.clone()).collect();
            let renderer = Renderer::new(plan, masks, settings.mask_key.clone()).in_form(self.form.clone());
            (Arc::clone(plan), renderer)
        }));
        renderer
    }

    pub fn message(&mut self, plan: &Arc<Plan>, partition: i32, record: &Record) -> Message {
        self.renderer(plan).message(plan, partition, record)
    }
}
