//! Sections of a TOML table, read key by key; every wrong type is told, and reading goes on.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::diag::{File, suggest};
use super::scalar::{self, Parsed};

/// Files longer than this are no configuration, and their errors would take for ever to find.
const MAX_BYTES: usize = 256 << 10;

/// So many errors of TOML itself are told: what follows the first ones is mostly their echo.
const MAX_SYNTAX: usize = 5;

/// A document, if it is TOML at all.
pub(super) type Document<'a> = Option<DeTable<'a>>;

/// Parses a file; what is no TOML is reported.
pub(super) fn parse<'a>(file: &File<'a>) -> Document<'a> {
    if file.text.len() > MAX_BYTES {
        let message = format!("is longer than {} KiB, which no such file is", MAX_BYTES >> 10);
        file.report_whole(message, None);
        return None;
    }
    let (document, errors) = DeTable::parse_recoverable(file.text);
    for error in errors.iter().take(MAX_SYNTAX) {
        let span = error.span().unwrap_or(0..0);
        let word = file.text.get(span.clone()).unwrap_or_default();
        match error.message() {
            "duplicate key" => {
                let help = "a key or section stands once in a file; put the two together";
                file.report(&span, format!("`{word}` is there twice"), Some(help.to_owned()));
            }
            message => {
                let message = message.trim_end_matches(", expected nothing");
                let is_octal = message.starts_with("unexpected leading zero");
                let help = is_octal.then(|| "modes and masks are strings: \"022\"".to_owned());
                file.report(&span, format!("no valid TOML: {message}"), help);
            }
        }
    }
    errors.is_empty().then(|| document.into_inner())
}

/// A section, or its absence.
#[derive(Clone)]
pub(super) struct Section<'a> {
    pub(super) file: &'a File<'a>,
    /// As in its header; empty for what stands before the first one.
    pub(super) name: &'static str,
    table: Option<&'a DeTable<'a>>,
    header: Range<usize>,
}

/// The value of a key, or an item of its list, with its place.
#[derive(Clone)]
pub(super) struct Item<'a> {
    file: &'a File<'a>,
    /// What it is called in a sentence: "`exec` in [command]".
    label: Label,
    value: &'a DeValue<'a>,
    pub(super) span: Range<usize>,
}

/// A string with its place.
#[derive(Clone)]
pub(super) struct Word<'a> {
    pub(super) file: &'a File<'a>,
    pub(super) label: Label,
    pub(super) text: &'a str,
    pub(super) span: Range<usize>,
}

/// A key and its section, for sentences.
#[derive(Clone)]
pub(super) struct Label {
    key: String,
    section: &'static str,
}

impl Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.section {
            "" => write!(f, "`{}`", self.key),
            section => write!(f, "`{}` in [{section}]", self.key),
        }
    }
}

impl<'a> Section<'a> {
    /// What stands before the first header.
    pub(super) const fn top(file: &'a File<'a>, table: &'a DeTable<'a>) -> Self {
        Self { file, name: "", table: Some(table), header: 0..0 }
    }

    /// The section of that name.
    pub(super) fn of(file: &'a File<'a>, document: &'a DeTable<'a>, name: &'static str) -> Self {
        let value = document.get(name);
        let table = value.and_then(|value| value.get_ref().as_table());
        Self { file, name, table, header: value.map_or(0..0, Spanned::span) }
    }

    /// All sections of that name, from `[[name]]`.
    pub(super) fn all(
        file: &'a File<'a>,
        document: &'a DeTable<'a>,
        name: &'static str,
    ) -> Vec<Self> {
        let items = document.get(name).and_then(|value| value.get_ref().as_array());
        let section = |item: &'a Spanned<DeValue<'a>>| {
            Some(Self { file, name, table: Some(item.get_ref().as_table()?), header: item.span() })
        };
        items.into_iter().flat_map(|items| items.iter()).filter_map(section).collect()
    }

    /// Whether the section is written.
    pub(super) const fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// Whether its name is written, as a section or as something else.
    pub(super) const fn is_written(&self) -> bool {
        self.header.end > 0
    }

    /// Whether the key is written.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Reports an error at a key of this section, or at its header.
    pub(super) fn fault(&self, key: &str, message: impl Into<String>, help: &str) {
        let pair = self.table.and_then(|table| table.get_key_value(key));
        let span = pair.map_or_else(|| self.header.clone(), |(key, _)| key.span());
        self.file.report(&span, message, Some(help.to_owned()));
    }

