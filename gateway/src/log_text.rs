//! A line of the log as text: when, and fields in which every value stays on its line. A busy gateway writes one for each who comes
//! and one for each who goes, so nothing is formatted that was formatted before or need not be.

use std::cell::RefCell;
use std::fmt::{self, Debug, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// A line without colours, as the `Full` format of `tracing_subscriber` has it, which asks of each piece whether it has a colour:
/// the moment, the level, the spans from the outermost on, who says it, and what.
#[derive(Debug)]
pub(crate) struct PlainLine;

impl<S, N> FormatEvent<S, N> for PlainLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        cx: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        Moment.format_time(&mut to)?;
        to.write_str(level_word(*metadata.level()))?;
        if let Some(spans) = cx.event_scope() {
            for span in spans.from_root() {
                to.write_str(span.name())?;
                let known = span.extensions();
                let fields = known.get::<FormattedFields<N>>().map(|it| it.fields.as_str());
                if let Some(fields) = fields.filter(|it| !it.is_empty()) {
                    to.write_char('{')?;
                    to.write_str(fields)?;
                    to.write_char('}')?;
                }
                to.write_char(':')?;
            }
            to.write_char(' ')?;
        }
        to.write_str(metadata.target())?;
        to.write_str(": ")?;
        cx.format_fields(to.by_ref(), event)?;
        to.write_char('\n')
    }
}

/// The level, with the spaces around it.
fn level_word(level: Level) -> &'static str {
    [
        (Level::ERROR, " ERROR "),
        (Level::WARN, "  WARN "),
        (Level::INFO, "  INFO "),
        (Level::DEBUG, " DEBUG "),
        (Level::TRACE, " TRACE "),
    ]
    .into_iter()
    .find_map(|(of, word)| (of == level).then_some(word))
    .unwrap_or(" ")
}

/// The moment of a line, in UTC, to the microsecond: `2026-11-21T19:24:15.000123Z`.
#[derive(Debug)]
pub(crate) struct Moment;

/// The last second that was written, and how.
type Second = (u64, String);

thread_local! {
    static SECOND: RefCell<Second> = const { RefCell::new((0, String::new())) };
}

impl FormatTime for Moment {
    fn format_time(&self, to: &mut Writer<'_>) -> fmt::Result {
        // A clock that is set before 1970 says nothing.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        SECOND.with_borrow_mut(|second| {
            put_moment(to, second, since.as_secs(), since.subsec_micros())
        })
    }
}

fn put_moment(to: &mut Writer<'_>, last: &mut Second, second: u64, micros: u32) -> fmt::Result {
    if last.0 != second || last.1.is_empty() {
        let at = i64::try_from(second).ok().and_then(|it| Timestamp::from_second(it).ok());
        let at = at.ok_or(fmt::Error)?;
        *last = (second, at.strftime("%Y-%m-%dT%H:%M:%S.").to_string());
    }
    let mut digits = *b"000000Z";
    let mut rest = micros;
    for digit in digits.iter_mut().take(6).rev() {
        *digit += u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    to.write_str(&last.1)?;
    to.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
}

/// Fields as text in which every value stays on its line: what a stranger sent cannot pass for a line of ours.
#[derive(Debug)]
pub(crate) struct OnOneLine;

impl<'w> FormatFields<'w> for OnOneLine {
    fn format_fields<R: RecordFields>(&self, to: Writer<'w>, fields: R) -> fmt::Result {
        let mut text = Text { to, is_first: true, result: Ok(()) };
        fields.record(&mut text);
        text.result
    }
}

/// Fields on their way into a text.
struct Text<'w> {
    to: Writer<'w>,
    is_first: bool,
    result: fmt::Result,
}

impl Text<'_> {
    fn begin(&mut self, field: &Field) -> fmt::Result {
        if !std::mem::take(&mut self.is_first) {
            self.to.write_char(' ')?;
        }
        if field.name() == "message" {
            return Ok(());
        }
        self.to.write_str(field.name())?;
        self.to.write_char('=')
    }

    fn put(&mut self, field: &Field, put: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        if self.result.is_ok() {
            self.result = self.begin(field).and_then(|()| put(&mut self.to));
        }
    }
}

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, |to| write!(OneLine(to), "{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, |to| {
            if !value.bytes().all(is_quoted_as_it_is) {
                return write!(OneLine(to), "{value:?}");
            }
            to.write_char('"')?;
            to.write_str(value)?;
            to.write_char('"')
        });
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, |to| write!(to, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, |to| write!(to, "{value}"));
    }
}

