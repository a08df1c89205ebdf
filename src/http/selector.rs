//! Turns a Kubernetes label selector into a question about labels, by the grammar of
//! `labels.Parse` (and its oddities: `a in (,b)` contains the empty value, `!a` matches what has
//! no `a`).
//!
//! It reads a bounded text once and never looks anything up.

use std::fmt;

/// Bytes that a selector may have. Far beyond what an object can store, far below what hurts.
pub(super) const MAX_LENGTH: usize = 8 << 10;

/// A parsed selector: all of its requirements must hold; none means everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Selector<'a>(Vec<Requirement<'a>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement<'a> {
    key: &'a str,
    test: Test<'a>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test<'a> {
    Exists,
    Absent,
    Is(&'a str),
    IsNot(&'a str),
    In(Vec<&'a str>),
    NotIn(Vec<&'a str>),
    Above(i64),
    Below(i64),
}

/// What is wrong with a selector, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unable to parse labelSelector: {what} (at byte {at})")]
pub(super) struct BadSelector {
    what: String,
    at: usize,
}

impl<'a> Selector<'a> {
    /// Reads a selector.
    pub(super) fn parse(text: &'a str) -> Result<Self, BadSelector> {
        if text.len() > MAX_LENGTH {
            let what = format!("it has {} bytes, at most {MAX_LENGTH} are read", text.len());
            return Err(BadSelector { what, at: MAX_LENGTH });
        }
        Parser { text, at: 0 }.requirements().map(Self)
    }

    /// Whether an object with these labels is meant.
    pub(super) fn matches<'l>(&self, label: impl Fn(&str) -> Option<&'l str>) -> bool {
        self.0.iter().all(|requirement| requirement.test.holds(label(requirement.key)))
    }

    /// The only value that `key` may have, where a requirement says so: a way to an index.
    pub(super) fn exact(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find_map(|requirement| match requirement.test {
            Test::Is(value) if requirement.key == key => Some(value),
            _ => None,
        })
    }
}

impl Test<'_> {
    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match self {
            Self::Exists => value.is_some(),
            Self::Absent => value.is_none(),
            Self::Is(wanted) => value == Some(*wanted),
            Self::IsNot(unwanted) => value != Some(*unwanted),
            Self::In(wanted) => value.is_some_and(|value| wanted.contains(&value)),
            Self::NotIn(unwanted) => value.is_none_or(|value| !unwanted.contains(&value)),
            Self::Above(limit) => number().is_some_and(|number| number > *limit),
            Self::Below(limit) => number().is_some_and(|number| number < *limit),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Open,
    Close,
    Comma,
    Not,
    Equal,
    NotEqual,
    Above,
    Below,
    End,
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Word(word) => word,
            Self::Open => "(",
            Self::Close => ")",
            Self::Comma => ",",
            Self::Not => "!",
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Above => ">",
            Self::Below => "<",
            Self::End => "",
        })
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    /// The next token and the place behind it.
    fn scan(&self) -> (Token<'a>, usize) {
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        let is_special = |byte: &u8| matches!(byte, b'=' | b'!' | b'(' | b')' | b',' | b'>' | b'<');
        let bytes = self.text.as_bytes();
        let start = self.at + bytes[self.at..].iter().take_while(|byte| is_space(byte)).count();
        let second = bytes.get(start + 1);
        let (token, length) = match (bytes.get(start), second) {
            (None, _) => (Token::End, 0),
            (Some(b'('), _) => (Token::Open, 1),
            (Some(b')'), _) => (Token::Close, 1),
            (Some(b','), _) => (Token::Comma, 1),
            (Some(b'>'), _) => (Token::Above, 1),
            (Some(b'<'), _) => (Token::Below, 1),
            (Some(b'='), Some(b'=')) => (Token::Equal, 2),
            (Some(b'='), _) => (Token::Equal, 1),
            (Some(b'!'), Some(b'=')) => (Token::NotEqual, 2),
            (Some(b'!'), _) => (Token::Not, 1),
            _ => {
                let length = bytes[start..]
                    .iter()
                    .take_while(|byte| !is_space(byte) && !is_special(byte))
                    .count();
                // Every byte that ends a word is ASCII, so both ends are character boundaries.
                (Token::Word(&self.text[start..start + length]), length)
            }
        };
        (token, start + length)
    }

    fn peek(&self) -> Token<'a> {
        self.scan().0
    }

    fn next(&mut self) -> Token<'a> {
        let (token, behind) = self.scan();
        self.at = behind;
        token
    }

    fn fail<T>(&self, what: impl Into<String>) -> Result<T, BadSelector> {
        Err(BadSelector { what: what.into(), at: self.at })
    }

    fn requirements(mut self) -> Result<Vec<Requirement<'a>>, BadSelector> {
        let mut all = Vec::new();
        if self.peek() == Token::End {
            return Ok(all);
        }
        loop {
            all.push(self.requirement()?);
            match self.next() {
                Token::End => return Ok(all),
                Token::Comma => {}
                found => {
                    return self.fail(format!("found '{found}', expected: ',' or 'end of string'"));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement<'a>, BadSelector> {
        let absent = self.peek() == Token::Not;
        if absent {
            self.next();
        }
        let key = match self.next() {
            Token::Word(key) => key,
            found => {
                return self
                    .fail(format!("found '{found}', expected: !, identifier, or 'end of string'"));
            }
        };
        if !is_key(key) {
            return self.fail(format!("{key:?} is not a label key"));
        }
        if absent {
            return Ok(Requirement { key, test: Test::Absent });
        }
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Ok(Requirement { key, test: Test::Exists });
        }
        let test = match self.next() {
            Token::Equal => Test::Is(self.value()?),
            Token::NotEqual => Test::IsNot(self.value()?),
            Token::Above => Test::Above(self.number()?),
            Token::Below => Test::Below(self.number()?),
            Token::Word("in") => Test::In(self.values()?),
            Token::Word("notin") => Test::NotIn(self.values()?),
            found => {
                return self.fail(format!("found '{found}', expected: in, notin, =, ==, !=, >, <"));
            }
        };
        Ok(Requirement { key, test })
    }

    /// The value of a comparison; nothing before a comma or the end is the empty value.
    fn value(&mut self) -> Result<&'a str, BadSelector> {
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Ok("");
        }
        match self.next() {
            Token::Word(value) => self.checked(value),
            found => self.fail(format!("found '{found}', expected: identifier")),
        }
    }

    fn number(&mut self) -> Result<i64, BadSelector> {
        let value = self.value()?;
        value.parse().or_else(|_| self.fail(format!("{value:?} is not an integer")))
    }

    fn checked(&self, value: &'a str) -> Result<&'a str, BadSelector> {
        if is_value(value) {
            Ok(value)
        } else {
            self.fail(format!("{value:?} is not a label value"))
        }
    }

    /// A list of values in parentheses. An empty place between commas is the empty value.
    fn values(&mut self) -> Result<Vec<&'a str>, BadSelector> {
        match self.next() {
            Token::Open => {}
            found => return self.fail(format!("found '{found}' expected: '('")),
        }
        if self.peek() == Token::Close {
            return self.fail("for 'in', 'notin' operators, values set can't be empty");
        }
        let mut values = Vec::new();
        loop {
            values.push(match self.peek() {
                Token::Word(value) => {
                    self.next();
                    self.checked(value)?
                }
                Token::Comma | Token::Close => "",
                found => {
                    return self.fail(format!("found '{found}', expected: ',', or identifier"));
                }
            });
            match self.next() {
                Token::Close => return Ok(values),
                Token::Comma => {}
                found => return self.fail(format!("found '{found}', expected: ',' or ')'")),
            }
        }
    }
}

