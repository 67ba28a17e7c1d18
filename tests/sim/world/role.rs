//! What a process is, by its command line.

/// What a process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    Main,
    Step,
    Probe,
    Stop,
    Reload,
    /// Copies a file.
    Keep(String, String),
    /// Writes output to a file.
    Log,
    /// Makes a directory, removes files.
    Own(Vec<String>),
    /// Made by another process of its unit.
    Child,
    /// Owns a container; its unit's main process.
    Owner,
    /// The first process of a container.
    Inside,
    /// Another program of the supervisor, which is tried.
    SelfTest,
    /// Of an upgrade.
    Guard,
}

impl Role {
    /// HUP and USR1 mean something to a service.
    pub const fn heeds_hup(&self) -> bool {
        matches!(self, Self::Main | Self::Child | Self::Owner | Self::Inside)
    }
}

/// Whose a command line is, and what for.
pub fn role_of(argv: &[String], group: Option<&str>) -> (String, Role) {
    let words: Vec<&str> = argv.iter().map(String::as_str).collect();
    let unit = group.unwrap_or_default().to_owned();
    match words.as_slice() {
        ["/pisup", "keep-file", from, to] => {
            (unit, Role::Keep((*from).to_owned(), (*to).to_owned()))
        }
        ["/pisup", "log-writer", ..] => (unit, Role::Log),
        ["/pisup", "container-run", words @ ..] => {
            let unit = words.iter().find_map(|word| word.strip_prefix("--unit="));
            (unit.unwrap_or_default().to_owned(), Role::Owner)
        }
        ["/pisup", "--self-test", ..] => (unit, Role::SelfTest),
        ["/pisup", "upgrade-guard", ..] => (unit, Role::Guard),
        ["/pisup", ..] => (unit, Role::Own(argv.to_vec())),
        [program, ..] => {
            let mut parts = program.split('/').skip(2);
            let unit = parts.next().unwrap_or_default().to_owned();
            let role = match parts.next() {
                Some("step") => Role::Step,
                Some("probe") => Role::Probe,
                Some("stop") => Role::Stop,
                Some("reload") => Role::Reload,
                _ => Role::Main,
            };
            (unit, role)
        }
        [] => (unit, Role::Main),
    }
}
