mod convergence;
mod endpoint;
mod granted;
mod shell;
pub(crate) mod sns;
mod stand_in;
