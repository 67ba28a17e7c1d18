//! What others have to know of a unit before any unit can be lowered: its name, whether it is
//! there at all, whom it names, and what it exports.

use crate::machine::spec::Kind;

use super::diag::File;
use super::keys;
use super::node::{ROLES, Site};
use super::read::{Document, Section, Word};
use super::scalar;

/// `[unit]` of one file.
pub(super) struct Head<'a> {
    pub(super) name: &'a str,
    pub(super) file: &'a File<'a>,
    pub(super) document: &'a Document<'a>,
    pub(super) description: String,
    pub(super) kind: Kind,
    /// Whether it is a unit of this node's role.
    pub(super) is_present: bool,
    pub(super) is_enabled: bool,
    pub(super) requires: Vec<Word<'a>>,
    pub(super) binds: Vec<Word<'a>>,
    pub(super) wants: Vec<Word<'a>>,
    pub(super) after: Vec<Word<'a>>,
    pub(super) conflicts: Vec<Word<'a>>,
    /// `exports.require`; `None` without `[exports]`.
    pub(super) exports: Option<Vec<Word<'a>>>,
}

const KINDS: &[(&str, Kind)] = &[("service", Kind::Service), ("oneshot", Kind::Oneshot)];

/// Names that references give to something else.
const RESERVED: &[&str] = &["node", "images", "vars"];

impl<'a> Head<'a> {
    /// Reads the head of a file; of one that is no TOML only the name is known.
    pub(super) fn read(file: &'a File<'a>, document: &'a Document<'a>, site: &Site) -> Self {
        let name = name(file);
        let Some(table) = document else {
            return Self::nameless(file, document, name);
        };
        keys::check(file, table, keys::UNIT);
        let unit = Section::of(file, table, "unit");
        let exports = Section::of(file, table, "exports");
        Self {
            description: description(&unit),
            kind: unit.choice("kind", KINDS).unwrap_or(Kind::Service),
            is_present: is_present(&unit, site),
            is_enabled: unit.flag_or("enabled", true),
            requires: unit.words("requires"),
            binds: unit.words("binds"),
            wants: unit.words("wants"),
            after: unit.words("after"),
            conflicts: unit.words("conflicts"),
            exports: exports.is_there().then(|| promised(&exports)),
            ..Self::nameless(file, document, name)
        }
    }

    const fn nameless(file: &'a File<'a>, document: &'a Document<'a>, name: &'a str) -> Self {
        Self {
            name,
            file,
            document,
            description: String::new(),
            kind: Kind::Service,
            is_present: true,
            is_enabled: true,
            requires: Vec::new(),
            binds: Vec::new(),
            wants: Vec::new(),
            after: Vec::new(),
            conflicts: Vec::new(),
            exports: None,
        }
    }
}

/// The stem of the file's name, which has to be a unit's name.
fn name<'a>(file: &File<'a>) -> &'a str {
    let name = file.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if !scalar::is_unit_name(name) {
        let help = "name the file with small letters, digits and `-`, 63 at most: docker-0.toml";
        file.report_whole(format!("`{name}` can not be the name of a unit"), Some(help.into()));
    } else if RESERVED.contains(&name) {
        let help = format!("${{{name}.KEY}} means something else; name the file otherwise");
        file.report_whole(format!("`{name}` can not be the name of a unit"), Some(help));
    }
    name
}

/// One line for people.
fn description(unit: &Section<'_>) -> String {
    let Some(word) = unit.word("description") else {
        return String::new();
    };
    if word.text.chars().any(char::is_control) {
        word.fault(format!("{} is more than one line", word.label), "say it in one line");
    }
    word.text.to_owned()
}

/// Whether one of the unit's roles is that of this node.
fn is_present(unit: &Section<'_>, site: &Site) -> bool {
    let roles: Vec<_> = unit.words("roles").iter().filter_map(|word| word.choice(ROLES)).collect();
    if unit.has("roles") && unit.list("roles").is_empty() {
        unit.fault(
            "roles",
            "`roles` is empty, so the unit is nowhere",
            "leave it out for every role",
        );
    }
    roles.is_empty() || site.role.is_none_or(|role| roles.contains(&role))
}

/// `require` of `[exports]`.
fn promised<'a>(exports: &Section<'a>) -> Vec<Word<'a>> {
    let words = exports.words("require");
    for word in words.iter().filter(|word| !scalar::is_variable(word.text)) {
        let help = "letters, digits and `_`, and no digit first";
        word.fault(format!("\"{}\" is no name of a value", word.text), help);
    }
    words
}
