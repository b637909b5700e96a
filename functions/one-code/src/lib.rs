//! spillway-one-code
