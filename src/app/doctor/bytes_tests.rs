//! What is counted of records, and what is said of it.
