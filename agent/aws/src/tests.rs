mod convergence;
mod shell;
mod stand_in;
