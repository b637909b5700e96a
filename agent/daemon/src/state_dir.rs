//! The state folder: the lock that keeps a second agent out, the signing key, the operator's token.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use rustix::fs::FlockOperation;
use spillway_model::{Config, plan};
use spillway_part::follow::trusted_key;
use spillway_part::{StartError, files};

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// The folder or a file in it cannot be used.
    #[error("cannot use {0}")]
    Io(PathBuf, #[source] std::io::Error),
    /// Another agent runs.
    #[error(
        "another agent{holder} holds {path}: stop that one, or give this one a `plan.state_dir` of its own"
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Its process, if the file tells.
        holder: String,
    },
}

/// What the agent needs of its state folder. The folder is locked while this lives.
#[derive(Debug)]
pub(crate) struct StateDir {
    pub(crate) key: SigningKey,
    pub(crate) token: Token,
    _lock: File,
}

impl StateDir {
    pub(crate) fn open(config: &Config) -> Result<Self, crate::AgentError> {
        let folder = config.state_path("");
        std::fs::create_dir_all(&folder).map_err(|e| StateDirError::Io(folder, e))?;
        let lock = lock(&config.state_path("agent.lock"))?;
        let key = signing_key(config)?;
        let token = token(config)?;
        Ok(Self { key, token, _lock: lock })
    }
}

fn lock(path: &Path) -> Result<File, StateDirError> {
    let io = |e| StateDirError::Io(path.to_owned(), e);
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    // On a medium that cannot be written any more, the file that is there serves as well.
    let mut file = options.open(path).or_else(|e| File::open(path).map_err(|_| io(e)))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            let known = (&mut file).take(20).read_to_string(&mut pid).is_ok() && !pid.is_empty();
            let holder = if known { format!(" (process {})", pid.trim()) } else { String::new() };
            return Err(StateDirError::Locked { path: path.to_owned(), holder });
        }
        Err(e) => return Err(io(e.into())),
    }
    // Only for the message above; on a full disk the lock holds without it.
    let _told = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

fn signing_key(config: &Config) -> Result<SigningKey, StartError> {
    let public = trusted_key(config)?;
    let path = config.state_path("plan.key");
    let text = secret(&path, "plans are signed with this key")?;
    let key = plan::signing_key(&text)
        .map_err(|e| StartError::File { path: path.clone(), message: e.to_string() })?;
    if key.verifying_key() != public {
        let message = "is not the private half of plan.pub beside it, so no part would take a plan: bring back the one that fits, or remove both and make new ones with `spillway keygen`";
        return Err(StartError::File { path, message: message.to_owned() });
    }
    Ok(key)
}

fn token(config: &Config) -> Result<Token, StartError> {
    let path = config.state_path("operator.token");
    let text = secret(&path, "operators prove themselves with this token")?;
    let token = text.trim();
    if token.len() < TOKEN_BYTES_MIN {
        let message = format!(
            "holds no token of {TOKEN_BYTES_MIN} characters or more: remove it and make one with `spillway keygen`"
        );
        return Err(StartError::File { path, message });
    }
    Ok(Token(token.as_bytes().into()))
}

const TOKEN_BYTES_MIN: usize = 16;

/// The content of a file that only its owner may know.
fn secret(path: &Path, what_for: &str) -> Result<String, StartError> {
    files::read_secret(path).map_err(|e| {
        let message = match e.kind() {
            ErrorKind::NotFound => format!("{e}; {what_for}: make one with `spillway keygen`"),
            _ => format!("{what_for}, but {e}"),
        };
        StartError::File { path: path.to_owned(), message }
    })
}

/// The operator's token.
#[derive(Clone)]
pub(crate) struct Token(Box<[u8]>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// Whether `offered` is the token, in a time that tells at most its length.
    pub(crate) fn is(&self, offered: &[u8]) -> bool {
        let differing = self.0.iter().zip(offered).fold(0, |sum, (a, b)| sum | (a ^ b));
        std::hint::black_box(differing) == 0 && self.0.len() == offered.len()
    }
}

#[cfg(test)]
mod tests {
    use super::Token;

    #[test]
    fn only_the_whole_token_is_the_token() {
        let token = Token(b"0123456789abcdef".as_slice().into());
        assert!(token.is(b"0123456789abcdef"));
        for wrong in ["", "0123456789abcde", "0123456789abcdeX", "0123456789abcdef0"] {
            assert!(!token.is(wrong.as_bytes()), "{wrong}");
        }
        assert!(!format!("{token:?}").contains("0123"));
    }
}
