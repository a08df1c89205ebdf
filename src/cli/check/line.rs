//! One line of the report.

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// As it should be.
    Pass,
    /// Works, but the operator should know.
    Warn,
    /// Does not work.
    Fail,
}

/// One check, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// How it came out.
    pub(super) mark: Mark,
    /// What was seen.
    pub(super) what: String,
    /// What to do; empty for a pass.
    pub(super) hint: String,
}

impl Line {
    /// A check that passed.
    pub(super) fn pass(what: impl Into<String>) -> Self {
        Self { mark: Mark::Pass, what: what.into(), hint: String::new() }
    }

    /// Something to know.
    pub(super) fn warn(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { mark: Mark::Warn, what: what.into(), hint: hint.into() }
    }

    /// Something to put right.
    pub(super) fn fail(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { mark: Mark::Fail, what: what.into(), hint: hint.into() }
    }

    /// As printed.
    pub(super) fn render(&self) -> String {
        let mark = match self.mark {
            Mark::Pass => '✓',
            Mark::Warn => '!',
            Mark::Fail => '✗',
        };
        let mut text = format!("{mark} {}\n", self.what);
        if !self.hint.is_empty() {
            text.push_str("    ");
            text.push_str(&self.hint);
            text.push('\n');
        }
        text
    }
}
