//! What all of these tests need: texts in, a plan or its errors out.

use std::fs;
use std::path::{Path, PathBuf};

use pisup::config::plan::Plan;
use pisup::config::{Defaults, Diagnostic, Source, load};

/// A master that says everything about itself.
pub const MASTER: &str = include_str!("master.toml");

/// What the host says.
pub fn defaults() -> Defaults {
    Defaults {
        hostname: "Raspberry".to_owned(),
        interface: Some("wlan0".to_owned()),
        address: Some("10.0.0.7".to_owned()),
    }
}

/// `tests/config`.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

/// Every unit file of a folder.
pub fn units_of(folder: &Path) -> Vec<Source> {
    let mut units = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of units") {
        let path = entry.expect("a readable folder").path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("a readable unit");
        units.push(Source { path: Path::new("units").join(name), text });
    }
    units
}

/// Units from texts, by name.
pub fn units(texts: &[(&str, &str)]) -> Vec<Source> {
    let source = |(name, text): &(&str, &str)| Source {
        path: format!("units/{name}.toml").into(),
        text: (*text).to_owned(),
    };
    texts.iter().map(source).collect()
}

/// Loads units under a node's file.
pub fn try_load(node: &str, texts: &[(&str, &str)]) -> Result<Plan, Vec<Diagnostic>> {
    let node = Source { path: "node.toml".into(), text: node.to_owned() };
    load(node, units(texts), &defaults())
}

/// All errors as a user sees them.
pub fn told(faults: &[Diagnostic]) -> String {
    faults.iter().map(|fault| format!("{fault}\n\n")).collect()
}
