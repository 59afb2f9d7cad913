//! What targets decode into: the tables of `sources.yaml`.

use std::path::Path;
use std::sync::LazyLock;

use evenkeel::adapters::records::Renderer;
use evenkeel::app::config;
use evenkeel::app::settings::{Settings, SourceSettings};

/// The configuration, and what writes its records.
pub struct Setting {
    pub settings: Settings,
    pub renderer: Renderer,
}

static SETTING: LazyLock<Setting> = LazyLock::new(|| {
    let settings = config::load_str(include_str!("../sources.yaml"), Path::new(""), &|_| None);
    let settings = settings.expect("sources.yaml is sound");
    let masks = settings.sources.iter().map(|source| source.shape.masks.clone()).collect();
    let renderer = Renderer::new(&settings.plan, masks, settings.mask_key.clone());
    Setting { settings, renderer }
});

pub fn setting() -> &'static Setting {
    &SETTING
}

/// The source that a byte chooses, and its index.
pub fn source(byte: u8) -> (usize, &'static SourceSettings) {
    let sources = &setting().settings.sources;
    let index = usize::from(byte) % sources.len();
    (index, &sources[index])
}
