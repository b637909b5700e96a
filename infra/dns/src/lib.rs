//! spillway-dns
