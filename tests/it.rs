//! The one integration binary.

mod embedded;
mod real;
mod support;
mod tidy;
