//! spillway-test-support
