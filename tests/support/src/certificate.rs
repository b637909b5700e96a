//! A certificate for a server of a test, made by `openssl`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::on_path;

/// A certificate that stands for itself: whoever trusts it trusts the server that has its key.
#[derive(Debug)]
pub struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
}

impl Certificate {
    /// Makes one for a server at `address`, as `certificate.pem` and `key.pem` in `folder`.
    ///
    /// # Panics
    /// When `openssl` is not installed, or fails.
    #[must_use]
    pub fn make(folder: &Path, address: IpAddr) -> Self {
        assert!(on_path("openssl"), "openssl is not installed: `apt-get install openssl`");
        let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| folder.join(name));
        let mut command = Command::new("openssl");
        command
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "2", "-subj", "/CN=test"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-addext"])
            .arg(format!("subjectAltName=IP:{address}"))
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .stderr(Stdio::null());
        assert!(command.status().is_ok_and(|status| status.success()), "openssl failed");
        Self { certificate, key }
    }

    /// The certificate's file.
    #[must_use]
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// Its key's file.
    #[must_use]
    pub fn key(&self) -> &Path {
        &self.key
    }
}
