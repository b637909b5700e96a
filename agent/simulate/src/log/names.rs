//! What requests are called: the routes of a log or of a configuration, or else method and path with what
//! looks like an id replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{Entry, Request};

/// Finds the route of host, method and path.
pub type FindRoute<'a> = dyn Fn(Option<&str>, &str, &str) -> Option<&'a str> + 'a;

/// What a request is called that no client's line tells of.
pub(super) const UNREADABLE: &str = "(no request line)";
/// What is called alike when there are too many names.
pub(super) const OTHERS: &str = "(others)";
/// Parts of a path that are told apart; what follows is left out.
const DEPTH_MAX: usize = 12;
/// What any part stands for when there are too many of them in one place.
const ANY: &str = "{any}";

/// Names requests.
pub struct Names<'a> {
    find: Option<&'a FindRoute<'a>>,
    /// Names that stand for several, some of their parts being [`ANY`].
    folded: BTreeSet<String>,
}

impl std::fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("folded", &self.folded).finish_non_exhaustive()
    }
}

impl<'a> Names<'a> {
    /// By what the log says, what `find` finds, or else a guess.
    #[must_use]
    pub fn new(find: Option<&'a FindRoute<'a>>) -> Self {
        Self { find, folded: BTreeSet::new() }
    }

    /// Writes the name of an entry's request into `name`.
    pub(super) fn write(&self, entry: &Entry<'_>, name: &mut String) {
        name.clear();
        if let Some(route) = &entry.route {
            name.push_str(route);
            return;
        }
        let Some(request) = &entry.request else {
            name.push_str(UNREADABLE);
            return;
        };
        let Request { method, host, path } = request;
        match self.find.and_then(|find| find(host.as_deref(), method, path)) {
            Some(route) => name.push_str(route),
            None => guess(method, path, name),
        }
    }

    /// The name that stands for `name` since names were folded, if there is one.
    pub(super) fn folded(&self, name: &str) -> Option<String> {
        let mut found: Option<String> = None;
        loop {
            let now = found.as_deref().unwrap_or(name);
            let Some(next) = folds(now).find(|fold| self.folded.contains(fold)) else {
                return found;
            };
            found = Some(next);
        }
    }

    /// Of the ways in which one part of `names` could be anything, that which the most of them become one
    /// name by, if `least` of them do.
    pub(super) fn fold<'n>(
        &mut self,
        names: impl Iterator<Item = &'n str>,
        least: usize,
    ) -> Option<String> {
        let mut counts = BTreeMap::<String, usize>::new();
        for fold in names.flat_map(folds) {
            *counts.entry(fold).or_default() += 1;
        }
        // Of those alike the first by name, so that the same log gives the same names.
        let most = counts.into_iter().max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(&a.0)));
        let (fold, _) = most.filter(|(_, count)| *count >= least)?;
        self.folded.insert(fold.clone());
        Some(fold)
    }
}

/// A guessed name with each of its parts replaced that can be.
pub(super) fn folds(name: &str) -> impl Iterator<Item = String> + '_ {
    // Names that were not guessed have no blank and path behind it.
    let begin = name.find(" /").map_or(name.len(), |at| at + 2);
    let mut at = begin;
    name.get(begin..).unwrap_or_default().split('/').filter_map(move |part| {
        let (from, to) = (at, at + part.len());
        at = to + 1;
        (part != ANY && !part.is_empty())
            .then(|| format!("{}{ANY}{}", &name[..from], name.get(to..).unwrap_or_default()))
    })
}

/// `GET /v1/users/{id}/code` for `GET /v1/users/7/code`.
fn guess(method: &str, path: &str, name: &mut String) {
    name.push_str(method);
    name.push(' ');
    if path == "*" {
        name.push('*');
        return;
    }
    let path = path.split(';').next().unwrap_or_default();
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let mut empty = true;
    for part in parts.by_ref().take(DEPTH_MAX) {
        empty = false;
        name.push('/');
        let file = part.rsplit_once('.').filter(|(_, ending)| is_ending(ending));
        match file {
            _ if is_address(part) => name.push_str("{id}"),
            Some((stem, ending)) if stem.split(['.', '-', '_']).any(is_id) || is_id(stem) => {
                // Writing to a string cannot fail.
                let _ = write!(name, "{{id}}.{ending}");
            }
            None if is_id(part) => name.push_str("{id}"),
            _ => name.push_str(part),
        }
    }
    if empty {
        name.push('/');
    }
    if parts.next().is_some() {
        name.push_str("/{rest}");
    }
}

