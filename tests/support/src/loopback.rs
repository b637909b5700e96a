//! Loopback addresses that nobody else uses: a test that owns a /24 of 127/8 can listen on fixed
//! ports without asking whether they are free.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// A /24 of 127.128.0.0/9 that belongs to its holder until dropped.
#[derive(Debug)]
pub struct Block {
    network: [u8; 3],
    // Whoever holds this listener holds the block.
    _claim: TcpListener,
}

impl Block {
    /// Claims a block, whichever other test processes run.
    ///
    /// # Panics
    /// When every block is taken.
    #[must_use]
    pub fn claim() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        for _ in 0..32_768 {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let n = std::process::id().wrapping_mul(97).wrapping_add(step) % 32_768;
            let [_, _, high, low] = n.to_be_bytes();
            let network = [127, 128 + high, low];
            let claim = Ipv4Addr::new(127, 128 + high, low, 254);
            if let Ok(listener) = TcpListener::bind((claim, 9)) {
                return Self { network, _claim: listener };
            }
        }
        panic!("no loopback block is free");
    }

    /// An address of the block; `host` is 1 to 253.
    #[must_use]
    pub fn address(&self, host: u8) -> Ipv4Addr {
        let [a, b, c] = self.network;
        Ipv4Addr::new(a, b, c, host)
    }
}
