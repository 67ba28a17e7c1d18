//! `[command]`, `[container]`, `[socket]` and `[[prepare]]`: what is executed, and in what state.

use std::collections::BTreeMap;

use super::diag::suggest;
use super::plan::{
    Command, Container, EnvFile, Job, Listen, Prepare, Process, Pull, Socket, Step, Text,
};
use super::read::{Item, Section, Word};
use super::scalar::{self, Parsed};
use super::template::{Scope, known};
use super::words;

/// An image is a hundred megabytes, and an SD card writes ten a second on a good day.
const PULL_MS: u64 = 30 * 60_000;

/// One prepare step is quick: it removes a file, loads a module, talks to the kernel.
const PREPARE_MS: u64 = 30_000;

/// The machine counts steps in a byte; nobody needs a tenth of that.
const MAX_STEPS: usize = 32;

/// LISTEN_FDS of more sockets would reach the range of `ready.fd`.
const MAX_SOCKETS: usize = 32;

/// `None` when neither or both are written, or something in them is wrong; that is told.
pub(super) fn job(
    name: &str,
    command: &Section<'_>,
    container: &Section<'_>,
    scope: &Scope<'_>,
) -> Option<Job> {
    match (command.is_there(), container.is_there()) {
        (true, false) => Some(Job::Command(lower_command(command, scope))),
        (false, true) => Some(Job::Container(lower_container(name, container, scope))),
        (true, true) => {
            let message = "both [command] and [container]";
            container.fault("", message, "leave one of them out");
            None
        }
        (false, false) if command.is_written() || container.is_written() => None,
        (false, false) => {
            let help = "write [command] with exec = [\"PROGRAM\", \"ARGUMENT\"], or [container]";
            command.file.report_whole("neither [command] nor [container]", Some(help.into()));
            None
        }
    }
}

fn lower_command(section: &Section<'_>, scope: &Scope<'_>) -> Command {
    if !section.has("exec") {
        section.fault("", "[command] has no `exec`", "write exec = [\"PROGRAM\", \"ARGUMENT\"]");
    }
    Command { exec: scope.exec(section, "exec"), process: process(section, scope) }
}

fn process(section: &Section<'_>, scope: &Scope<'_>) -> Process {
    let groups = section.words("groups").iter().filter_map(|word| scope.fixed_word(word)).collect();
    let capabilities = section.words("capabilities");
    let capabilities = capabilities.iter().filter_map(|word| word.parse(scalar::capability));
    Process {
        user: scope.fixed(section, "user"),
        group: scope.fixed(section, "group"),
        groups: section.has("groups").then_some(groups),
        directory: scope.path(section, "directory"),
        umask: section.parse("umask", scalar::umask),
        nice: section.integer("nice", -20..=19),
        ionice: section.parse("ionice", scalar::ionice),
        oom_score_adj: section.integer("oom-score-adj", -1000..=1000),
        cpus: section.parse("cpus", scalar::cpus).unwrap_or_default(),
        capabilities: section.has("capabilities").then(|| capabilities.collect()),
        no_new_privileges: section.flag("no-new-privileges"),
        limits: limits(section),
        env: scope.env(section),
        env_files: env_files(section, scope),
    }
}

fn limits(section: &Section<'_>) -> BTreeMap<String, u64> {
    let mut limits = BTreeMap::new();
    for (name, item) in section.entries("limits") {
        if !words::LIMITS.contains(&name.text) {
            let help = suggest(name.text, words::LIMITS.iter().copied())
                .unwrap_or_else(|| format!("known are {}", words::LIMITS.join(", ")));
            name.fault(format!("unknown limit `{}`", name.text), help);
        }
        if let Some(limit) = item.parse_number(scalar::resource) {
            limits.insert(name.text.to_owned(), limit);
        }
    }
    limits
}

/// A leading `-` says that the file may be absent.
fn env_files(section: &Section<'_>, scope: &Scope<'_>) -> Vec<EnvFile> {
    let file = |word: Word<'_>| {
        let bare = word.text.strip_prefix('-');
        let path = scope.path_word(&Word { text: bare.unwrap_or(word.text), ..word.clone() })?;
        Some(EnvFile { path, is_optional: bare.is_some() })
    };
    section.words("env-file").into_iter().filter_map(file).collect()
}

