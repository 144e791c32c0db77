//! Reading Rust just well enough to guard it.

/// The text with comments and the contents of strings and characters blanked. Lines stay where they are.
pub fn code_only(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let kept = !(before.is_alphanumeric() || before == '_');
        let length = match token(rest) {
            Token::Comment(length) => {
                blank(&mut out, part(rest, length));
                length
            }
            Token::Literal(length) if kept || first == '"' || first == '\'' => {
                out.push('"');
                blank(&mut out, part(rest, length));
                out.push('"');
                length
            }
            Token::Literal(_) | Token::Other => {
                out.push(first);
                first.len_utf8()
            }
        };
        before = first;
        rest = rest.get(length..).unwrap_or_default();
    }
    out
}

/// The text without its `#[cfg(test)] mod … { … }` blocks, as rustfmt lays them out.
pub fn without_tests(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let indent: String = line.chars().take_while(|c| *c == ' ').collect();
        let opens = |next: &&str| next.trim_start().starts_with("mod ") && next.ends_with('{');
        if line.trim_start() == "#[cfg(test)]" && lines.peek().is_some_and(opens) {
            let end = format!("{indent}}}");
            for inner in lines.by_ref() {
                if inner == end {
                    break;
                }
            }
            continue;
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

enum Token {
    /// A comment of so many bytes.
    Comment(usize),
    /// A string or character of so many bytes.
    Literal(usize),
    Other,
}

fn token(text: &str) -> Token {
    if text.starts_with("//") {
        return Token::Comment(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Token::Comment(block_comment(text));
    }
    if text.starts_with('\'') {
        return character(text).map_or(Token::Other, Token::Literal);
    }
    let unprefixed = ["br", "cr", "b", "c", "r"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix).filter(|rest| rest.starts_with(['"', '#'])))
        .unwrap_or(text);
    let prefix_bytes = text.len() - unprefixed.len();
    let raw = part(text, prefix_bytes).ends_with('r');
    if raw {
        return raw_string(unprefixed)
            .map_or(Token::Other, |length| Token::Literal(prefix_bytes + length));
    }
    if unprefixed.starts_with('"') {
        return Token::Literal(prefix_bytes + string(unprefixed));
    }
    Token::Other
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    loop {
        let rest = text.get(at..).unwrap_or_default();
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else if let Some(first) = rest.chars().next() {
            at += first.len_utf8();
        } else {
            return text.len();
        }
    }
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

fn raw_string(text: &str) -> Option<usize> {
    let hashes = text.len() - text.trim_start_matches('#').len();
    let body = text.get(hashes..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(hashes + 1 + length)
}

/// The length of a character literal; `None` for a lifetime.
fn character(text: &str) -> Option<usize> {
    let mut chars = text.char_indices().skip(1);
    let (_, first) = chars.next()?;
    if first == '\\' {
        // The escaped character itself may be a quote.
        let _ = chars.next()?;
        return chars.find(|(_, c)| *c == '\'').map(|(at, _)| at + 1);
    }
    let (at, second) = chars.next()?;
    (second == '\'').then_some(at + 1)
}

fn part(text: &str, length: usize) -> &str {
    text.get(..length).unwrap_or(text)
}

fn blank(out: &mut String, text: &str) {
    out.extend(text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_blanked_and_code_stays() {
        for (text, kept) in [
            ("a // b\nc", "a \nc"),
            ("a /* b /* c */ d */ e", "a  e"),
            (r#"f("b \" // c") + d"#, r#"f("") + d"#),
            ("f(r#\"b \" c\"#, br\"x\\\") + d", r#"f("", "") + d"#),
            (r"g('\'', 'x', b'\\') + d", r#"g("", "", b"") + d"#),
            ("fn h<'a>(x: &'a str) -> &'a str", "fn h<'a>(x: &'a str) -> &'a str"),
            ("bar\"b\"", "bar\"\""),
            ("r#type", "r#type"),
        ] {
            let got: String = code_only(text);
            let squeezed = |text: &str| text.split(' ').collect::<String>();
            assert_eq!(squeezed(&got), squeezed(kept), "{text}");
            assert_eq!(got.lines().count(), text.lines().count(), "{text}");
        }
    }

    #[test]
    fn test_modules_are_left_out_and_the_rest_stays() {
        let text =
            "a\n#[cfg(test)]\nmod tests {\n    fn b() {\n    }\n}\nc\n#[cfg(test)]\nmod d;\n";
        assert_eq!(without_tests(text), "a\nc\n#[cfg(test)]\nmod d;\n");
    }
}
