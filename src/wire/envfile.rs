//! `KEY=VALUE` files: environment files and the exports of units (`subnet.env`).
//!
//! The grammar is that of systemd's `EnvironmentFile`: `#` and `;` comments, single and double
//! quotes (also over several lines), a backslash at the end of a line joins it with the next, the
//! last of two equal keys wins. Nothing is expanded, and nothing is ever executed.
//!
//! A line that is wrong is told and passed over, the others count. A quote that is never closed is
//! an error and gives no value: that is how a half-written file looks.

use std::fmt;

use crate::machine::Values;

/// Longest file, in bytes: half of what one string of an environment may have (128 KiB).
pub const MAX_BYTES: usize = 64 * 1024;

/// So many errors are told; a file with more is not one of ours.
pub const MAX_ERRORS: usize = 16;

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvFile {
    /// The values.
    pub values: Values,
    /// What was passed over, at most [`MAX_ERRORS`].
    pub errors: Vec<LineError>,
}

/// One wrong line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: Wrong,
}

/// What can be wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Text without `=`.
    NoEquals(String),
    /// This cannot name a variable.
    BadName(String),
    /// A quote is opened and never closed.
    OpenQuote(char),
    /// The value is not UTF-8.
    NotUtf8(String),
    /// The value has a zero byte, which no environment can carry.
    ZeroByte(String),
    /// The file has more than [`MAX_BYTES`]; none of it was read.
    TooLong(usize),
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line;
        match &self.what {
            Wrong::NoEquals(text) => write!(f, "line {line}: {text:?} is not KEY=VALUE"),
            Wrong::BadName(name) => match name.strip_prefix("export ") {
                Some(rest) if is_name(rest.as_bytes()) => {
                    write!(f, "line {line}: write {rest}=..., without \"export\"")
                }
                _ => write!(
                    f,
                    "line {line}: {name:?} is not a name: letters, digits and _, no digit first"
                ),
            },
            Wrong::OpenQuote(quote) => {
                write!(f, "line {line}: the {quote} that opens here is never closed")
            }
            Wrong::NotUtf8(name) => write!(f, "line {line}: the value of {name} is not UTF-8"),
            Wrong::ZeroByte(name) => write!(f, "line {line}: the value of {name} has a zero byte"),
            Wrong::TooLong(len) => {
                write!(f, "line {line}: {len} bytes; a file may have {MAX_BYTES}, none was read")
            }
        }
    }
}

/// Reads a whole file.
#[must_use]
pub fn parse(text: &[u8]) -> EnvFile {
    let mut file = EnvFile::default();
    if text.len() > MAX_BYTES {
        file.tell(1, Wrong::TooLong(text.len()));
        return file;
    }
    let mut reader = Reader { rest: text, line: 1 };
    while reader.skip_blank() {
        let line = reader.line;
        match reader.assignment() {
            Ok((key, value)) => {
                file.values.insert(key, value);
            }
            Err(what) => file.tell(line, what),
        }
    }
    file
}

impl EnvFile {
    fn tell(&mut self, line: usize, what: Wrong) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(LineError { line, what });
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    line: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        if *first == b'\n' {
            self.line += 1;
        }
        Some(*first)
    }

    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn skip_line(&mut self) {
        while self.next().is_some_and(|byte| byte != b'\n') {}
    }

    /// Goes to the next assignment; `false` at the end of the file.
    fn skip_blank(&mut self) -> bool {
        while let Some(byte) = self.peek() {
            match byte {
                b'#' | b';' => self.skip_line(),
                byte if byte.is_ascii_whitespace() => _ = self.next(),
                _ => return true,
            }
        }
        false
    }

    fn assignment(&mut self) -> Result<(String, String), Wrong> {
        let mut key = Vec::new();
        loop {
            match self.next() {
                Some(b'=') => break,
                Some(b'\n') | None => return Err(Wrong::NoEquals(excerpt(&key))),
                Some(byte) => key.push(byte),
            }
        }
        let value = self.value()?;
        let key = key.trim_ascii_end();
        if !is_name(key) {
            return Err(Wrong::BadName(excerpt(key)));
        }
        if value.contains(&0) {
            return Err(Wrong::ZeroByte(excerpt(key)));
        }
        match String::from_utf8(value) {
            Ok(value) => Ok((String::from_utf8_lossy(key).into_owned(), value)),
            Err(_) => Err(Wrong::NotUtf8(excerpt(key))),
        }
    }

    /// The value up to the end of its line; quoted parts may stand beside each other.
    fn value(&mut self) -> Result<Vec<u8>, Wrong> {
        let mut out = Vec::new();
        loop {
            match self.peek() {
                None => return Ok(out),
                Some(b'\n') => {
                    self.next();
                    return Ok(out);
                }
                Some(b'\'') => self.single(&mut out)?,
                Some(b'"') => self.double(&mut out)?,
                Some(byte) if byte.is_ascii_whitespace() => _ = self.next(),
                Some(_) => {
                    self.bare(&mut out);
                    return Ok(out);
                }
            }
        }
    }

    fn bare(&mut self, out: &mut Vec<u8>) {
        // White space at the end goes, unless a backslash asked for it.
        let mut kept = out.len();
        while let Some(byte) = self.next() {
            match byte {
                b'\n' => break,
                b'\\' => match self.next() {
                    Some(b'\n') | None => {}
                    Some(escaped) => {
                        out.push(escaped);
                        kept = out.len();
                    }
                },
                byte => {
                    out.push(byte);
                    if !byte.is_ascii_whitespace() {
                        kept = out.len();
                    }
                }
            }
        }
        out.truncate(kept);
    }

    fn single(&mut self, out: &mut Vec<u8>) -> Result<(), Wrong> {
        self.next();
        loop {
            match self.next() {
                Some(b'\'') => return Ok(()),
                Some(byte) => out.push(byte),
                None => return Err(Wrong::OpenQuote('\'')),
            }
        }
    }

    fn double(&mut self, out: &mut Vec<u8>) -> Result<(), Wrong> {
        self.next();
        loop {
            match self.next() {
                Some(b'"') => return Ok(()),
                Some(b'\\') => match self.next() {
                    Some(byte @ (b'"' | b'\\' | b'`' | b'$')) => out.push(byte),
                    Some(b'\n') => {}
                    Some(byte) => out.extend([b'\\', byte]),
                    None => return Err(Wrong::OpenQuote('"')),
                },
                Some(byte) => out.push(byte),
                None => return Err(Wrong::OpenQuote('"')),
            }
        }
    }
}

