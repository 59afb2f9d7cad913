//! The one integration binary.

mod cli;
mod embedded;
mod fuzz;
mod real;
mod sim;
mod store;
mod support;
mod tidy;