fn is_ending(text: &str) -> bool {
    (1..=5).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// Whether a part of a path names one of many, as far as can be seen: numbers and dates, hashes and UUIDs,
/// addresses, what is long, and words with three digits and more. `v1` and `oauth2` are none.
fn is_id(part: &str) -> bool {
    let digits = part.bytes().filter(u8::is_ascii_digit).count();
    let all = |of: fn(u8) -> bool| part.bytes().all(of);
    let number =
        digits > 0 && all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.' | b',' | b':'));
    let hash = digits > 0 && part.len() >= 6 && all(|b| b.is_ascii_hexdigit() || b == b'-');
    number
        || hash
        || digits >= 3
        || part.len() >= 32
        || part.contains(['=', '\\'])
        || is_address(part)
        // What a gateway has masked.
        || part == "*"
}

fn is_address(part: &str) -> bool {
    part.contains('@') || part.contains("%40")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guessed(path: &str) -> String {
        let mut name = String::new();
        guess("GET", path, &mut name);
        name
    }

    #[test]
    fn ids_are_replaced_and_words_stay() {
        for (path, wanted) in [
            ("/", "GET /"),
            ("//", "GET /"),
            ("*", "GET *"),
            ("/v1/users/7/code", "GET /v1/users/{id}/code"),
            ("/v1/users/7/code/", "GET /v1/users/{id}/code"),
            ("/oauth2/token", "GET /oauth2/token"),
            ("/o/3f2504e0-4f89-11d3-9a0c-0305e82c3301", "GET /o/{id}"),
            ("/commit/8246021", "GET /commit/{id}"),
            ("/day/2026-11-23", "GET /day/{id}"),
            ("/order/AB1234", "GET /order/{id}"),
            ("/user/ann@example.test/x", "GET /user/{id}/x"),
            ("/a;jsessionid=17", "GET /a"),
            ("/static/app.3f2a91c0.js", "GET /static/{id}.js"),
            ("/static/app.js", "GET /static/app.js"),
            ("/feed.xml", "GET /feed.xml"),
            ("/release/1.2.3", "GET /release/{id}"),
            ("/facade/deface", "GET /facade/deface"),
            ("/v1/*/code", "GET /v1/{id}/code"),
            ("/how-to-bake-an-apple-pie-in-one-hour", "GET /{id}"),
            ("/a/b/c/d/e/f/g/h/i/j/k/l/m/n", "GET /a/b/c/d/e/f/g/h/i/j/k/l/{rest}"),
        ] {
            assert_eq!(guessed(path), wanted, "{path}");
        }
    }

    #[test]
    fn the_part_with_the_most_values_is_folded_first() {
        let mut names = Names::new(None);
        let known = [
            "GET /shop/red/buy",
            "GET /shop/blue/buy",
            "GET /shop/green/buy",
            "GET /shop/red/x",
            "code",
        ];
        assert_eq!(names.fold(known.into_iter(), 2).as_deref(), Some("GET /shop/{any}/buy"));
        assert_eq!(names.folded("GET /shop/pink/buy").as_deref(), Some("GET /shop/{any}/buy"));
        assert_eq!(names.folded("GET /shop/pink/x"), None);
        assert_eq!(names.folded("code"), None);
        let known = ["GET /shop/{any}/buy", "GET /shop/{any}/x"];
        assert_eq!(names.fold(known.into_iter(), 2).as_deref(), Some("GET /shop/{any}/{any}"));
        assert_eq!(names.folded("GET /shop/a/b").as_deref(), None, "a/b is neither of the names");
        assert_eq!(names.folded("GET /shop/a/buy").as_deref(), Some("GET /shop/{any}/{any}"));
        assert_eq!(names.fold(["GET /a/b", "POST /c"].into_iter(), 2), None);
    }
}
