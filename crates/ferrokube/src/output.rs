//! Telling the user something. Whoever read it may be gone (`ferrokube start | head`): what is under way goes on
//! all the same.
use std::{fmt::Write as _, io::Write};

/// One line to standard output.
pub fn line(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// As `println!`, but a reader that is gone is no reason to end.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => { $crate::output::line(format_args!($($text)*)) };
}

/// An error and its causes. One that its parent's text ends with already, as many of our errors' do, is not told twice.
pub fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            // Writing to a string cannot fail.
            let _ = write!(text, ": {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_cause_is_told_once() {
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        let file = pki::Error::File { path: "/a".into(), source };
        let error = Err::<(), _>(file).context("starting").expect_err("refused");
        assert_eq!(told(&error), "starting: /a: entity not found");
    }
}
