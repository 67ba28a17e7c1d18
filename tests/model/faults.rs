//! Proves the model: plants faults in copies of the machine, one by one, and asks the model about
//! each. `make faults` builds and runs it.
//!
//! A fault is a file in `tests/model/faults`: a sentence, the file it goes into, the lines that are
//! taken out (`-`) and those that take their place (`+`). It has to apply at exactly one place, and
//! the model has to fail on it and on nothing else: on the machine as it is, it passes.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;

type Result<T> = std::result::Result<T, String>;

/// A walk that takes longer than this has lost its way: seconds.
const PATIENCE: &str = "300";

struct Fault {
    name: String,
    sentence: String,
    file: String,
    old: String,
    new: String,
}

fn main() -> ExitCode {
    let only = std::env::args().nth(1);
    match run(only.as_deref()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            say(&format!("faults: {why}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether every fault was caught.
fn run(only: Option<&str>) -> Result<bool> {
    let mut faults = read_faults(Path::new("tests/model/faults"))?;
    faults.retain(|fault| only.is_none_or(|only| fault.name.contains(only)));
    let total = faults.len();
    if let Some(story) = verdict("none", |_| Ok(()))? {
        return Err(format!("the model fails on the machine as it is:\n{story}"));
    }
    let next = Mutex::new(faults.into_iter());
    let caught = Mutex::new(0);
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(fault) = next.lock().ok().and_then(|mut faults| faults.next()) {
                    let is_caught = report(&fault);
                    if let Ok(mut caught) = caught.lock() {
                        *caught += usize::from(is_caught);
                    }
                }
            });
        }
    });
    let caught = caught.into_inner().unwrap_or_default();
    say(&format!("caught {caught} of {total}"));
    Ok(caught == total)
}

/// Tells what became of a fault, and whether it was caught.
fn report(fault: &Fault) -> bool {
    let Fault { name, sentence, .. } = fault;
    let verdict = verdict(name, |machine| plant(fault, machine));
    let line = match &verdict {
        Ok(Some(why)) => format!("caught     {name}: {sentence}\n           {why}"),
        Ok(None) => format!("SURVIVED   {name}: {sentence}"),
        Err(why) => format!("UNPLANTED  {name}: {why}"),
    };
    say(&line);
    matches!(verdict, Ok(Some(_)))
}

fn read_faults(folder: &Path) -> Result<Vec<Fault>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(|why| format!("{}: {why}", folder.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    paths.sort();
    paths.iter().map(|path| read_fault(path)).collect()
}

fn read_fault(path: &Path) -> Result<Fault> {
    let text = fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()))?;
    let mut lines = text.lines();
    let (sentence, file) =
        lines.next().zip(lines.next()).ok_or_else(|| format!("{}: too short", path.display()))?;
    let (mut old, mut new) = (String::new(), String::new());
    for line in lines {
        let (side, rest) = match (line.strip_prefix('-'), line.strip_prefix('+')) {
            (Some(rest), _) => (&mut old, rest),
            (None, Some(rest)) => (&mut new, rest),
            (None, None) => return Err(format!("{}: neither - nor +: {line}", path.display())),
        };
        side.push_str(rest);
        side.push('\n');
    }
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let (sentence, file) = (sentence.to_owned(), file.to_owned());
    Ok(Fault { name: name.unwrap_or_default(), sentence, file, old, new })
}

/// Puts a fault into a copy of the tree.
fn plant(fault: &Fault, tree: &Path) -> Result<()> {
    let path = tree.join(&fault.file);
    let text = fs::read_to_string(&path).map_err(|why| format!("{}: {why}", fault.file))?;
    match text.matches(&fault.old).count() {
        1 => write(&path, &text.replace(&fault.old, &fault.new)),
        count => Err(format!("its lines stand {count} times in {}", fault.file)),
    }
}

/// What the model says of a copy of the machine: nothing, or what does not hold.
fn verdict(name: &str, change: impl FnOnce(&Path) -> Result<()>) -> Result<Option<String>> {
    let tree = Path::new("target/faults").join(name);
    let machine = tree.join("src/machine");
    let alone = tree.join("tests/model");
    for folder in [&machine, &alone] {
        fs::create_dir_all(folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    }
    for entry in fs::read_dir("src/machine").map_err(|why| why.to_string())? {
        let from = entry.map_err(|why| why.to_string())?.path();
        let to = machine.join(from.file_name().unwrap_or_default());
        fs::copy(&from, &to).map_err(|why| format!("{}: {why}", from.display()))?;
    }
    let root = alone.join("alone.rs");
    fs::copy("tests/model/alone.rs", &root).map_err(|why| why.to_string())?;
    change(&tree)?;
    let library = tree.join("libpisup.rlib");
    rustc(&["--crate-type", "rlib", "--crate-name", "pisup"], &root, &library)?;
    let with = format!("pisup={}", library.display());
    let model = tree.join("model");
    rustc(&["--test", "--extern", &with], Path::new("tests/model.rs"), &model)?;
    let output = Command::new("timeout")
        .args([PATIENCE, &model.display().to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|why| format!("timeout: {why}"))?;
    let story = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    let _ = fs::remove_dir_all(&tree);
    Ok((!output.status.success()).then(|| in_short(&story)))
}

/// The first sentence on what does not hold.
fn in_short(story: &str) -> String {
    let lines: Vec<&str> = story.lines().collect();
    let found = lines.iter().position(|line| line.trim_start().starts_with("=>"));
    let found = found.and_then(|at| lines.get(at));
    let check = || lines.iter().find(|line| line.contains("left:"));
    found.or_else(check).map_or("it did not end", |line| line.trim()).to_owned()
}

fn rustc(args: &[&str], source: &Path, to: &Path) -> Result<()> {
    let flags = ["--edition", "2024", "-C", "opt-level=1", "-C", "debug-assertions=on"];
    let output = Command::new("rustc")
        .args(flags)
        .args(["--cap-lints", "allow"])
        .args(args)
        .arg("-o")
        .arg(to)
        .arg(source)
        .output()
        .map_err(|why| format!("rustc: {why}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("does not compile:\n{}", String::from_utf8_lossy(&output.stderr)))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|why| format!("{}: {why}", path.display()))
}

fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
