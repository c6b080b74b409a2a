//! Telling the user something. Whoever read it may be gone (`ferrokube start | head`): what is under way goes on
//! all the same.
use std::io::Write;

/// One line to standard output.
pub fn line(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// As `println!`, but a reader that is gone is no reason to end.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => { $crate::output::line(format_args!($($text)*)) };
}

/// An error and its causes, each told once.
pub fn told(error: &anyhow::Error) -> String {
    client::told(error.as_ref())
}
