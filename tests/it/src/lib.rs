//! The end-to-end tests; see `tests/it`.
