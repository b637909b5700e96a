//! spillway-daemon
