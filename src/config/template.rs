//! Strings with `${...}` in them: what this node knows is put in, what other units export stays
//! a hole.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::machine::UnitId;
use crate::machine::spec::Use;

use super::diag::suggest;
use super::node::Site;
use super::plan::{Piece, Text};
use super::read::{Section, Word};
use super::scalar;

/// What another unit is to those who refer to it.
pub(super) struct Peer<'a> {
    /// `None` for a unit of another role.
    pub(super) id: Option<UnitId>,
    /// Where it was read from, for sentences.
    pub(super) file: String,
    /// The keys under `exports.require`; `None` when it has no `[exports]`.
    pub(super) exports: Option<Vec<&'a str>>,
    /// Whether its file was read at all.
    pub(super) is_known: bool,
}

/// All units by name.
pub(super) type Peers<'a> = BTreeMap<&'a str, Peer<'a>>;

/// What the strings of one unit may refer to, and what they did refer to.
pub(super) struct Scope<'a> {
    pub(super) site: &'a Site,
    pub(super) peers: &'a Peers<'a>,
    /// Names under `requires` and `binds`.
    pub(super) needs: Vec<&'a str>,
    /// A unit of another role may refer to what this node does not have.
    pub(super) is_present: bool,
    /// In the order in which they stand, so that a plan names the one that people read first.
    pub(super) uses: RefCell<Vec<Use>>,
}

/// A part of a string as it is written.
#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    Literal(&'a str),
    /// The whole `${a.b}`, then `a` and `b`.
    Reference(&'a str, &'a str, &'a str),
}

/// Takes a string apart; `Err` is the part that is wrong, why, and what to write.
fn split(text: &str) -> Result<Vec<Part<'_>>, (&str, &'static str, String)> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        parts.push(Part::Literal(before));
        if let Some(tail) = after.strip_prefix('$') {
            parts.push(Part::Literal("$"));
            rest = tail;
            continue;
        }
        let Some(inner) = after.strip_prefix('{') else {
            let help = "write `$$` for a dollar, `${UNIT.KEY}` or `${vars.NAME}` for a value";
            return Err(("$", "a `$` that begins no reference", help.to_owned()));
        };
        let Some((name, tail)) = inner.split_once('}') else {
            let help = "close it with `}`, or write `$$` for a dollar";
            return Err(("${", "a `${` that is not closed", help.to_owned()));
        };
        let whole = rest.get(before.len()..before.len() + name.len() + 3).unwrap_or(rest);
        match name.split_once('.') {
            Some((owner, key)) if !owner.is_empty() && !key.is_empty() => {
                parts.push(Part::Reference(whole, owner, key));
            }
            _ => {
                let help = "write `${node.KEY}`, `${images.NAME}`, `${vars.NAME}` or \
                            `${UNIT.KEY}`; `$${` stands for itself";
                return Err((whole, "a reference without an owner", help.to_owned()));
            }
        }
        rest = tail;
    }
    parts.push(Part::Literal(rest));
    Ok(parts)
}

