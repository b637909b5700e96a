//! spillway-balancer
