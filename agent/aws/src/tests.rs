mod convergence;
mod shell;
