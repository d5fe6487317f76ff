//! The one place that writes: standard output for answers, standard error for everything about them.

use std::{
    borrow::Cow,
    io::{self, IsTerminal, Write},
};

/// Both outputs of the program, and what they may show.
pub(crate) struct Out {
    stdout: Box<dyn Write>,
    stderr: Box<dyn Write>,
    stdout_is_terminal: bool,
    stderr_colors: bool,
    line_open: bool,
}

impl Out {
    /// Locks the outputs of the process. Colours need a terminal and no `NO_COLOR` (no-color.org).
    pub(crate) fn process() -> Self {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            stdout_is_terminal: stdout.is_terminal(),
            stderr_colors: stderr.is_terminal() && !no_color,
            stdout: Box::new(stdout.lock()),
            stderr: Box::new(stderr.lock()),
            line_open: false,
        }
    }

    /// Writes a line of the answer.
    pub(crate) fn line(&mut self, line: &str) -> io::Result<()> {
        self.end_line()?;
        writeln!(self.stdout, "{line}")?;
        self.stdout.flush()
    }

    /// Writes a piece of the answer at once, without a line's end.
    pub(crate) fn piece(&mut self, text: &str) -> io::Result<()> {
        let Some(last) = text.chars().next_back() else { return Ok(()) };
        self.line_open = last != '\n';
        let shown = if self.stdout_is_terminal { harmless(text) } else { Cow::Borrowed(text) };
        self.stdout.write_all(shown.as_bytes())?;
        self.stdout.flush()
    }

    /// Ends the line that pieces have left open, if there is one.
    pub(crate) fn end_line(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.line_open) {
            return Ok(());
        }
        writeln!(self.stdout)?;
        self.stdout.flush()
    }

    /// Writes a line for people, beside the answer.
    pub(crate) fn note(&mut self, line: &str) -> io::Result<()> {
        self.end_line()?;
        writeln!(self.stderr, "{}", harmless(line))
    }

    /// Writes a dimmed line for people.
    pub(crate) fn dim_note(&mut self, line: &str) -> io::Result<()> {
        self.end_line()?;
        self.dim_piece(line)?;
        writeln!(self.stderr)
    }

    /// Writes a dimmed piece beside the answer, without a line's end.
    pub(crate) fn dim_piece(&mut self, text: &str) -> io::Result<()> {
        let shown = harmless(text);
        if self.stderr_colors {
            write!(self.stderr, "\x1b[2m{shown}\x1b[0m")?;
        } else {
            self.stderr.write_all(shown.as_bytes())?;
        }
        self.stderr.flush()
    }

    /// Writes `error: …`.
    pub(crate) fn error(&mut self, line: &str) -> io::Result<()> {
        self.end_line()?;
        let label = if self.stderr_colors { "\x1b[31merror\x1b[0m" } else { "error" };
        writeln!(self.stderr, "{label}: {}", harmless(line))
    }
}

/// Replaces control characters, by which an answer or a name could drive the terminal.
fn harmless(text: &str) -> Cow<'_, str> {
    let drives = |character: char| character.is_control() && !matches!(character, '\n' | '\t');
    if text.contains(drives) { Cow::Owned(text.replace(drives, "\u{fffd}")) } else { Cow::Borrowed(text) }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{cell::RefCell, rc::Rc};

    use super::*;

    /// A buffer that a test still sees after it was given away.
    #[derive(Clone, Default)]
    pub(crate) struct Shared(Rc<RefCell<Vec<u8>>>);

    impl Shared {
        /// Returns what was written.
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.borrow().clone()).unwrap()
        }
    }

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns outputs into two buffers, as on a terminal or not.
    pub(crate) fn captured(terminal: bool) -> (Out, Shared, Shared) {
        let (stdout, stderr) = (Shared::default(), Shared::default());
        let out = Out {
            stdout: Box::new(stdout.clone()),
            stderr: Box::new(stderr.clone()),
            stdout_is_terminal: terminal,
            stderr_colors: terminal,
            line_open: false,
        };
        (out, stdout, stderr)
    }

    #[test]
    fn a_terminal_is_not_driven_by_an_answer_and_a_file_gets_every_byte() {
        for (terminal, shown) in [(true, "a\u{fffd}[2Jb"), (false, "a\x1b[2Jb")] {
            let (mut out, stdout, _) = captured(terminal);
            out.piece("a\x1b[2Jb").unwrap();
            assert_eq!(stdout.text(), shown);
        }
    }

    #[test]
    fn an_open_line_is_ended_before_anything_else_is_said() {
        let (mut out, stdout, stderr) = captured(false);
        out.piece("answer").unwrap();
        out.note("summary").unwrap();
        out.piece("ended\n").unwrap();
        out.note("again").unwrap();
        assert_eq!((stdout.text().as_str(), stderr.text().as_str()), ("answer\nended\n", "summary\nagain\n"));
    }

    #[test]
    fn colours_are_for_terminals() {
        let (mut out, _, stderr) = captured(false);
        out.dim_note("quiet").unwrap();
        out.error("no").unwrap();
        assert_eq!(stderr.text(), "quiet\nerror: no\n");
    }
}
