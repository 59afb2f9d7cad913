//! What several suites need: chance, the schemas of the output, and a product that runs on threads.

pub mod dice;
pub mod product;
pub mod schemas;
pub mod theatre;
