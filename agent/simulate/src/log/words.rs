//! Words between blanks, as access logs write them: what has blanks in it stands in double quotes, in which
//! a backslash takes away the meaning of the next character.

/// One word after the other. One whose quote does not end is none: the line was cut off.
#[derive(Debug, Clone)]
pub(super) struct Words<'a>(pub(super) &'a str);

/// A word, without the quotes around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    pub(super) quoted: bool,
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        let rest = self.0.trim_start_matches([' ', '\t']);
        self.0 = "";
        if let Some(inner) = rest.strip_prefix('"') {
            let end = quote_end(inner)?;
            self.0 = &inner[end + 1..];
            return Some(Word { text: &inner[..end], quoted: true });
        }
        // A quote within a word holds blanks too: `rt="0.1, 0.2"`.
        let mut end = 0;
        while let Some(at) = rest[end..].find([' ', '\t', '"']) {
            end += at;
            if !rest[end..].starts_with('"') {
                break;
            }
            end += quote_end(&rest[end + 1..])? + 2;
            if end == rest.len() {
                break;
            }
        }
        if !rest[end..].starts_with([' ', '\t']) {
            end = rest.len();
        }
        self.0 = &rest[end..];
        (end > 0).then_some(Word { text: &rest[..end], quoted: false })
    }
}

/// Where a quoted text ends.
fn quote_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        end
    })
}

/// Seconds from 0 to a day, or several of them with commas or colons between, as Nginx writes the times of
/// all servers that it tried; their sum.
pub(super) fn seconds(text: &str) -> Option<f64> {
    let mut sum = None;
    for part in text.split([',', ':', ' ']).filter(|part| !part.is_empty() && *part != "-") {
        // As a log writes it: no sign, exponent or name.
        if !part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return None;
        }
        sum = Some(sum.unwrap_or(0.0) + part.parse::<f64>().ok()?);
    }
    sum.filter(|secs| *secs <= 86_400.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<(&str, bool)> {
        Words(text).map(|word| (word.text, word.quoted)).collect()
    }

    #[test]
    fn quotes_hold_blanks_and_escaped_quotes() {
        assert_eq!(
            all(r#"a  "b c" "" "d\"e" "f\\" g="h i"j k"#),
            [
                ("a", false),
                ("b c", true),
                ("", true),
                (r#"d\"e"#, true),
                (r"f\\", true),
                (r#"g="h i"j"#, false),
                ("k", false),
            ]
        );
        assert_eq!(all("a \"b"), [("a", false)], "cut off");
        assert_eq!(all("a b=\"c d"), [("a", false)], "cut off");
        assert_eq!(all(" \t "), []);
        assert_eq!(all("b=\"c\""), [("b=\"c\"", false)]);
    }

    #[test]
    fn seconds_are_plain_numbers() {
        assert_eq!(seconds("0.250"), Some(0.25));
        assert_eq!(seconds("0.5, 0.25 : -"), Some(0.75));
        for bad in [
            "",
            "-",
            "-1",
            "1e3",
            "nan",
            "inf",
            "1.2.3",
            "10.0.0.1",
            "86401",
            "9".repeat(400).as_str(),
        ] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
