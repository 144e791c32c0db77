//! What somebody may have meant who wrote a name that is not known.

/// The known name with the fewest edits to the unknown one, the first of several; none when all are far off.
pub fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (edits(unknown, name), name))
        .min_by_key(|(edits, _)| *edits)
        .filter(|(edits, name)| *edits * 2 <= name.chars().count().max(unknown.chars().count()))
        .map(|(_, name)| name)
}

/// Insertions, deletions and replacements that turn one word into another (Levenshtein's distance).
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, b) in row.iter_mut().skip(1).zip(&to) {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = *cell;
            left = replaced.min(left + 1).min(*cell + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("same", "same"), 0);
    }

    #[test]
    fn a_word_that_is_far_from_all_known_ones_gets_no_hint() {
        assert_eq!(nearest("zzzzzz", ["bind", "path"].into_iter()), None);
        assert_eq!(nearest("bnid", ["bind", "path"].into_iter()), Some("bind"));
    }
}