/// `[prefix/]name`: the prefix a DNS subdomain, the name as a value but not empty.
fn is_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && !name.is_empty() && is_value(name),
        None => !key.is_empty() && is_value(key),
    }
}

/// At most 63 letters, digits, `-`, `_` and `.`, a letter or digit at both ends; or nothing.
fn is_value(value: &str) -> bool {
    let bytes = value.as_bytes();
    let at_end = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    bytes.len() <= 63
        && at_end(bytes.first())
        && at_end(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

fn is_subdomain(prefix: &str) -> bool {
    let lower = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    prefix.len() <= 253
        && prefix.split('.').all(|part| {
            let bytes = part.as_bytes();
            bytes.first().is_some_and(lower)
                && bytes.last().is_some_and(lower)
                && bytes.iter().all(|byte| lower(byte) || *byte == b'-')
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LABELS: [(&str, &str); 3] = [("a", "b"), ("env", "prod"), ("n", "7")];

    fn label(key: &str) -> Option<&'static str> {
        LABELS.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    #[test]
    fn every_operator_asks_what_labels_parse_asks() {
        for (text, matches) in [
            ("", true),
            (" \t", true),
            ("a=b", true),
            ("a==b", true),
            (" a = b ", true),
            ("a=c", false),
            ("x=", false),
            ("a=", false),
            ("a!=b", false),
            ("a!=c", true),
            ("x!=c", true),
            ("a in (b,c)", true),
            ("a in (c)", false),
            ("a in (,b)", true),
            ("x in (,)", false),
            ("a in(b)", true),
            ("a notin (b)", false),
            ("a notin (c)", true),
            ("x notin (c)", true),
            ("a", true),
            ("x", false),
            ("!a", false),
            ("! x", true),
            ("n>6", true),
            ("n>7", false),
            ("n < 8", true),
            ("a>1", false),
            ("x<1", false),
            ("a=b,env in (prod,dev),!x", true),
            ("a=b,env notin (prod)", false),
            ("in in (in)", false),
            ("notin", false),
            ("example.com/x=y", false),
        ] {
            let selector = Selector::parse(text).unwrap();
            assert_eq!(selector.matches(label), matches, "{text}");
        }
    }

    #[test]
    fn what_labels_parse_refuses_is_refused_with_the_place() {
        for text in [
            "a in (",
            "a in ()",
            "a in b",
            "a in (b",
            "a in (b c)",
            "a in (b=c)",
            ",",
            "a,",
            ",a",
            "a,,b",
            "=b",
            "!",
            "!a=b",
            "a b",
            "a=b=c",
            "a===b",
            "a=b c",
            "a=(b)",
            "a>b",
            "a>",
            "a=-b",
            "a=b_",
            "-a",
            "/a",
            "x/",
            "x/y/z",
            "X/y",
            "a=ä",
            "a IN (b)",
            "a)",
        ] {
            let error = Selector::parse(text).unwrap_err().to_string();
            assert!(
                error.contains("labelSelector") && error.contains("at byte"),
                "{text}: {error}"
            );
        }
        let long = format!("a={}", "b".repeat(64));
        assert!(Selector::parse(&long).is_err());
        assert!(Selector::parse(&"a,".repeat(MAX_LENGTH)).is_err());
    }

    #[test]
    fn an_exact_value_is_found_wherever_it_stands() {
        let selector = Selector::parse("env in (x),target=web").unwrap();
        assert_eq!(selector.exact("target"), Some("web"));
        assert_eq!(selector.exact("env"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,120}") {
            let _ = Selector::parse(&text).map(|selector| selector.matches(label));
        }

        #[test]
        fn no_text_of_the_grammar_panics(text in "[a-c!=<>(),0-9/. in]{0,60}") {
            let _ = Selector::parse(&text).map(|selector| selector.matches(label));
        }

        #[test]
        fn whatever_is_exact_must_match(key in "[a-z]{1,5}", value in "[a-z0-9]{1,10}") {
            let text = format!("{key} = {value}");
            let selector = Selector::parse(&text).unwrap();
            prop_assert_eq!(selector.exact(&key), Some(value.as_str()));
            prop_assert!(selector.matches(|_| Some(value.as_str())));
            prop_assert!(!selector.matches(|_| None));
        }
    }
}
