//! Numbers of up to 64 bits in as few bytes as they need: 7 bits per byte, low bits first. For stored forms of our own;
//! the numbers of MQTT packets are the codec's `[MQTT5-1.5.5-1]`.

/// Appends a number.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Takes a number off the front; `None` if it is cut, too large, or not in its shortest form.
pub fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        value |= bits << shift;
        if byte & 0x80 == 0 {
            let shortest = shift == 0 || *byte != 0;
            return (shortest && bits << shift >> shift == bits).then_some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_put_is_taken(value: u64, shift in 0_u32..64, behind: Vec<u8>) {
            let value = value >> shift;
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let len = bytes.len();
            prop_assert!(len <= 10);
            bytes.extend_from_slice(&behind);
            let mut rest = &bytes[..];
            prop_assert_eq!(take_varint(&mut rest), Some(value));
            prop_assert_eq!(rest, &behind[..]);
            prop_assert_eq!(take_varint(&mut &bytes[..len - 1]), None, "cut");
        }

        #[test]
        fn there_is_one_form_of_a_number(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut rest = &bytes[..];
            if let Some(value) = take_varint(&mut rest) {
                let mut again = Vec::new();
                put_varint(&mut again, value);
                prop_assert_eq!(&again[..], &bytes[..bytes.len() - rest.len()]);
            }
        }
    }

    #[test]
    fn more_than_sixty_four_bits_are_refused() {
        let max = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(take_varint(&mut &max[..]), Some(u64::MAX));
        assert_eq!(take_varint(&mut &[&max[..9], &[2]].concat()[..]), None);
        assert_eq!(take_varint(&mut &[&max[..9], &[0x81, 1]].concat()[..]), None);
    }
}