fn lower_container(unit: &str, section: &Section<'_>, scope: &Scope<'_>) -> Container {
    for (key, help) in [
        ("engine", "write engine = \"/run/docker.sock\", the engine's socket"),
        ("image", "write image = \"${images.NAME}\" and the name under [images] in node.toml"),
    ] {
        if !section.has(key) {
            section.fault("", format!("[container] has no `{key}`"), help);
        }
    }
    let name = scope.text(section, "name");
    check(section, "name", name.as_ref(), container_name);
    let cap_add = section.words("cap-add");
    let cap_add = cap_add.iter().filter_map(|word| word.parse(added_capability)).collect();
    Container {
        engine: scope.path(section, "engine").unwrap_or_default(),
        image: scope.text(section, "image").unwrap_or_default(),
        command: scope.texts(section, "command"),
        name: name.unwrap_or_else(|| Text::literal(&format!("pisup-{unit}"))),
        network: scope.text(section, "network"),
        privileged: section.flag("privileged"),
        pid: section.parse("pid", pid_mode),
        cap_add,
        volumes: each(section, "volumes", scope, volume),
        devices: each(section, "devices", scope, device),
        env: scope.env(section),
        user: scope.text(section, "user"),
        workdir: scope.path(section, "workdir"),
        pull: section
            .choice(
                "pull",
                &[("missing", Pull::Missing), ("never", Pull::Never), ("always", Pull::Always)],
            )
            .unwrap_or(Pull::Missing),
        pull_timeout_ms: section.limit("pull-timeout", Some(PULL_MS), 1000),
        process: Process::default(),
    }
}

/// Checks what a text has become, where all of it is known.
fn check(section: &Section<'_>, key: &str, text: Option<&Text>, parse: fn(&str) -> Parsed<()>) {
    if let Some((word, text)) = section.word(key).zip(text.and_then(known)) {
        let _ = word.accept(&text, parse);
    }
}

/// A list of texts of one form.
fn each(
    section: &Section<'_>,
    key: &str,
    scope: &Scope<'_>,
    parse: fn(&str) -> Parsed<()>,
) -> Vec<Text> {
    let mut texts = Vec::new();
    for word in section.words(key) {
        let Some(text) = scope.fill(&word) else {
            continue;
        };
        if let Some(known) = known(&text) {
            let _ = word.accept(&known, parse);
        }
        texts.push(text);
    }
    texts
}

fn container_name(text: &str) -> Parsed<()> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let starts_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    match text.len() >= 2 && starts_well && text.bytes().all(is_good) {
        true => Ok(()),
        false => Err("is no name of a container; write two or more letters, digits, `_.-`".into()),
    }
}

fn pid_mode(text: &str) -> Parsed<String> {
    match text == "host" || text.strip_prefix("container:").is_some_and(|name| !name.is_empty()) {
        true => Ok(text.to_owned()),
        false => Err("is no process namespace; write \"host\" or \"container:NAME\"".to_owned()),
    }
}

fn added_capability(text: &str) -> Parsed<String> {
    match words::bare_capability(text) {
        all if all == "ALL" => Ok(all),
        name => scalar::capability(text).map(|_| name),
    }
}

fn volume(text: &str) -> Parsed<()> {
    let mut parts = text.split(':');
    match (parts.next(), parts.next()) {
        (Some(source), Some(target)) if !source.is_empty() && target.starts_with('/') => Ok(()),
        _ => Err("is no volume; write \"/HOST/PATH:/CONTAINER/PATH\" or with \":ro\"".to_owned()),
    }
}

fn device(text: &str) -> Parsed<()> {
    match text.starts_with('/') {
        true => Ok(()),
        false => Err("is no device; write \"/dev/net/tun\"".to_owned()),
    }
}

