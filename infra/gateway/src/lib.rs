//! spillway-gateway
