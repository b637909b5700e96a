//! A line to a server that can go dead without a word, as when who stands between forgets connections.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A line that connections to a server go through.
#[derive(Debug)]
pub struct Line {
    address: SocketAddr,
    cut: Arc<watch::Sender<()>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Line {
    /// A line to the server at `HOST:PORT`, the address at the end of `url`'s authority.
    ///
    /// # Panics
    /// When it cannot listen, or there is no address.
    pub async fn to(url: &str) -> Self {
        let authority = url.split("://").last().and_then(|rest| rest.split('/').next());
        let Some(server) = authority
            .and_then(|authority| authority.rsplit('@').next())
            .and_then(|address| address.parse::<SocketAddr>().ok())
        else {
            panic!("`{url}` has no address")
        };
        let Ok(listener) = TcpListener::bind("127.0.0.1:0").await else { panic!("no free port") };
        let Ok(address) = listener.local_addr() else { panic!("a listener has an address") };
        let cut = Arc::new(watch::Sender::new(()));
        let cuts = cut.clone();
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server, cuts.subscribe()));
            }
        });
        Self { address, cut, serving }
    }

    /// `url` by way of this line.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let (authority, tail) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let user = authority.rsplit_once('@').map_or(String::new(), |(user, _)| format!("{user}@"));
        format!("{scheme}://{user}{}{tail}", self.address)
    }

    /// Connections there are stay, but nothing passes on them any more; later ones are as before.
    pub fn cut(&self) {
        self.cut.send_replace(());
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn carry(mut client: TcpStream, server: SocketAddr, mut cut: watch::Receiver<()>) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        Ok(()) = cut.changed() => std::future::pending().await,
    }
}
