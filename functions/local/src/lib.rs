//! spillway-local
