//! What several suites need: chance, the output's topics and schemas, and a product that runs on threads.

pub mod audience;
pub mod auditor;
pub mod dice;
pub mod product;
pub mod registry;
pub mod schemas;
pub mod theatre;