fn is_name(key: &[u8]) -> bool {
    let mut bytes = key.iter();
    let is_first = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    bytes.next().is_some_and(is_first) && bytes.all(|byte| is_first(byte) || byte.is_ascii_digit())
}

/// Enough of a wrong line to find it, safe to print.
fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(text: &str) -> String {
        let file = parse(text.as_bytes());
        assert_eq!(file.errors, [], "{text:?}");
        file.values.get("A").unwrap_or_else(|| panic!("{text:?}")).clone()
    }

    fn error(text: &[u8]) -> String {
        let file = parse(text);
        let [error] = file.errors.as_slice() else { panic!("{text:?}: {file:?}") };
        error.to_string()
    }

    #[test]
    fn what_flannel_writes() {
        let file = parse(
            b"FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.78.1/24\nFLANNEL_MTU=1472\n\
              FLANNEL_IPMASQ=false\n",
        );
        assert_eq!(file.errors, []);
        assert_eq!(file.values.len(), 4);
        assert_eq!(file.values["FLANNEL_SUBNET"], "10.1.78.1/24");
    }

    #[test]
    fn quotes_and_white_space() {
        for (text, want) in [
            ("A=b", "b"),
            ("  A =  b c  ", "b c"),
            ("A=b\r\n", "b"),
            ("A=", ""),
            ("A=\n", ""),
            ("A=''", ""),
            ("A='b  '", "b  "),
            ("A=\"b  \"", "b  "),
            ("A='a'\"b\" 'c'", "abc"),
            ("A='a\\b$c'", "a\\b$c"),
            (r#"A="a\"b\\c\$d\`e\nf""#, r#"a"b\c$d`e\nf"#),
            ("A=a'b'c", "a'b'c"),
            ("A=a # no comment", "a # no comment"),
            ("A=a\\\nb", "ab"),
            ("A=\"a\\\nb\"", "ab"),
            ("A='a\nb'", "a\nb"),
            ("A=a\\ ", "a "),
            ("A=b=c", "b=c"),
            ("A=$HOME ${X} `id`", "$HOME ${X} `id`"),
            ("A=1\nA=2", "2"),
            ("# A=1\n; A=2\n\n\t# x \\\nA=3", "3"),
        ] {
            assert_eq!(value(text), want, "{text:?}");
        }
    }

    #[test]
    fn wrong_lines_are_told_and_the_others_count() {
        let file = parse(b"A=1\nnonsense\n\n2B=x\nC=3");
        assert_eq!(file.values.keys().collect::<Vec<_>>(), ["A", "C"]);
        let told: Vec<_> = file.errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "line 2: \"nonsense\" is not KEY=VALUE",
                "line 4: \"2B\" is not a name: letters, digits and _, no digit first",
            ]
        );
    }

    #[test]
    fn every_error_is_a_sentence() {
        for (text, want) in [
            (&b"export A=1"[..], "line 1: write A=..., without \"export\""),
            (b"\n=1", "line 2: \"\" is not a name: letters, digits and _, no digit first"),
            (b"A='b", "line 1: the ' that opens here is never closed"),
            (b"\nA=\"b\n\n", "line 2: the \" that opens here is never closed"),
            (b"A=\"b\\", "line 1: the \" that opens here is never closed"),
            (b"A=\xff", "line 1: the value of A is not UTF-8"),
            (b"A=a\0b", "line 1: the value of A has a zero byte"),
        ] {
            assert_eq!(error(text), want);
            assert!(parse(text).values.is_empty());
        }
    }

    #[test]
    fn bounded() {
        let mut long = b"A=1\nB=".to_vec();
        long.resize(MAX_BYTES, b'x');
        assert_eq!(parse(&long).values.len(), 2);
        long.push(b'x');
        assert_eq!(error(&long), "line 1: 65537 bytes; a file may have 65536, none was read");
        assert!(parse(&long).values.is_empty());
        assert_eq!(parse("x\n".repeat(1000).as_bytes()).errors.len(), MAX_ERRORS);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let file = parse(&bytes);
            for (key, value) in &file.values {
                prop_assert!(is_name(key.as_bytes()) && !value.contains('\0'));
            }
        }

        #[test]
        fn single_quotes_carry_anything_else(value in "[^'\0]{0,80}") {
            let file = parse(format!("A='{value}'").as_bytes());
            prop_assert_eq!(file.values.get("A"), Some(&value));
        }
    }
}
