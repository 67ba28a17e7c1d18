//! The units: thirty of all kinds, and what each is expected to be.

use std::path::Path;

/// What a unit is, once all is quiet and what it needs is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    Ready,
    Done,
    /// It crashes again and again: it may be anything but failed.
    Never,
    Failed,
}

/// One unit.
pub struct Unit {
    pub name: &'static str,
    pub requires: &'static [&'static str],
    pub binds: &'static [&'static str],
    pub rest: Rest,
    /// Processes that it may have when it is up.
    pub most: usize,
    /// Not started at boot.
    pub is_spare: bool,
    /// What it does after it has locked its file and noted its start.
    deeds: &'static [&'static str],
    /// The rest of its file.
    more: &'static str,
}

const fn unit(name: &'static str, deeds: &'static [&'static str], more: &'static str) -> Unit {
    let (requires, binds): (&[_], &[_]) = (&[], &[]);
    Unit { name, requires, binds, rest: Rest::Ready, most: 1, is_spare: false, deeds, more }
}

impl Unit {
    const fn needs(mut self, requires: &'static [&'static str]) -> Self {
        self.requires = requires;
        self
    }

    const fn bound(mut self, binds: &'static [&'static str]) -> Self {
        self.binds = binds;
        self
    }

    const fn is(mut self, rest: Rest, most: usize) -> Self {
        (self.rest, self.most) = (rest, most);
        self
    }

    const fn spare(mut self) -> Self {
        self.is_spare = true;
        self
    }

    /// The units that have to be up for this one.
    pub fn needed(&self) -> impl Iterator<Item = &'static str> {
        self.requires.iter().chain(self.binds).copied()
    }

    /// Its file; `generation` is a word of its environment, so another one is another program.
    pub fn text(&self, program: &Path, here: &Path, generation: u64) -> String {
        let list = |names: &[&str]| {
            names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
        };
        let own = [format!("lock {}/locks/{}", here.display(), self.name)];
        let start = [format!("append {}/starts/{} %pid", here.display(), self.name)];
        let deeds = self.deeds.iter().map(|deed| (*deed).to_owned());
        let words: Vec<String> = own.into_iter().chain(start).chain(deeds).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (more, kind) = match self.more.strip_prefix("oneshot ") {
            Some(more) => (more, "oneshot"),
            None => (self.more, "service"),
        };
        let text = format!(
            "[unit]\nkind = \"{kind}\"\nenabled = {}\nrequires = [{}]\nbinds = [{}]\n{}\n\
             [command]\nexec = [\"{}\", \"service\", {}]\n\
             env = {{ GENERATION = \"{generation}\"{} }}\n\
             [restart]\ndelay = \"100ms\"\nmax-delay = \"200ms\"\nstable = \"1s\"\n{}\n{}\n",
            !self.is_spare,
            list(self.requires),
            list(self.binds),
            if self.name == "wanting" { "wants = [\"crashing\"]" } else { "" },
            program.display(),
            list(&words),
            if self.name == "using" { ", VALUE = \"${exporting.VALUE}\"" } else { "" },
            if self.name == "fatal" { "fatal-exit-codes = [3]" } else { "" },
            more,
        );
        text.replace("HERE", &here.display().to_string())
    }
}