impl Scope<'_> {
    /// A string with its references; `None` when it is wrong, which is told.
    pub(super) fn fill(&self, word: &Word<'_>) -> Option<Text> {
        let parts = match split(word.text) {
            Ok(parts) => parts,
            Err((part, message, help)) => {
                fault(word, part, message.to_owned(), help);
                return None;
            }
        };
        let mut pieces: Vec<Piece> = Vec::new();
        let mut is_good = true;
        for part in parts {
            let piece = match part {
                Part::Literal(text) => Some(Piece::Literal(text.to_owned())),
                Part::Reference(whole, owner, key) => self.resolve(word, whole, owner, key),
            };
            match (piece, pieces.last_mut()) {
                (None, _) => is_good = false,
                (Some(Piece::Literal(text)), Some(Piece::Literal(last))) => last.push_str(&text),
                (Some(Piece::Literal(text)), _) if text.is_empty() => {}
                (Some(piece), _) => pieces.push(piece),
            }
        }
        is_good.then_some(Text(pieces))
    }

    fn resolve(&self, word: &Word<'_>, whole: &str, owner: &str, key: &str) -> Option<Piece> {
        let value = match owner {
            "node" => self.site.node.values.get(key),
            "images" => self.site.images.get(key),
            "vars" => self.site.vars.get(key),
            _ => return self.export(word, whole, owner, key),
        };
        match value {
            Some(value) if !value.is_empty() => return Some(Piece::Literal(value.clone())),
            _ if !self.is_present || !self.site.is_whole => {}
            Some(_) => {
                let help = format!(
                    "an empty value is never passed on: give `{key}` a value under [{owner}] in \
                     node.toml, or leave the reference out"
                );
                fault(word, whole, format!("`{owner}.{key}` is empty"), help);
            }
            None => self.unknown(word, whole, owner, key),
        }
        None
    }

    fn unknown(&self, word: &Word<'_>, whole: &str, owner: &str, key: &str) {
        let message = format!("`{owner}.{key}` is not known");
        if owner == "node" && self.site.undetected.contains(&key) {
            let help = format!("the host does not tell it now: write `{key}` into node.toml");
            word.file.report_undetected(&place(word, whole), message, help);
            return;
        }
        let help = match owner {
            "node" => suggest(key, NODE_KEYS.iter().copied().filter(|name| *name != key))
                .filter(|_| !NODE_KEYS.contains(&key))
                .unwrap_or_else(|| match key {
                    "cidr" | "backend" => format!("write `{key}` under [network] in node.toml"),
                    _ if NODE_KEYS.contains(&key) => format!("write `{key}` into node.toml"),
                    _ => format!("known are {}", NODE_KEYS.join(", ")),
                }),
            _ => {
                let all = if owner == "vars" { &self.site.vars } else { &self.site.images };
                suggest(key, all.keys().map(String::as_str)).unwrap_or_else(|| {
                    format!("write {key} = \"...\" under [{owner}] in node.toml")
                })
            }
        };
        fault(word, whole, message, help);
    }

    /// A value that another unit exports.
    fn export(&self, word: &Word<'_>, whole: &str, owner: &str, key: &str) -> Option<Piece> {
        let Some(peer) = self.peers.get(owner) else {
            let owners = ["node", "images", "vars"].into_iter().chain(self.peers.keys().copied());
            let help =
                suggest(owner, owners).unwrap_or_else(|| format!("there is no units/{owner}.toml"));
            fault(word, whole, format!("`{owner}` is no unit"), help);
            return None;
        };
        if !self.needs.contains(&owner) {
            let help = format!("add \"{owner}\" to requires or binds under [unit]");
            fault(
                word,
                whole,
                format!("a value of `{owner}`, which this unit does not require"),
                help,
            );
            return None;
        }
        if !peer.is_known || !self.is_present {
            return None;
        }
        let Some(id) = peer.id else {
            let role = self.site.role_name();
            let message = format!("a value of `{owner}`, which is no unit of a {role}");
            let help = format!("say with `roles` that this unit is not for a {role} either");
            fault(word, whole, message, help);
            return None;
        };
        let Some(exports) = &peer.exports else {
            let help =
                format!("add [exports] with file and require = [\"{key}\"] to {}", peer.file);
            fault(word, whole, format!("`{owner}` exports nothing"), help);
            return None;
        };
        if !exports.contains(&key) {
            let help = suggest(key, exports.iter().copied()).unwrap_or_else(|| {
                format!("add \"{key}\" to `require` under [exports] in {}", peer.file)
            });
            fault(word, whole, format!("`{owner}` does not promise to export `{key}`"), help);
            return None;
        }
        let used = Use { unit: id, key: key.to_owned() };
        let mut uses = self.uses.borrow_mut();
        if !uses.contains(&used) {
            uses.push(used);
        }
        Some(Piece::Value(id, key.to_owned()))
    }

    /// A string that is not empty.
    pub(super) fn text(&self, section: &Section<'_>, key: &str) -> Option<Text> {
        self.full(&section.word(key)?)
    }

    fn full(&self, word: &Word<'_>) -> Option<Text> {
        if word.text.is_empty() {
            word.fault(format!("{} is empty", word.label), "give it a value, or leave it out");
            return None;
        }
        self.fill(word)
    }

    /// A list of strings, empty ones included.
    pub(super) fn texts(&self, section: &Section<'_>, key: &str) -> Vec<Text> {
        section.words(key).iter().filter_map(|word| self.fill(word)).collect()
    }

    /// A string that has to be known before anything starts.
    pub(super) fn fixed(&self, section: &Section<'_>, key: &str) -> Option<String> {
        self.fixed_word(&section.word(key)?)
    }

    /// The same for an item of a list.
    pub(super) fn fixed_word(&self, word: &Word<'_>) -> Option<String> {
        let text = self.full(word)?;
        let known = known(&text);
        if known.is_none() {
            let help = "write it out, or use ${node.KEY} or ${vars.NAME}";
            word.fault(format!("{} takes no value of another unit", word.label), help);
        }
        known
    }

    /// An absolute path.
    pub(super) fn path(&self, section: &Section<'_>, key: &str) -> Option<Text> {
        self.path_word(&section.word(key)?)
    }

    /// The same for an item of a list.
    pub(super) fn path_word(&self, word: &Word<'_>) -> Option<Text> {
        let text = self.full(word)?;
        match text.0.first() {
            Some(Piece::Literal(start)) if !start.starts_with('/') => {
                let help = format!("begin it with a slash: \"/{start}\"");
                word.fault(format!("{} is no absolute path", word.label), help);
                None
            }
            _ => Some(text),
        }
    }

    /// An absolute path that has to be known before anything starts.
    pub(super) fn fixed_path(&self, section: &Section<'_>, key: &str) -> Option<String> {
        self.fixed(section, key)?;
        known(&self.path(section, key)?)
    }

    /// A program and its arguments; empty when it is not there or wrong, which is told.
    pub(super) fn exec(&self, section: &Section<'_>, key: &str) -> Vec<Text> {
        let words = section.words(key);
        let texts: Vec<Text> = words.iter().filter_map(|word| self.fill(word)).collect();
        let program = words.first().filter(|_| texts.len() == words.len()).zip(texts.first());
        match program {
            Some((word, _)) if word.text.is_empty() => {
                word.fault(format!("{} has no program", word.label), "name it first");
            }
            Some((word, Text(pieces))) => match pieces.first() {
                Some(Piece::Literal(name)) if name.contains('/') && !name.starts_with('/') => {
                    let help = "write an absolute path, or a name that is looked up in PATH";
                    word.fault(format!("\"{name}\" is a relative path"), help);
                }
                _ => {}
            },
            None if section.item(key).is_some_and(|item| item.is_empty_list()) => {
                section.fault(key, format!("`{key}` has no program"), "name the program first");
            }
            None => {}
        }
        texts
    }

    /// `env`.
    pub(super) fn env(&self, section: &Section<'_>) -> BTreeMap<String, Text> {
        let mut env = BTreeMap::new();
        for (name, item) in section.entries("env") {
            if !scalar::is_variable(name.text) {
                let help = "letters, digits and `_`, and no digit first";
                name.fault(format!("`{}` is no name of a variable", name.text), help);
            } else if OURS.contains(&name.text) {
                let help = "leave it out; see `notify`, `watchdog` and [socket]";
                name.fault(format!("`{}` is set by the supervisor", name.text), help);
            }
            if let Some(text) = item.word().and_then(|word| self.fill(&word)) {
                env.insert(name.text.to_owned(), text);
            }
        }
        env
    }
}

