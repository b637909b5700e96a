//! The service's one key: from it come user numbers and the signatures of tokens.
//!
//! Both are HMAC-SHA-256 (RFC 2104) under the same key with different first bytes, so that neither
//! can stand for the other. Documents have few enough numbers to try all of them; without the key a
//! user number still says nothing about the document it came from.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use spillway_model::Config;
use spillway_part::files;

/// How a user stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Color {
    Green,
    Yellow,
    Red,
}

impl Color {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Yellow => "yellow",
            Self::Red => "red",
        }
    }

    pub(crate) fn of(name: &str) -> Option<Self> {
        [Self::Green, Self::Yellow, Self::Red].into_iter().find(|color| color.name() == name)
    }
}

/// The key.
#[derive(Clone)]
pub struct Secret(Hmac<Sha256>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The key file cannot be read or made, or is not its owner's alone.
    #[error("cannot use the key file {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is there is no key.
    #[error(
        "{from} holds no key: a key is a line of base64 that holds 32 bytes (`openssl rand -base64 32`)"
    )]
    NoKey {
        /// Where it was looked for.
        from: String,
    },
    /// The machine gives no random bytes.
    #[error("the machine gives no random bytes: {0}")]
    NoEntropy(getrandom::Error),
}

const USER: u8 = b'u';
const TOKEN: u8 = b't';

impl Secret {
    /// A key of 32 bytes.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        // A block of SHA-256, of which a key this long is the beginning.
        let mut block = [0; 64];
        block[..32].copy_from_slice(key);
        Self(Hmac::new(&block.into()))
    }

    /// A key from its line of base64; `from` says where the line came from.
    ///
    /// # Errors
    /// When it is not base64 of 32 bytes.
    pub fn parse(line: &str, from: &str) -> Result<Self, SecretError> {
        let bytes = STANDARD.decode(line.trim()).ok();
        match bytes.as_deref().map(<&[u8; 32]>::try_from) {
            Some(Ok(key)) => Ok(Self::new(key)),
            _ => Err(SecretError::NoKey { from: from.to_owned() }),
        }
    }

    /// The key in a file, and whether this call made it, as it does when it is missing. Several
    /// processes may do so at once: all get the same key.
    ///
    /// # Errors
    /// When the file can neither be read nor made, holds no key, or others than its owner have rights
    /// to it.
    pub fn from_file(path: &Path) -> Result<(Self, bool), SecretError> {
        let failed = |source| SecretError::File { path: path.to_owned(), source };
        let (line, made) = match files::read_secret(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let mut key = [0; 32];
                getrandom::fill(&mut key).map_err(SecretError::NoEntropy)?;
                let made = make_once(path, &STANDARD.encode(key)).map_err(failed)?;
                (files::read_secret(path).map_err(failed)?, made)
            }
            read => (read.map_err(failed)?, false),
        };
        Ok((Self::parse(&line, &path.display().to_string())?, made))
    }

    /// The key that a process is given in `variable` (`ONE_CODE_SECRET`), or else the one in
    /// [`key_file`], and whether this call made it.
    ///
    /// # Errors
    /// As [`Secret::parse`] and [`Secret::from_file`].
    pub fn load(variable: Option<&str>, config: &Config) -> Result<(Self, bool), SecretError> {
        match variable {
            Some(line) => Ok((Self::parse(line, "ONE_CODE_SECRET")?, false)),
            None => Self::from_file(&key_file(config)),
        }
    }

    /// The number of the user with this document: `u` and 24 hexadecimal digits.
    pub(crate) fn user(&self, id_number: &str) -> String {
        let tag = self.mac(USER, &[id_number]).finalize().into_bytes();
        let mut user = String::with_capacity(25);
        user.push('u');
        for byte in tag.iter().take(12) {
            // Writing to a String cannot fail.
            let _ = write!(user, "{byte:02x}");
        }
        user
    }

    /// The token that shows `user` as `color` until `expires`, in seconds since 1970.
    pub(crate) fn token(&self, user: &str, color: Color, expires: u64) -> String {
        let expires = expires.to_string();
        let tag = self.mac(TOKEN, &[user, color.name(), &expires]).finalize().into_bytes();
        format!("{user}.{}.{expires}.{}", color.name(), URL_SAFE_NO_PAD.encode(tag))
    }

    /// The user a token was made for, if it is ours and has not expired.
    pub(crate) fn user_of_token<'a>(&self, token: &'a str, now_secs: u64) -> Option<&'a str> {
        let mut fields = token.split('.');
        let (user, color, expires, tag) =
            (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        if fields.next().is_some() {
            return None;
        }
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        self.mac(TOKEN, &[user, color, expires]).verify_slice(&tag).ok()?;
        (now_secs < expires.parse().ok()?).then_some(user)
    }

    /// A zero byte stands before each field and in none, so that fields cannot run into one another.
    fn mac(&self, purpose: u8, fields: &[&str]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(&[purpose]);
        for field in fields {
            mac.update(&[0]);
            mac.update(field.as_bytes());
        }
        mac
    }
}

