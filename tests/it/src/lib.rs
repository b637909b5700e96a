//! spillway-it
