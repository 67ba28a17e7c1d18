//! Changes a value in a TOML text that a person wrote, and leaves all else of it alone.
//!
//! It knows lines of the form `key = "value"  # comment`, also behind a `#`: that is how profiles
//! write what may be said and need not be.

/// A line that says a key, or would if it were no comment.
struct Line<'a> {
    is_comment: bool,
    /// What stands behind the value, with its `#`.
    remark: &'a str,
    /// Where that begins.
    remark_at: usize,
}

/// Whether a section has a key.
pub(super) fn has(text: &str, section: &str, key: &str) -> bool {
    in_section(text, section).any(|(_, line)| read(line, key).is_some_and(|line| !line.is_comment))
}

/// The text with `key = "value"` in a section; `""` is what stands before the first header.
pub(super) fn set(text: &str, section: &str, key: &str, value: &str) -> String {
    let lines = || in_section(text, section);
    let found = |is_comment| {
        lines().find_map(|(index, line)| {
            read(line, key).filter(|read| read.is_comment == is_comment).map(|read| (index, read))
        })
    };
    let column = lines().find_map(|(_, line)| active_equals(line)).unwrap_or(0);
    let head = format!("{key:<width$}= {}", quoted(value), width = column.max(key.len() + 1));
    let mut all: Vec<String> = text.lines().map(str::to_owned).collect();
    if let Some((index, line)) = found(false).or_else(|| found(true)) {
        let column = if line.remark.is_empty() { 0 } else { line.remark_at };
        // What is said of the other choice is said of the one that was made.
        let remark = line.remark.replace(&format!("or {}", quoted(value)), "");
        let remark = if remark.trim_matches(['#', ' ']).is_empty() { "" } else { line.remark };
        let gap = column.max(head.len() + usize::from(!remark.is_empty()) * 2);
        let new = format!("{head:<gap$}{remark}").trim_end().to_owned();
        if let Some(old) = all.get_mut(index) {
            *old = new;
        }
        return joined(&all);
    }
    let last = lines().filter(|(_, line)| active_equals(line).is_some()).last();
    match last {
        Some((index, _)) => all.insert(index + 1, head),
        None if section.is_empty() => all.insert(0, head),
        None => all.extend([String::new(), format!("[{section}]"), head]),
    }
    joined(&all)
}

fn joined(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The lines of a section with their numbers, without its header.
fn in_section<'a>(text: &'a str, section: &str) -> impl Iterator<Item = (usize, &'a str)> {
    let mut current = String::new();
    text.lines().enumerate().filter(move |(_, line)| {
        let header = line.trim().strip_prefix('[').and_then(|line| line.split_once(']'));
        if let Some((name, _)) = header {
            name.trim().clone_into(&mut current);
        }
        header.is_none() && current == section
    })
}

/// Where the `=` of a line stands that says some key.
fn active_equals(line: &str) -> Option<usize> {
    let at = line.find('=')?;
    let key = line.get(..at)?.trim();
    let is_key = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (!key.is_empty() && key.bytes().all(is_key)).then_some(at)
}

fn read<'a>(line: &'a str, key: &str) -> Option<Line<'a>> {
    let bare = line.trim_start();
    let (is_comment, bare) = match bare.strip_prefix('#') {
        Some(bare) => (true, bare.trim_start()),
        None => (false, bare),
    };
    let behind = bare.strip_prefix(key)?.trim_start().strip_prefix('=')?;
    let value = behind.trim_start().strip_prefix('"')?;
    let remark = value.split_once('"')?.1.trim();
    let remark_at = if remark.is_empty() { line.len() } else { line.rfind(remark)? };
    Some(Line { is_comment, remark, remark_at })
}

/// A basic string of TOML.
fn quoted(value: &str) -> String {
    let mut out = String::from("\"");
    for letter in value.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            letter if letter.is_control() => out += &format!("\\u{:04x}", u32::from(letter)),
            letter => out.push(letter),
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# Who it is.
role      = \"master\"             # or \"worker\"
# master  = \"192.168.1.10\"       # needed on a worker
# interface = \"eth0\"             # default: the one with the route
profile   = \"classic\"

[network]
cidr    = \"10.1.0.0/16\"          # for all pods
# name = \"elsewhere\"

[vars]
arch = \"arm\"
";

    #[test]
    fn a_value_is_changed_where_it_stands() {
        let text = set(TEXT, "", "role", "worker");
        let text = set(&text, "", "master", "10.0.0.1");
        let text = set(&text, "", "interface", "wlan0");
        let text = set(&text, "network", "cidr", "10.244.0.0/16");
        let text = set(&text, "vars", "arch", "arm64");
        let wanted = TEXT
            .replace("role      = \"master\"             # or \"worker\"", "role      = \"worker\"")
            .replace("# master  = \"192.168.1.10\"  ", "master    = \"10.0.0.1\"      ")
            .replace("# interface = \"eth0\"  ", "interface = \"wlan0\"   ")
            .replace("cidr    = \"10.1.0.0/16\"  ", "cidr    = \"10.244.0.0/16\"")
            .replace("\"arm\"", "\"arm64\"");
        assert_eq!(text, wanted);
        assert_eq!(set(TEXT, "", "role", "master"), TEXT, "what is right already stays");
    }

    #[test]
    fn what_is_not_there_is_added() {
        let text = set(TEXT, "", "name", "pi-1");
        assert_eq!(text, TEXT.replace("\"classic\"\n", "\"classic\"\nname      = \"pi-1\"\n"));
        assert_eq!(
            set("a = \"1\"\n", "network", "cidr", "x"),
            "a = \"1\"\n\n[network]\ncidr = \"x\"\n"
        );
        assert_eq!(set("", "", "a", "b"), "a = \"b\"\n");
        assert!(has(TEXT, "vars", "arch") && !has(TEXT, "", "master") && !has(TEXT, "", "arch"));
    }

    #[test]
    fn a_value_stays_a_value() {
        assert_eq!(set("", "", "a", "x\"\nb = \"\\"), "a = \"x\\\"\\u000ab = \\\"\\\\\"\n");
    }
}
