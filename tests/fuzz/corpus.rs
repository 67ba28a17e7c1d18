//! What was collected: one file a target, one input a line.
//!
//! A line is an input as Rust would write it between `b"` and `"`, so that a reviewer can read it.
//! Lines that begin with `#` are comments; what stands behind [`FOUND`] was found by `make fuzz`
//! and is written anew by `make fuzz KEEP=1`, what stands before it was written by a person.

use std::fs;
use std::io;
use std::path::Path;

/// Behind this line stands what the fuzzer has found.
pub const FOUND: &str = "# found by make fuzz";

/// The inputs of a target: its file's, and the files of this repository that are such inputs.
///
/// `fuzz` is the folder `tests/fuzz`.
pub fn read(fuzz: &Path, target: &str) -> io::Result<Vec<Vec<u8>>> {
    let text = fs::read_to_string(fuzz.join("corpus").join(target).with_extension("txt"))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut inputs: Vec<Vec<u8>> = lines.map(unescape).collect();
    let root = fuzz.join("../..");
    match target {
        "unit" => {
            for folder in ["units", "tests/config/bad"] {
                collect(&root.join(folder), ".toml", &mut inputs)?;
            }
        }
        "node" => collect(&root.join("units"), "node.toml", &mut inputs)?,
        "state-file" => collect(&root.join("tests/state"), "", &mut inputs)?,
        "foreign-file" => collect(&root.join("units/classic/manifests"), "", &mut inputs)?,
        _ => {}
    }
    Ok(inputs)
}

/// Writes what was found into a target's file.
#[cfg_attr(not(fuzzing), expect(dead_code, reason = "only the fuzzer writes"))]
pub fn write(fuzz: &Path, target: &str, found: &[Vec<u8>]) -> io::Result<()> {
    let path = fuzz.join("corpus").join(target).with_extension("txt");
    let text = fs::read_to_string(&path)?;
    let own = text.split(FOUND).next().unwrap_or_default();
    let mut lines: Vec<String> = found.iter().map(|input| escape(input)).collect();
    lines.retain(|line| !own.lines().any(|known| known == line));
    lines.sort_unstable();
    lines.dedup();
    fs::write(&path, format!("{own}{FOUND}\n{}\n", lines.join("\n")))
}

fn collect(folder: &Path, end: &str, inputs: &mut Vec<Vec<u8>>) -> io::Result<()> {
    let mut paths: Vec<_> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.sort_unstable();
    for path in paths {
        if path.is_dir() {
            collect(&path, end, inputs)?;
        } else if path.to_string_lossy().ends_with(end) {
            inputs.push(fs::read(path)?);
        }
    }
    Ok(())
}

/// As [`u8::escape_ascii`] has it, and `#` too, which would begin a comment.
pub fn escape(input: &[u8]) -> String {
    let line = input.escape_ascii().to_string();
    match line.strip_prefix('#') {
        Some(rest) => format!("\\x23{rest}"),
        None => line,
    }
}

/// Reads such a line; a backslash that nobody wrote stands for itself.
pub fn unescape(line: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = line.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let byte = match (*first, after) {
            (b'\\', [b'n', ..]) => b'\n',
            (b'\\', [b'r', ..]) => b'\r',
            (b'\\', [b't', ..]) => b'\t',
            (b'\\', [byte @ (b'\\' | b'"' | b'\''), ..]) => *byte,
            (b'\\', [b'x', high, low, ..]) if digit(*high).is_some() && digit(*low).is_some() => {
                rest = after.get(2..).unwrap_or_default();
                digit(*high).unwrap_or(0) << 4 | digit(*low).unwrap_or(0)
            }
            (byte, _) => {
                out.push(byte);
                continue;
            }
        };
        out.push(byte);
        rest = rest.get(1..).unwrap_or_default();
    }
    out
}

fn digit(letter: u8) -> Option<u8> {
    char::from(letter).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
