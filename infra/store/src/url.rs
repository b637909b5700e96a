//! Database URLs: what they mean here, and how they are shown.

use std::path::{Component, Path, PathBuf};

use crate::StoreError;
use crate::database::Kind;

/// A shard's URL, understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) kind: Kind,
    /// The URL in the form the driver takes.
    pub(crate) url: String,
    /// The file, whose folder must exist first.
    pub(crate) file: Option<PathBuf>,
}

/// Understands `sqlite:FILE` (relative to `base`) and `postgres://…`.
pub(crate) fn target(url: &str, base: &Path) -> Result<Target, StoreError> {
    let bad = |message: &str| StoreError::BadDatabaseUrl {
        url: without_password(url),
        message: message.to_owned(),
    };
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(Target { kind: Kind::Postgres, url: url.to_owned(), file: None });
    }
    let Some(file) = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")) else {
        return Err(bad("write sqlite:FILE or postgres://USER@HOST/DATABASE"));
    };
    if file.is_empty() || file.contains(['?', ':']) {
        // A database in memory would be another one for every connection.
        return Err(bad(
            "write sqlite:FILE, the path of a file without parameters; it is created when missing",
        ));
    }
    let file = std::path::absolute(base.join(file)).map_err(|e| bad(&e.to_string()))?;
    let file = lexical(&file);
    let text = file.to_str().ok_or_else(|| bad("the path is not UTF-8"))?;
    Ok(Target {
        kind: Kind::Sqlite,
        url: format!("sqlite://{}?mode=rwc", encode(text)),
        file: Some(file),
    })
}

/// An absolute path without `..`: the URL parser would take them out too, but after the folder was
/// made.
fn lexical(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        if component == Component::ParentDir {
            out.pop();
        } else {
            out.push(component);
        }
    }
    out
}

fn encode(path: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-~+".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A URL as it may stand in a log: what stands between a user's name and the host is left out.
pub(crate) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(authority_end);
    let Some((user, host)) = authority.rsplit_once('@') else { return url.to_owned() };
    match user.split_once(':') {
        Some((name, _)) => format!("{scheme}://{name}:…@{host}{tail}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sqlite_file_is_relative_to_its_configuration() {
        let found = target("sqlite:../var/a b.db", Path::new("/srv/conf")).unwrap();
        assert_eq!(found.url, "sqlite:///srv/var/a%20b.db?mode=rwc");
        assert_eq!(found.file.as_deref(), Some(Path::new("/srv/var/a b.db")));
        let found = target("sqlite:///data/x.db", Path::new("/srv/conf")).unwrap();
        assert_eq!(found.url, "sqlite:///data/x.db?mode=rwc");
    }

    #[test]
    fn postgres_is_taken_as_it_is() {
        let url = "postgres://user@db.example.test/codes";
        let found = target(url, Path::new("/")).unwrap();
        assert_eq!((found.kind, found.url.as_str()), (Kind::Postgres, url));
    }

    #[test]
    fn what_cannot_work_is_refused_without_the_password() {
        for (url, expected) in [
            ("sqlite::memory:", "path of a file"),
            ("sqlite:", "path of a file"),
            ("sqlite:a.db?mode=memory", "path of a file"),
            ("mysql://root:secret@h/d", "`mysql://root:…@h/d` cannot be used as a database: write"),
        ] {
            let message = target(url, Path::new("/")).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }
}
