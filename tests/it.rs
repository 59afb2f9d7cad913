//! The one integration binary.

mod embedded;
mod real;
mod sim;
mod support;
mod tidy;