/// Whether a byte of a text means the same between quotes: most names have only such.
const fn is_quoted_as_it_is(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

/// Escapes what could end a line or speak to a terminal.
struct OneLine<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return self.0.write_str(text);
        }
        for piece in text.split_inclusive(char::is_control) {
            match piece.char_indices().next_back() {
                Some((at, last)) if last.is_control() => {
                    self.0.write_str(piece.get(..at).unwrap_or_default())?;
                    write!(self.0, "{}", last.escape_default())?;
                }
                _ => self.0.write_str(piece)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::Dispatch;
    use tracing_subscriber::filter::LevelFilter;
    use tracing_subscriber::fmt::SubscriberBuilder;
    use tracing_subscriber::fmt::format::Format;
    use tracing_subscriber::fmt::writer::BoxMakeWriter;

    use super::*;

    type Plain = SubscriberBuilder<OnOneLine, Format, LevelFilter, BoxMakeWriter>;

    /// Lines that a test reads again.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    /// What is logged, as text.
    fn logged(log: impl FnOnce()) -> String {
        logged_by(|builder| builder.event_format(PlainLine).finish().into(), log)
    }

    /// The same in the format that it follows.
    fn logged_in_full(log: impl FnOnce()) -> String {
        logged_by(|builder| builder.with_timer(Moment).finish().into(), log)
    }

    fn logged_by(format: impl FnOnce(Plain) -> Dispatch, log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let builder = tracing_subscriber::fmt().with_ansi(false).with_max_level(Level::TRACE);
        let builder = builder.with_writer(BoxMakeWriter::new(move || writer.clone()));
        tracing::dispatcher::with_default(&format(builder.fmt_fields(OnOneLine)), log);
        lines.text()
    }

    #[test]
    fn a_line_is_that_of_the_full_format() {
        let log = || {
            tracing::warn!("nobody's span");
            let _gateway = tracing::info_span!("gateway", gateway = "gw-1").entered();
            tracing::info!(client_id = "pump", remote = %"127.0.0.1:7", "a client has come");
            let _bare = tracing::info_span!("bare").entered();
            tracing::error!(left = 3, "{} lost", 7);
            tracing::debug!(target: "audit", "seen");
            tracing::trace!("passing");
        };
        // All but the moment, which is another one.
        let lines = |text: String| -> Vec<String> {
            text.lines()
                .map(|line| line.split_at("2026-11-21T19:24:15.000123Z".len()).1.to_owned())
                .collect()
        };
        let (plain, full) = (lines(logged(log)), lines(logged_in_full(log)));
        assert_eq!(plain, full);
        assert_eq!(plain.len(), 5);
        let module = module_path!();
        let came = format!(
            "  INFO gateway{{gateway=\"gw-1\"}}: {module}: a client has come client_id=\"pump\" remote=127.0.0.1:7"
        );
        assert_eq!(plain[1], came);
    }

    #[test]
    fn what_a_stranger_sends_stays_on_its_line() {
        let sent = "pump\n ERROR the store is lost\u{1b}[2J\u{9b}";
        let text = logged(|| {
            let _span = tracing::info_span!("connection", remote = %sent).entered();
            tracing::info!(client_id = sent, shown = %sent, count = 7, "it says {sent}");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.trim_end().contains(char::is_control), "{text}");
        let plain = r"pump\n ERROR the store is lost\u{1b}[2J\u{9b}";
        assert!(text.contains(&format!("it says {plain} client_id=\"{plain}\"")), "{text}");
        assert!(text.contains(&format!("shown={plain} count=7")), "{text}");
    }

    #[test]
    fn a_text_is_quoted_as_debug_would_whatever_is_in_it() {
        for text in ["pump-7", "", "two words", "a\"b", r"a\b", "ü", "\u{7f}", "'", "\t"] {
            let line = logged(|| tracing::info!(client_id = text, below = -3, "known"));
            let fields = format!("known client_id={text:?} below=-3");
            assert!(line.trim_end().ends_with(&fields), "{line} {fields}");
        }
    }

    #[test]
    fn a_moment_is_written_to_the_microsecond_whether_its_second_was_written_before_or_not() {
        let mut last = Second::default();
        let mut written = |second, micros| {
            let mut text = String::new();
            put_moment(&mut Writer::new(&mut text), &mut last, second, micros).unwrap();
            text
        };
        assert_eq!(written(0, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(written(951_827_696, 789), "2000-02-29T12:34:56.000789Z");
        assert_eq!(written(951_827_696, 999_999), "2000-02-29T12:34:56.999999Z");
        assert_eq!(written(951_827_697, 100_000), "2000-02-29T12:34:57.100000Z");
    }
}
