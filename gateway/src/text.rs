//! Values as people read them.

/// Two lower-case digits for each byte.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first `most` of a list, and how many there are besides: `a, b and 3 more`.
pub(crate) fn first_of(most: usize, list: impl ExactSizeIterator<Item = String>) -> String {
    let more = list.len().saturating_sub(most);
    let named = list.take(most).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{named} and {more} more") } else { named }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_has_two_digits() {
        assert_eq!(hexadecimal(&[0, 0x0a, 0xff]), "000aff");
        assert_eq!(hexadecimal(&[]), "");
    }

    #[test]
    fn of_a_long_list_the_first_are_named_and_the_others_counted() {
        let list = |many: usize| (0..many).map(|n| n.to_string());
        assert_eq!(first_of(2, list(5)), "0, 1 and 3 more");
        assert_eq!(first_of(2, list(2)), "0, 1");
        assert_eq!(first_of(2, list(0)), "");
    }
}
