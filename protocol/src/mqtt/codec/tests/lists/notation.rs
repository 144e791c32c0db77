//! A way to write packets that people can read.
//!
//! ```text
//! 30          bytes in hexadecimal, any number of them
//! 41x300      the last byte of the word, 300 times
//! 'a/b'       a string with its two-byte length
//! <payload>   the same without a length
//! [ … ]       what is inside, behind its length as a variable byte integer
//! { … }       what is inside, behind its two-byte length
//! ```

/// The bytes that a line of the notation stands for.
pub(crate) fn bytes(line: &str) -> Vec<u8> {
    let mut open = vec![(' ', Vec::new())];
    let mut rest = line.trim();
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        let into = &mut open.last_mut().unwrap().1;
        match first {
            ' ' => {}
            '[' | '{' => open.push((first, Vec::new())),
            ']' | '}' => {
                let (begin, inside) = open.pop().unwrap();
                let into = &mut open.last_mut().unwrap().1;
                match (begin, first) {
                    ('[', ']') => varint(into, inside.len()),
                    ('{', '}') => short(into, inside.len()),
                    _ => panic!("brackets do not match: {line}"),
                }
                into.extend(inside);
            }
            '\'' | '<' => {
                let (text, after) = rest.split_once(if first == '<' { '>' } else { '\'' }).unwrap();
                if first == '\'' {
                    short(into, text.len());
                }
                into.extend_from_slice(text.as_bytes());
                rest = after;
            }
            _ => {
                let end = rest.find([' ', '[', ']', '{', '}', '\'', '<']).unwrap_or(rest.len());
                let word = format!("{first}{}", &rest[..end]);
                hexadecimal(into, &word);
                rest = &rest[end..];
            }
        }
    }
    let (_, out) = open.pop().unwrap();
    assert!(open.is_empty(), "a bracket is open: {line}");
    out
}

fn hexadecimal(out: &mut Vec<u8>, word: &str) {
    let (digits, times) = word.split_once('x').unwrap_or((word, "1"));
    assert!(digits.len().is_multiple_of(2), "half a byte: {word}");
    for at in (0..digits.len()).step_by(2) {
        out.push(u8::from_str_radix(&digits[at..at + 2], 16).unwrap());
    }
    let last = *out.last().unwrap();
    out.extend(std::iter::repeat_n(last, times.parse::<usize>().unwrap() - 1));
}

fn varint(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let low = u8::try_from(value & 0x7F).unwrap();
        value >>= 7;
        out.push(if value == 0 { low } else { low | 0x80 });
        if value == 0 {
            return;
        }
    }
}

fn short(out: &mut Vec<u8>, value: usize) {
    out.extend_from_slice(&u16::try_from(value).unwrap().to_be_bytes());
}
