//! spillway-flags
