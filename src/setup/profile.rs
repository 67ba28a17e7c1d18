//! The folders that configurations are made of.

use std::path::{Path, PathBuf};

use super::{Request, Role};
use crate::config::Source;
use crate::sys::config_dir::{self, MAX_CONFIG_BYTES};
use crate::sys::files::{self, Found};

/// Most files that are looked at in a folder.
pub(super) const MAX_FILES: usize = 1024;

/// Where packages put the profiles.
const INSTALLED: &str = "/usr/share/pisup/units";

/// The units of a machine that has no other init.
const BOARD: &str = "board";

const NODE: &str = "node.toml";

/// What a profile holds, and what was asked for beside it.
pub(super) struct Profile {
    /// Where it was read.
    pub(super) folder: PathBuf,
    /// Its `node.toml`.
    pub(super) node: String,
    /// Names of files and what is in them.
    pub(super) units: Vec<(String, String)>,
    /// A master's static pods, with references to fill.
    pub(super) manifests: Vec<Source>,
}

impl Profile {
    /// Reads all that a request asks for.
    pub(super) fn read(request: &Request) -> Result<Self, String> {
        let from = find(request.from.as_deref())?;
        let folder = from.join(&request.profile);
        if request.profile.contains('/') || !is_profile(&folder) {
            let names = files::names(&from, MAX_FILES).map_err(|fault| fault.to_string())?;
            let known = names.into_iter().filter(|name| is_profile(&from.join(name)));
            let known: Vec<String> = known.collect();
            return Err(format!(
                "there is no profile `{}` in {}; there are: {}",
                request.profile,
                from.display(),
                known.join(", ")
            ));
        }
        let mut units = units(&folder)?;
        if request.with_board {
            for (name, text) in self::units(&from.join(BOARD))? {
                if units.iter().any(|(other, _)| *other == name) {
                    return Err(format!("{name} is in {} and in {BOARD}", request.profile));
                }
                units.push((name, text));
            }
        }
        let manifests = match request.role {
            Role::Master => manifests(&folder.join("manifests"))?,
            Role::Worker(_) => Vec::new(),
        };
        Ok(Self { node: read(&folder.join(NODE))?, units, manifests, folder })
    }
}

/// A name that a unit's file can have; hidden ones are an editor's.
pub(super) fn is_unit_file(name: &str) -> bool {
    name.ends_with(".toml") && !name.starts_with('.') && name != NODE
}

/// The folder of the profiles: the one that is named, or the first that exists.
fn find(named: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let program = std::env::current_exe().ok();
    let beside = program.as_deref().and_then(Path::parent).map(|folder| folder.join("units"));
    let places = [Some(INSTALLED.into()), beside, Some("units".into())];
    let mut places = places.into_iter().flatten();
    let Some(found) = places.find(|path| files::look(path) == Found::Directory) else {
        let places = format!("{INSTALLED}, beside the program or here");
        return Err(format!("no profiles in {places}; --from DIR says where they are"));
    };
    // Root may stand in a folder where anybody can put a `units`.
    match config_dir::check_folder(&found) {
        Ok(()) => Ok(found),
        Err(sentence) => Err(format!("{sentence}; or say --from {}", found.display())),
    }
}

fn is_profile(folder: &Path) -> bool {
    files::look(&folder.join(NODE)) == Found::Something
}

fn units(folder: &Path) -> Result<Vec<(String, String)>, String> {
    let names = files::names(folder, MAX_FILES).map_err(|fault| fault.to_string())?;
    let names = names.into_iter().filter(|name| is_unit_file(name));
    names.map(|name| Ok((name.clone(), read(&folder.join(name))?))).collect()
}

fn manifests(folder: &Path) -> Result<Vec<Source>, String> {
    if files::look(folder) == Found::Nothing {
        return Ok(Vec::new());
    }
    let names = files::names(folder, MAX_FILES).map_err(|fault| fault.to_string())?;
    let is_manifest = |name: &String| name.ends_with(".yaml") && !name.starts_with('.');
    let paths = names.into_iter().filter(is_manifest).map(|name| folder.join(name));
    paths.map(|path| Ok(Source { text: read(&path)?, path })).collect()
}

fn read(path: &Path) -> Result<String, String> {
    files::read_bounded(path, MAX_CONFIG_BYTES).map_err(|fault| fault.to_string())
}
