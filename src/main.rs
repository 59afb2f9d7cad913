use std::process::ExitCode;

use evenkeel::app::demo::{Options, demo};

fn main() -> ExitCode {
    let seconds = std::env::args().nth(2).and_then(|s| s.parse().ok()).unwrap_or(60);
    match demo(Options { seconds: Some(seconds), json: std::env::args().any(|a| a == "--json") }) {
        Ok(summary) if summary.is_right() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
