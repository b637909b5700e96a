//! Tests of the whole: golden answers, packets at the edge of the protocol, properties, sockets.

mod golden;
mod help;
mod packets;
mod properties;
mod sockets;
mod start;
mod support;