    /// The value of a key.
    pub(super) fn item(&self, key: &str) -> Option<Item<'a>> {
        let value = self.table?.get(key)?;
        Some(Item {
            file: self.file,
            label: Label { key: key.to_owned(), section: self.name },
            value: value.get_ref(),
            span: value.span(),
        })
    }

    /// All keys with their values and the places of the keys.
    pub(super) fn items(&self) -> Vec<(Word<'a>, Item<'a>)> {
        entries(self.file, self.name, self.table)
    }

    /// A string.
    pub(super) fn word(&self, key: &str) -> Option<Word<'a>> {
        self.item(key)?.word()
    }

    /// A list of strings; empty when it is not there.
    pub(super) fn words(&self, key: &str) -> Vec<Word<'a>> {
        self.list(key).iter().filter_map(Item::word).collect()
    }

    /// A list.
    pub(super) fn list(&self, key: &str) -> Vec<Item<'a>> {
        self.item(key).map(|item| item.list()).unwrap_or_default()
    }

    /// A table of the user's own keys.
    pub(super) fn entries(&self, key: &str) -> Vec<(Word<'a>, Item<'a>)> {
        let Some(item) = self.item(key) else {
            return Vec::new();
        };
        match item.value {
            DeValue::Table(table) => entries(self.file, self.name, Some(table)),
            _ => {
                item.wrong_type("a table", Some(format!("write {key} = {{ NAME = \"value\" }}")));
                Vec::new()
            }
        }
    }

    /// A boolean, false when it is not there.
    pub(super) fn flag(&self, key: &str) -> bool {
        self.flag_or(key, false)
    }

    /// A boolean with a default.
    pub(super) fn flag_or(&self, key: &str, default: bool) -> bool {
        let Some(item) = self.item(key) else {
            return default;
        };
        match item.value {
            DeValue::Boolean(is_set) => *is_set,
            _ => {
                item.wrong_type("true or false", None);
                default
            }
        }
    }

    /// A number in a range.
    pub(super) fn integer<T: TryFrom<i64>>(
        &self,
        key: &str,
        range: RangeInclusive<i64>,
    ) -> Option<T> {
        self.item(key)?.integer(range)
    }

    /// A string with a meaning.
    pub(super) fn parse<T>(&self, key: &str, parse: fn(&str) -> Parsed<T>) -> Option<T> {
        self.word(key)?.parse(parse)
    }

    /// A string with a meaning that may also be written as a number.
    pub(super) fn parse_number<T>(&self, key: &str, parse: fn(&str) -> Parsed<T>) -> Option<T> {
        self.item(key)?.parse_number(parse)
    }

    /// A duration of at least `least` milliseconds.
    pub(super) fn duration(&self, key: &str, default: u64, least: u64) -> u64 {
        let value = self.parse_number(key, scalar::duration);
        self.not_below(key, value, least).unwrap_or(default)
    }

    /// A duration of at least `least` milliseconds, or `never`.
    pub(super) fn limit(&self, key: &str, default: Option<u64>, least: u64) -> Option<u64> {
        match self.parse_number(key, scalar::limit) {
            Some(None) => None,
            Some(ms) => self.not_below(key, ms, least).or(default),
            None => default,
        }
    }

    fn not_below(&self, key: &str, value: Option<u64>, least: u64) -> Option<u64> {
        if let Some(item) = self.item(key).filter(|_| value.is_some_and(|ms| ms < least)) {
            let help = format!("the least is \"{least}ms\"");
            item.file.report(&item.span, format!("{} is too short", item.label), Some(help));
            return None;
        }
        value
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        self.word(key)?.choice(choices)
    }
}

fn entries<'a>(
    file: &'a File<'a>,
    section: &'static str,
    table: Option<&'a DeTable<'a>>,
) -> Vec<(Word<'a>, Item<'a>)> {
    let pairs = table.into_iter().flatten();
    let both = pairs.map(|(key, value)| {
        let label = Label { key: key.get_ref().to_string(), section };
        let item = Item { file, label: label.clone(), value: value.get_ref(), span: value.span() };
        (Word { file, label, text: key.get_ref(), span: key.span() }, item)
    });
    both.collect()
}

impl<'a> Item<'a> {
    /// Reports that it is of another type than it should be.
    fn wrong_type(&self, wanted: &str, help: Option<String>) {
        let found = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a decimal number",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.file.report(&self.span, format!("{} must be {wanted}, not {found}", self.label), help);
    }

