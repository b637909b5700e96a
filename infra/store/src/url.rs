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
        url: format!("sqlite://{}?mode=rwc", encode(text, b"/._-~+")),
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

/// Percent-encodes all but letters, digits and what is in `plain`.
fn encode(text: &str, plain: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A PostgreSQL URL with a password, unless it has one already. Other URLs are left as they are, and
/// those of a socket on this machine, where who connects is known.
#[must_use]
pub fn with_password(url: &str, password: &str) -> String {
    let postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
    let Some((scheme, rest)) = url.split_once("://").filter(|_| postgres) else {
        return url.to_owned();
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (user, host_and_tail) = match authority.rsplit_once('@') {
        Some((user, _)) => (user, &rest[user.len() + 1..]),
        None => ("", rest),
    };
    if user.contains(':') || host_and_tail.starts_with(['/', '?', '#']) {
        return url.to_owned();
    }
    format!("{scheme}://{user}:{}@{host_and_tail}", encode(password, b"-._~"))
}

/// The URL of the same database at another host: `url` with `to`, as HOST or HOST:PORT, in place of its host,
/// if that is `from`.
#[must_use]
pub fn at_host(url: &str, from: &str, to: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, server) = match authority.rsplit_once('@') {
        Some((user, server)) => (format!("{user}@"), server),
        None => (String::new(), authority),
    };
    let port = |server: &str| server.rfind(':').filter(|_| !server.ends_with(']'));
    let (host, own_port) = server.split_at(port(server).unwrap_or(server.len()));
    let own_port = if port(to).is_some() { "" } else { own_port };
    host.eq_ignore_ascii_case(from).then(|| format!("{scheme}://{user}{to}{own_port}{tail}"))
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
    fn a_password_goes_where_none_is() {
        let with = |url| with_password(url, "p@ss/w:r+d é");
        let encoded = "p%40ss%2Fw%3Ar%2Bd%20%C3%A9";
        assert_eq!(
            with("postgres://app@db.example.test:5432/codes?sslmode=require"),
            format!("postgres://app:{encoded}@db.example.test:5432/codes?sslmode=require")
        );
        assert_eq!(with("postgresql://[::1]/d"), format!("postgresql://:{encoded}@[::1]/d"));
        for url in [
            "postgres://app:own@h/d",
            "postgres:///d?host=/run/postgresql",
            "sqlite:one-code.db",
            "sqlite://a@b.db",
        ] {
            assert_eq!(with(url), url);
        }
        assert_eq!(without_password(&with("postgres://app@h/d")), "postgres://app:…@h/d");
    }

    #[test]
    fn a_replica_is_the_same_at_another_host() {
        let shard = "postgres://app:p%40@db.example.test:5433/codes?sslmode=require";
        let at = |to| at_host(shard, "DB.example.test", to);
        let replica = "postgres://app:p%40@ro.example.test:5433/codes?sslmode=require";
        assert_eq!(at("ro.example.test").as_deref(), Some(replica));
        assert_eq!(at("ro.example.test:5433").as_deref(), Some(replica));
        assert_eq!(at_host(shard, "example.test", "ro.example.test"), None);
        let six = at_host("postgres://[::1]:1/d", "[::1]", "[::2]");
        assert_eq!(six.as_deref(), Some("postgres://[::2]:1/d"));
        assert_eq!(
            at_host("postgres://h/d", "h", "[::2]:2").as_deref(),
            Some("postgres://[::2]:2/d")
        );
        assert_eq!(at_host("sqlite:one-code.db", "h", "r"), None);
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
