//! spillway-storm