    /// A string.
    pub(super) fn word(&self) -> Option<Word<'a>> {
        match self.value {
            DeValue::String(text) if text.contains('\0') => {
                let message = format!("{} has a NUL in it", self.label);
                self.file.report(&self.span, message, Some("leave it out".to_owned()));
                None
            }
            DeValue::String(text) => {
                let (file, label, span) = (self.file, self.label.clone(), self.span.clone());
                Some(Word { file, label, text, span })
            }
            DeValue::Integer(_) | DeValue::Boolean(_) | DeValue::Float(_) => {
                let bare = self.file.text.get(self.span.clone()).unwrap_or_default();
                self.wrong_type("a string", Some(format!("put it in quotes: \"{bare}\"")));
                None
            }
            _ => {
                self.wrong_type("a string", None);
                None
            }
        }
    }

    /// Whether it is a list of nothing.
    pub(super) fn is_empty_list(&self) -> bool {
        self.value.as_array().is_some_and(|items| items.is_empty())
    }

    fn list(&self) -> Vec<Self> {
        let Some(items) = self.value.as_array() else {
            let words = self.value.as_str().unwrap_or_default().split_whitespace();
            let quoted: Vec<String> = words.map(|word| format!("\"{word}\"")).collect();
            self.wrong_type("a list", Some(format!("write it as [{}]", quoted.join(", "))));
            return Vec::new();
        };
        let item = |item: &'a Spanned<DeValue<'a>>| Self {
            file: self.file,
            label: self.label.clone(),
            value: item.get_ref(),
            span: item.span(),
        };
        items.iter().map(item).collect()
    }

    /// A number in a range.
    pub(super) fn integer<T: TryFrom<i64>>(&self, range: RangeInclusive<i64>) -> Option<T> {
        let DeValue::Integer(integer) = self.value else {
            self.wrong_type("a number", None);
            return None;
        };
        let number = to_i64(integer).filter(|number| range.contains(number));
        let value = number.and_then(|number| T::try_from(number).ok());
        if value.is_none() {
            let help = format!("it goes from {} to {}", range.start(), range.end());
            self.file.report(&self.span, format!("{} is out of range", self.label), Some(help));
        }
        value
    }

    /// A string or a number with a meaning.
    pub(super) fn parse_number<T>(&self, parse: fn(&str) -> Parsed<T>) -> Option<T> {
        let integer = match self.value {
            DeValue::Integer(integer) => integer,
            DeValue::String(_) => return self.word()?.parse(parse),
            _ => {
                self.wrong_type("a number or a string", None);
                return None;
            }
        };
        let text = to_i64(integer).map_or_else(|| integer.to_string(), |n| n.to_string());
        parse(&text).map_err(|why| self.fault(&format!("{text} {why}"))).ok()
    }

    fn fault(&self, sentence: &str) {
        report_sentence(self.file, &self.span, &self.label, sentence);
    }
}

fn to_i64(integer: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// A sentence of [`scalar`]: what stands after the `;` is help.
fn report_sentence(file: &File<'_>, span: &Range<usize>, label: &Label, sentence: &str) {
    let (message, help) = match sentence.split_once("; ") {
        Some((message, help)) => (message, Some(help.to_owned())),
        None => (sentence, None),
    };
    file.report(span, format!("{label}: {message}"), help);
}

impl Word<'_> {
    /// Reports an error at this string.
    pub(super) fn fault(&self, message: impl Into<String>, help: impl Into<String>) {
        self.file.report(&self.span, message, Some(help.into()));
    }

    /// Its meaning.
    pub(super) fn parse<T>(&self, parse: fn(&str) -> Parsed<T>) -> Option<T> {
        self.accept(self.text, parse)
    }

    /// The meaning of what this string, with its references filled in, has become.
    pub(super) fn accept<T>(&self, text: &str, parse: fn(&str) -> Parsed<T>) -> Option<T> {
        let shown: String = text.chars().take(60).collect();
        let sentence = |why| format!("\"{shown}\" {why}");
        let report = |why| report_sentence(self.file, &self.span, &self.label, &sentence(why));
        parse(text).map_err(report).ok()
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let found = choices.iter().find(|(name, _)| *name == self.text);
        if found.is_none() {
            let names = || choices.iter().map(|(name, _)| *name);
            let all = names().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
            let help = suggest(self.text, names()).unwrap_or_else(|| format!("write one of {all}"));
            self.fault(format!("{} can not be \"{}\"", self.label, self.text), help);
        }
        found.map(|(_, value)| *value)
    }
}
