//! Metric math, as far as alarms of a site set use it: arithmetic, comparisons, `IF`,
//! `FILL` and `SERVICE_QUOTA`.
//! What is calculated from nothing is nothing.

use super::reader::Reader;

/// An expression that was read.
#[derive(Debug, Clone)]
pub(super) enum Expression {
    Number(f64),
    Query(String),
    Operation(Box<Expression>, &'static str, Box<Expression>),
    If(Box<[Expression; 3]>),
    Fill(Box<[Expression; 2]>),
    Quota(String),
}

impl Expression {
    /// Its value, given those of the queries, and the quotas of what they measure.
    pub(super) fn value(
        &self,
        query: &dyn Fn(&str) -> Option<f64>,
        quota: &dyn Fn(&str) -> Option<f64>,
    ) -> Option<f64> {
        Some(match self {
            Self::Number(number) => *number,
            Self::Query(id) => query(id)?,
            Self::Quota(id) => query(id).and(quota(id))?,
            Self::Operation(left, operator, right) => {
                let (left, right) = (left.value(query, quota)?, right.value(query, quota)?);
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
                if condition.value(query, quota)? == 0.0 {
                    other.value(query, quota)?
                } else {
                    then.value(query, quota)?
                }
            }
            Self::Fill(parts) => {
                let [what, other] = parts.as_ref();
                return what.value(query, quota).or_else(|| other.value(query, quota));
            }
        })
    }
}

/// Reads an expression; none when it is not one.
pub(super) fn parse(text: &str) -> Option<Expression> {
    let mut reader = Reader::new(text);
    let expression = reader.comparison()?;
    reader.rest.is_empty().then_some(expression)
}

impl Reader<'_> {
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
        self.enter()?;
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
                    "SERVICE_QUOTA" => match parts.as_slice() {
                        [Expression::Query(id)] => Expression::Quota(id.clone()),
                        _ => return None,
                    },
                    "IF" => Expression::If(Box::new(parts.try_into().ok()?)),
                    "FILL" => Expression::Fill(Box::new(parts.try_into().ok()?)),
                    _ => return None,
                }
            } else {
                Expression::Query(word.to_owned())
            }
        };
        self.leave();
        Some(leaf)
    }
}
