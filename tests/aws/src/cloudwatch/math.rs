//! Metric math, as far as alarms of a site set use it: arithmetic, comparisons, `IF` and `FILL`.
//! What is calculated from nothing is nothing.

/// Deepest nesting of parentheses and calls.
const DEPTH_MAX: u32 = 32;

/// An expression that was read.
#[derive(Debug, Clone)]
pub(super) enum Expression {
    Number(f64),
    Query(String),
    Operation(Box<Expression>, &'static str, Box<Expression>),
    If(Box<[Expression; 3]>),
    Fill(Box<[Expression; 2]>),
}

impl Expression {
    /// Its value, given those of the queries.
    pub(super) fn value(&self, query: &dyn Fn(&str) -> Option<f64>) -> Option<f64> {
        Some(match self {
            Self::Number(number) => *number,
            Self::Query(id) => query(id)?,
            Self::Operation(left, operator, right) => {
                let (left, right) = (left.value(query)?, right.value(query)?);
                let truth = |truth: bool| f64::from(u8::from(truth));
                match *operator {
                    "+" => left + right,
                    "-" => left - right,
                    "*" => left * right,
                    // "Division by zero gives no data point."
                    "/" if right == 0.0 => return None,
                    "/" => left / right,
                    ">=" => truth(left >= right),
                    "<=" => truth(left <= right),
                    ">" => truth(left > right),
                    "<" => truth(left < right),
                    "==" => truth(left == right),
                    _ => truth(left != right),
                }
            }
            Self::If(parts) => {
                let [condition, then, other] = parts.as_ref();
                if condition.value(query)? == 0.0 {
                    other.value(query)?
                } else {
                    then.value(query)?
                }
            }
            Self::Fill(parts) => {
                let [what, other] = parts.as_ref();
                return what.value(query).or_else(|| other.value(query));
            }
        })
    }
}

/// Reads an expression; none when it is not one.
pub(super) fn parse(text: &str) -> Option<Expression> {
    let mut reader = Reader { rest: text.trim_start(), depth: 0 };
    let expression = reader.comparison()?;
    reader.rest.is_empty().then_some(expression)
}

struct Reader<'a> {
    rest: &'a str,
    depth: u32,
}

impl Reader<'_> {
    fn skip(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token).map(str::trim_start);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn one_of(&mut self, tokens: &[&'static str]) -> Option<&'static str> {
        tokens.iter().copied().find(|token| self.skip(token))
    }

    fn comparison(&mut self) -> Option<Expression> {
        self.binary(&[">=", "<=", "==", "!=", ">", "<"], |r| {
            r.binary(&["+", "-"], |r| r.binary(&["*", "/"], Self::leaf))
        })
    }

    fn binary(
        &mut self,
        operators: &[&'static str],
        next: impl Fn(&mut Self) -> Option<Expression>,
    ) -> Option<Expression> {
        let mut left = next(self)?;
        while let Some(operator) = self.one_of(operators) {
            left = Expression::Operation(Box::new(left), operator, Box::new(next(self)?));
        }
        Some(left)
    }

    fn leaf(&mut self) -> Option<Expression> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let leaf = if self.skip("(") {
            let inner = self.comparison()?;
            self.skip(")").then_some(inner)?
        } else {
            let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.');
            let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
            self.rest = rest.trim_start();
            if word.is_empty() {
                return None;
            } else if let Ok(number) = word.parse() {
                Expression::Number(number)
            } else if self.skip("(") {
                let mut parts = vec![self.comparison()?];
                while self.skip(",") {
                    parts.push(self.comparison()?);
                }
                if !self.skip(")") {
                    return None;
                }
                match word {
                    "IF" => Expression::If(Box::new(parts.try_into().ok()?)),
                    "FILL" => Expression::Fill(Box::new(parts.try_into().ok()?)),
                    _ => return None,
                }
            } else {
                Expression::Query(word.to_owned())
            }
        };
        self.depth -= 1;
        Some(leaf)
    }
}