/// Variables that say what the supervisor gave to the process.
const OURS: &[&str] = &[
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "MAINPID",
];

/// What `${node.KEY}` knows.
pub(super) const NODE_KEYS: &[&str] =
    &["role", "master", "name", "interface", "address", "profile", "cidr", "backend"];

/// The text, if it has no holes.
pub(super) fn known(text: &Text) -> Option<String> {
    match text.0.as_slice() {
        [] => Some(String::new()),
        [Piece::Literal(text)] => Some(text.clone()),
        _ => None,
    }
}

/// Reports an error at a part of a string.
fn fault(word: &Word<'_>, part: &str, message: String, help: String) {
    word.file.report(&place(word, part), message, Some(help));
}

/// Where a part of a string stands in the file; the whole string where escapes hide it.
fn place(word: &Word<'_>, part: &str) -> std::ops::Range<usize> {
    let source = word.file.text.get(word.span.clone()).unwrap_or_default();
    match source.find(part) {
        Some(at) => word.span.start + at..word.span.start + at + part.len(),
        None => word.span.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_taken_apart() {
        assert_eq!(
            split("a${b.c}$$d").unwrap(),
            [
                Part::Literal("a"),
                Part::Reference("${b.c}", "b", "c"),
                Part::Literal(""),
                Part::Literal("$"),
                Part::Literal("d"),
            ]
        );
        assert_eq!(split("$$${a.b}").unwrap().len(), 5);
        assert_eq!(split("$${a.b}").unwrap()[2], Part::Literal("{a.b}"));
        for (text, part) in
            [("$", "$"), ("a$b", "$"), ("${a.b", "${"), ("${a}", "${a}"), ("${.a}", "${.a}")]
        {
            assert_eq!(split(text).unwrap_err().0, part, "{text}");
        }
    }
}
