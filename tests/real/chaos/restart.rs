//! The restart figure.
