//! What several suites need: the schemas of the output, and a product that runs on threads.

pub mod product;
pub mod schemas;