/// `[socket]`.
pub(super) fn sockets(unit: &str, section: &Section<'_>, scope: &Scope<'_>) -> Vec<Socket> {
    if !section.is_there() {
        return Vec::new();
    }
    let words = section.words("listen");
    if section.list("listen").is_empty() && !section.has("listen") {
        let help = "write listen = [\"/run/x.sock\"]";
        section.fault("", "[socket] has no `listen`", help);
    } else if words.is_empty() || words.len() > MAX_SOCKETS {
        let help = format!("write one to {MAX_SOCKETS} addresses");
        section.fault("listen", format!("`listen` has {} addresses", words.len()), &help);
    }
    let names = section.words("names");
    if section.has("names") && names.len() != words.len() {
        let help = "write one name for each item of `listen`, in the same order";
        section.fault("names", "`names` and `listen` are not equally long", help);
    }
    for name in names.iter().filter(|name| !is_descriptor_name(name.text)) {
        let help = "letters, digits, `_`, `.` and `-`";
        name.fault(format!("\"{}\" can not be the name of a socket", name.text), help);
    }
    let mode = section.parse("mode", scalar::octal).unwrap_or(0o660);
    let (user, group) = (scope.fixed(section, "user"), scope.fixed(section, "group"));
    let socket = |(index, word): (usize, &Word<'_>)| {
        let listen: Listen = word.accept(&scope.fixed_word(word)?, scalar::listen)?;
        let name = names.get(index).map_or(unit, |name| name.text).to_owned();
        Some(Socket { listen, name, mode, user: user.clone(), group: group.clone() })
    };
    words.iter().enumerate().filter_map(socket).collect()
}

/// LISTEN_FDNAMES separates names with colons.
fn is_descriptor_name(name: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=255).contains(&name.len()) && name.bytes().all(is_good)
}

/// `[[prepare]]`: the steps, and how long each may take.
pub(super) fn prepare(
    sections: &[Section<'_>],
    scope: &Scope<'_>,
) -> (Vec<Prepare>, Vec<Option<u64>>) {
    if let Some(section) = sections.get(MAX_STEPS) {
        section.fault("", format!("more than {MAX_STEPS} steps"), "do some of them in a oneshot");
    }
    let step = |section: &Section<'_>| {
        let ignores_failure = section.flag("ignore-failure");
        let timeout = section.limit("timeout", Some(PREPARE_MS), 1);
        Some((Prepare { step: step(section, scope)?, ignores_failure }, timeout))
    };
    sections.iter().filter_map(step).unzip()
}

fn step(section: &Section<'_>, scope: &Scope<'_>) -> Option<Step> {
    const STEPS: [&str; 4] = ["bridge-reset", "exec", "remove", "directory"];
    let given: Vec<&str> = STEPS.into_iter().filter(|key| section.has(key)).collect();
    let address = scope.text(section, "address");
    let [key] = given.as_slice() else {
        let message = if given.is_empty() {
            "a step that does nothing".to_owned()
        } else {
            format!("a step that does two things: {}", given.join(", "))
        };
        let help = "write one of bridge-reset, exec, remove, directory in each [[prepare]]";
        section.fault("", message, help);
        return None;
    };
    if section.has("address") && *key != "bridge-reset" {
        section.fault("address", "`address` belongs to `bridge-reset`", "leave it out");
    }
    match *key {
        "exec" => Some(Step::Exec(scope.exec(section, key))),
        "remove" => Some(Step::Remove(removed(section, scope))),
        "directory" => scope.path(section, key).map(Step::Directory),
        _ => {
            check(section, "address", address.as_ref(), |text| scalar::cidr(text, false));
            let bridge = scope.text(section, key);
            check(section, key, bridge.as_ref(), scalar::interface);
            Some(Step::BridgeReset { bridge: bridge?, address })
        }
    }
}

fn removed(section: &Section<'_>, scope: &Scope<'_>) -> Vec<Text> {
    let items = section.list("remove");
    if items.is_empty() {
        section.fault("remove", "`remove` names nothing", "write remove = [\"/run/x.pid\"]");
    }
    let words = items.iter().filter_map(Item::word);
    words.filter_map(|word| scope.path_word(&word)).collect()
}
