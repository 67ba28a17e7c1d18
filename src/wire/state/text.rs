//! Words and lines: a text as one word, and back.

use crate::machine::Tick;

/// Builds lines.
#[derive(Debug, Default)]
pub(super) struct Writer(pub String);

impl Writer {
    /// Begins a line.
    pub fn key(&mut self, key: &str) -> &mut Self {
        self.0.push_str(key);
        self
    }

    /// A word that needs no care.
    pub fn word(&mut self, word: &str) -> &mut Self {
        self.0.push(' ');
        self.0.push_str(word);
        self
    }

    /// A number.
    pub fn number(&mut self, number: impl Into<u64>) -> &mut Self {
        self.word(&number.into().to_string())
    }

    /// An instant, or none.
    pub fn instant(&mut self, at: Option<Tick>) -> &mut Self {
        match at {
            Some(at) => self.number(at.0),
            None => self.word("-"),
        }
    }

    /// A text, whatever is in it.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.0.push(' ');
        if text.is_empty() {
            self.0.push_str("\\e");
        }
        for char in text.chars() {
            match char {
                ' ' => self.0.push_str("\\s"),
                '\n' => self.0.push_str("\\n"),
                '\\' => self.0.push_str("\\\\"),
                char => self.0.push(char),
            }
        }
        self
    }

    /// Ends the line.
    pub fn end(&mut self) {
        self.0.push('\n');
    }
}

/// Takes a line apart.
#[derive(Debug)]
pub(super) struct Words<'a>(core::str::Split<'a, char>);

impl<'a> Words<'a> {
    pub fn of(line: &'a str) -> Self {
        Self(line.split(' '))
    }

    pub fn word(&mut self) -> Option<&'a str> {
        self.0.next()
    }

    pub fn number<T: TryFrom<u64>>(&mut self) -> Option<T> {
        let word = self.word()?;
        let is_plain = word.bytes().all(|byte| byte.is_ascii_digit());
        word.parse::<u64>().ok().filter(|_| is_plain).and_then(|number| T::try_from(number).ok())
    }

    pub fn flag(&mut self) -> Option<bool> {
        match self.word()? {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        }
    }

    pub fn tick(&mut self) -> Option<Tick> {
        self.number().map(Tick)
    }

    /// `Some(None)` is no instant, `None` is nonsense.
    #[expect(clippy::option_option, reason = "an absent instant is a value, too")]
    pub fn instant(&mut self) -> Option<Option<Tick>> {
        let mut ahead = Words(self.0.clone());
        if ahead.word()? == "-" {
            *self = ahead;
            return Some(None);
        }
        self.tick().map(Some)
    }

    pub fn text(&mut self) -> Option<String> {
        let word = self.word()?;
        if word.is_empty() {
            return None;
        }
        let mut text = String::new();
        let mut chars = word.chars();
        while let Some(char) = chars.next() {
            match char {
                '\\' => match chars.next()? {
                    's' => text.push(' '),
                    'n' => text.push('\n'),
                    '\\' => text.push('\\'),
                    'e' if word == "\\e" => {}
                    _ => return None,
                },
                char => text.push(char),
            }
        }
        Some(text)
    }

    /// Nothing may follow.
    pub fn end(&mut self) -> Option<()> {
        self.word().is_none().then_some(())
    }
}
