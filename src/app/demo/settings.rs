//! The demo's configuration: a file like any user's, read like any user's.
//!
//! Must not know: what runs with it.

use std::path::Path;

use crate::app::config;
use crate::app::settings::Settings;

/// The file itself.
pub const FILE: &str = include_str!("evenkeel.yaml");

/// The settings for a broker and a state folder.
pub fn settings(bootstrap: &str, state_dir: &Path) -> Settings {
    settings_of(FILE, bootstrap, state_dir)
}

/// The settings of a file like the demo's.
pub fn settings_of(file: &str, bootstrap: &str, state_dir: &Path) -> Settings {
    let state_dir = state_dir.display().to_string();
    let environment = |name: &str| match name {
        "DEMO_BOOTSTRAP" => Some(bootstrap.to_owned()),
        "DEMO_STATE" => Some(state_dir.clone()),
        _ => None,
    };
    let loaded = config::load_str(file, Path::new(""), &environment);
    let mut settings = loaded.expect("the demo's configuration is tested to be right");
    settings.http = None;
    settings
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_demos_configuration_loads() {
        let settings = super::settings("localhost:9092", std::path::Path::new("/tmp/demo"));
        assert_eq!(settings.plan.rules.len(), 6);
    }
}
