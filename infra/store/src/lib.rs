//! spillway-store