/// Where the key is kept: `one-code.key` in the state folder.
pub(crate) fn key_file(config: &Config) -> PathBuf {
    config.state_path("one-code.key")
}

/// Writes a file that is not there yet, readable by its owner only; whoever comes second leaves the
/// first one's, and is told by `false`. A reader never sees half of it.
fn make_once(path: &Path, line: &str) -> io::Result<bool> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    std::fs::create_dir_all(folder)?;
    let beside = path.with_extension(format!("new-{:016x}", getrandom::u64().unwrap_or_default()));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&beside)?;
    writeln!(file, "{line}")?;
    drop(file);
    // Unlike a rename, a link fails when the name is taken.
    let linked = std::fs::hard_link(&beside, path);
    let removed = std::fs::remove_file(&beside);
    match linked {
        Ok(()) => removed.map(|()| true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => removed.map(|()| false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret {
        Secret::new(&[7; 32])
    }

    /// The key of RFC 4231 test case 2 is "Jefe", padded with zeros as HMAC pads it.
    #[test]
    fn the_mac_is_hmac_sha_256() {
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let mut mac = Secret::new(&key).0;
        mac.update(b"what do ya want for nothing?");
        let tag = mac.finalize().into_bytes();
        assert_eq!(tag[..8], [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e]);
    }

    #[test]
    fn a_user_number_depends_on_document_and_key() {
        let user = secret().user("A1234567");
        assert_eq!(user.len(), 25);
        assert_eq!(user, secret().user("A1234567"));
        assert_ne!(user, secret().user("A1234568"));
        assert_ne!(user, Secret::new(&[8; 32]).user("A1234567"));
    }

    #[test]
    fn a_token_is_good_until_it_expires_and_for_nothing_else() {
        let token = secret().token("u000001", Color::Green, 1000);
        assert_eq!(secret().user_of_token(&token, 999), Some("u000001"));
        assert_eq!(secret().user_of_token(&token, 1000), None);
        assert_eq!(Secret::new(&[8; 32]).user_of_token(&token, 0), None);
        for (from, to) in
            [("green", "red"), ("u000001", "u000002"), (".1000.", ".9000."), (".", "..")]
        {
            assert_eq!(
                secret().user_of_token(&token.replacen(from, to, 1), 0),
                None,
                "{from} as {to}"
            );
        }
        for bad in ["", "...", "u1.green.1000", "u1.green.1000.%%%"] {
            assert_eq!(secret().user_of_token(bad, 0), None, "{bad}");
        }
    }

    #[test]
    fn all_processes_find_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/one-code.key");
        let found: Vec<(String, bool)> = std::thread::scope(|scope| {
            let find = || {
                let (secret, made) = Secret::from_file(&path).unwrap();
                (secret.user("x"), made)
            };
            let starting: Vec<_> = (0..8).map(|_| scope.spawn(find)).collect();
            starting.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(found.iter().all(|(user, _)| *user == found[0].0), "{found:?}");
        assert_eq!(found.iter().filter(|(_, made)| *made).count(), 1, "{found:?}");
        std::fs::write(&path, "short").unwrap();
        let error = Secret::from_file(&path).unwrap_err().to_string();
        assert!(error.contains("openssl rand"), "{error}");
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one-code.key");
        assert!(Secret::from_file(&path).unwrap().1);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = Secret::from_file(&path).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains(&format!("chmod 600 {}", path.display())), "{source}");
    }
}
