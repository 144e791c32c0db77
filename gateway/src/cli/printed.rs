//! Standard output, of which is known whether somebody still reads it.

use std::io::{self, ErrorKind, Write};

/// What a command prints. Where the reader has gone, such as `head` after its last line, there is nothing to complain of.
#[derive(Debug)]
pub(super) struct Printed<W> {
    out: W,
    /// Whether the reader has gone.
    pub(super) is_cut_off: bool,
}

impl<W: Write> Printed<W> {
    pub(super) const fn to(out: W) -> Self {
        Self { out, is_cut_off: false }
    }

    fn look<T>(&mut self, done: io::Result<T>) -> io::Result<T> {
        self.is_cut_off |= done.as_ref().is_err_and(|it| it.kind() == ErrorKind::BrokenPipe);
        done
    }
}

impl<W: Write> Write for Printed<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let done = self.out.write(buf);
        self.look(done)
    }

    fn flush(&mut self) -> io::Result<()> {
        let done = self.out.flush();
        self.look(done)
    }
}