/// All of them.
pub const UNITS: &[Unit] = &[
    unit("plain", &["wait"], ""),
    unit("notify", &["notify READY=1", "wait"], "[ready]\nnotify = true"),
    unit("late", &["sleep 60", "notify READY=1", "wait"], "[ready]\nnotify = true"),
    unit("fd", &["sleep 10", "newline 3", "wait"], "[ready]\nfd = 3"),
    unit(
        "file",
        &["sleep 10", "replace HERE/ready/file x", "wait"],
        "[ready]\nfile = \"HERE/ready/file\"",
    ),
    unit(
        "http",
        &["http 127.0.0.1:7001 200 fine", "wait"],
        "[ready]\nhttp = \"http://127.0.0.1:7001/\"\nevery = \"100ms\"",
    ),
    unit(
        "tcp",
        &["tcp 127.0.0.1:7002", "wait"],
        "[ready]\ntcp = \"127.0.0.1:7002\"\nevery = \"100ms\"",
    ),
    unit(
        "unix",
        &["remove HERE/ready/unix", "unix HERE/ready/unix", "wait"],
        "[ready]\nunix = \"HERE/ready/unix\"\nevery = \"100ms\"",
    ),
    unit("line", &["sleep 20", "say API listen on 1", "wait"], "[ready]\nlog = \"API listen on\""),
    // Two processes for a moment: its probe.
    unit(
        "asked",
        &["wait"],
        "[ready]\nexec = [\"true\"]\nevery = \"100ms\"\n\
         [health]\nexec = [\"true\"]\nevery = \"1s\"",
    )
    .is(Rest::Ready, 2),
    unit(
        "two-gates",
        &["http 127.0.0.1:7003 200 fine", "notify READY=1", "wait"],
        "[ready]\nnotify = true\nhttp = \"http://127.0.0.1:7003/\"\nevery = \"100ms\"",
    ),
    unit(
        "exporting",
        &["lease HERE/value HERE/exports.env", "wait"],
        "[exports]\nfile = \"HERE/exports.env\"\nrequire = [\"VALUE\"]",
    ),
    unit("using", &["notify READY=1", "wait"], "[ready]\nnotify = true").needs(&["exporting"]),
    unit("using-user", &["wait"], "").needs(&["using"]),
    unit("requiring", &["wait"], "").needs(&["http", "notify"]),
    unit("bound", &["sleep 20", "notify READY=1", "wait"], "[ready]\nnotify = true")
        .bound(&["notify"]),
    unit("bound-twice", &["wait"], "").bound(&["bound"]),
    unit("wanting", &["wait"], ""),
    unit("once", &["exit 0"], "oneshot ").is(Rest::Done, 0),
    unit("once-bound", &["sleep 20", "exit 0"], "oneshot ").bound(&["notify"]).is(Rest::Done, 0),
    unit("after-once", &["wait"], "").needs(&["once"]),
    unit("crashing", &["sleep 20", "exit 1"], "").is(Rest::Never, 1),
    unit("fatal", &["exit 3"], "").is(Rest::Failed, 0),
    unit(
        "deaf",
        &["ignore TERM", "notify READY=1", "wait"],
        "[ready]\nnotify = true\n[stop]\ntimeout = \"100ms\"",
    ),
    unit("holding", &["fork wait", "wait"], "").is(Rest::Ready, 2),
    unit("grouped", &["fork wait", "wait"], "[stop]\nkill = \"group\"").is(Rest::Ready, 2),
    unit("littering", &["litter 200", "wait"], "").is(Rest::Ready, 8),
    unit("flooding", &["spam 3000", "count 3", "wait"], "[log]\nring = \"64K\""),
    unit("counting", &["count 10", "wait"], "[log]\nring = \"128K\""),
    unit("listening", &["serve 3", "wait"], "[socket]\nlisten = [\"HERE/listening.sock\"]"),
    unit(
        "listening-too",
        &["serve 3", "notify READY=1", "wait"],
        "[socket]\nlisten = [\"HERE/listening-too.sock\", \"tcp:127.0.0.1:7010\"]\n\
         [ready]\nnotify = true",
    )
    .needs(&["listening"]),
    unit(
        "beating",
        &["beat 300", "notify READY=1", "wait"],
        "[ready]\nnotify = true\n[health]\nwatchdog = \"30s\"",
    ),
    unit("reloading", &["ignore HUP", "wait"], "[reload]\nsignal = \"HUP\""),
    unit("spare", &["notify READY=1", "wait"], "[ready]\nnotify = true").needs(&["plain"]).spare(),
];

/// The unit of that name.
pub fn find(name: &str) -> &'static Unit {
    UNITS.iter().find(|unit| unit.name == name).unwrap()
}
