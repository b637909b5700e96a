//! Reading metric math and rules of alarms, token by token.

/// Deepest nesting of parentheses and calls.
const DEPTH_MAX: u32 = 32;

/// What is left of a text.
pub(super) struct Reader<'a> {
    pub(super) rest: &'a str,
    depth: u32,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text.trim(), depth: 0 }
    }

    /// Takes a token and the space behind it, if it stands here.
    pub(super) fn skip(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token).map(str::trim_start);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Goes one level deeper, if that is not too deep.
    pub(super) fn enter(&mut self) -> Option<()> {
        self.depth += 1;
        (self.depth <= DEPTH_MAX).then_some(())
    }

    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }
}
