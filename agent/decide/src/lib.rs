//! spillway-decide
