//! The one integration binary.

mod cli;
mod embedded;
mod real;
mod sim;
mod support;
mod tidy;
