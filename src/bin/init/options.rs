//! The command line. The kernel puts words there, too, so as PID 1 unknown ones are only told.

use std::path::PathBuf;

use super::keeper::WINDOW_MS;

/// What can be written.
pub const USAGE: &str = "\
usage: pisup-init [--hooks DIR] [--rescue PROGRAM] [--supervisor PROGRAM] [--hang-after SECONDS]
                  [--settled-after SECONDS] [-- ARGUMENTS OF pisup supervise]";

/// Where a rescue shell may be.
const SHELLS: [&str; 5] =
    ["/bin/sh", "/bin/busybox", "/usr/bin/busybox", "/sbin/busybox", "/busybox"];

/// What was written.
pub struct Options {
    /// The board's own early steps.
    pub hooks: PathBuf,
    /// Files to try as a rescue shell, in order.
    pub rescue: Vec<String>,
    /// The supervisor's program.
    pub supervisor: String,
    /// What it is given after `supervise`.
    pub arguments: Vec<String>,
    /// Milliseconds without an answer after which a supervisor that wants to be watched hangs.
    pub hang_after_ms: u64,
    /// Milliseconds of life after which the death of a supervisor is an accident.
    pub settled_after_ms: u64,
}

impl Options {
    /// The options, and a sentence for each word that is none.
    pub fn parse(words: Vec<String>) -> (Self, Vec<String>) {
        let mut options = Self {
            hooks: PathBuf::from("/etc/pisup/early.d"),
            rescue: SHELLS.map(str::to_owned).to_vec(),
            supervisor: beside_this_program(),
            arguments: Vec::new(),
            hang_after_ms: 30_000,
            settled_after_ms: WINDOW_MS,
        };
        let mut unknown = Vec::new();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--" => options.arguments = words.by_ref().collect(),
                "--hooks" | "--rescue" | "--supervisor" | "--hang-after" | "--settled-after" => {
                    let value = words.next();
                    if !value.is_some_and(|value| options.take(&word, value)) {
                        unknown.push(format!("{word} wants another value"));
                    }
                }
                _ => unknown.push(format!("{word} is no option")),
            }
        }
        (options, unknown)
    }

    fn take(&mut self, option: &str, value: String) -> bool {
        match option {
            "--hooks" => self.hooks = value.into(),
            "--rescue" => self.rescue.insert(0, value),
            "--supervisor" => self.supervisor = value,
            _ => match (value.parse::<u64>(), option) {
                (Ok(seconds @ 0..=3600), "--settled-after") => {
                    self.settled_after_ms = seconds * 1000;
                }
                (Ok(seconds @ 1..=3600), _) => self.hang_after_ms = seconds * 1000,
                _ => return false,
            },
        }
        true
    }
}

/// `pisup` in the directory of this program.
fn beside_this_program() -> String {
    let own = std::env::current_exe().ok();
    let beside = own.map(|path| path.with_file_name("pisup")).filter(|path| path.is_file());
    beside.map_or_else(|| "pisup".to_owned(), |path| path.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> (Options, Vec<String>) {
        Options::parse(line.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn options_are_taken_apart() {
        let (options, unknown) =
            parse("--hang-after 3 --settled-after 0 --rescue /r --hooks /h -- --run /x --hooks");
        assert_eq!(unknown, Vec::<String>::new());
        assert_eq!(options.hang_after_ms, 3000);
        assert_eq!(options.settled_after_ms, 0);
        assert_eq!(options.hooks, PathBuf::from("/h"));
        assert_eq!(options.rescue.first().map(String::as_str), Some("/r"));
        assert_eq!(options.arguments, ["--run", "/x", "--hooks"]);
    }

    #[test]
    fn what_the_kernel_adds_is_told_and_passed_over() {
        let (options, unknown) = parse("splash --hang-after soon --supervisor /s --rescue");
        assert_eq!(options.supervisor, "/s");
        assert_eq!(options.hang_after_ms, 30_000);
        assert_eq!(options.settled_after_ms, 60_000);
        assert_eq!(
            unknown,
            [
                "splash is no option",
                "--hang-after wants another value",
                "--rescue wants another value"
            ]
        );
    }
}
