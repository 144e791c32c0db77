//! What a client would have first, read from the first bytes of its handshake.

/// What stands before the payload of a record: its kind, a version and its length.
const RECORD_HEAD: usize = 5;
/// What stands before a client's session id: kind and length of the message, a version and 32 random bytes.
const HELLO_HEAD: usize = 4 + 2 + 32;
/// ChaCha20-Poly1305 with TLS 1.3; in 1.2 with RSA, ECDSA, and a Diffie-Hellman of RSA.
const CHACHA: [u16; 4] = [0x1303, 0xcca8, 0xcca9, 0xccaa];

/// Whether a client prefers `ChaCha20` to every other cipher; none if that does not stand in these bytes, because the hello is
/// not there yet or is none.
pub(super) fn wants_chacha(hello: &[u8]) -> Option<bool> {
    let (head, payload) = hello.split_at_checked(RECORD_HEAD)?;
    let [22, 3, _, high, low] = *head else { return None };
    let len = usize::from(u16::from_be_bytes([high, low]));
    let (message, rest) = payload.get(..len.min(payload.len()))?.split_at_checked(HELLO_HEAD)?;
    if *message.first()? != 1 {
        return None;
    }
    let (id_len, rest) = rest.split_first()?;
    let rest = rest.get(usize::from(*id_len)..)?;
    let (suites_len, rest) = rest.split_first_chunk::<2>()?;
    let suites = rest.get(..usize::from(u16::from_be_bytes(*suites_len)).min(rest.len()))?;
    let mut suites = suites.as_chunks::<2>().0.iter().map(|suite| u16::from_be_bytes(*suite));
    suites.find(|suite| !is_grease(*suite)).map(|first| CHACHA.contains(&first))
}

/// Whether a number means nothing: some clients send such to see that servers pass over what they do not know.
const fn is_grease(suite: u16) -> bool {
    let [high, low] = suite.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The beginning of a handshake with these suites.
    fn hello(id_len: u8, suites: &[u16]) -> Vec<u8> {
        let mut payload = vec![1, 0, 0, 0, 3, 3];
        payload.extend([7; 32]);
        payload.push(id_len);
        payload.extend(std::iter::repeat_n(9, id_len.into()));
        payload.extend(u16::try_from(suites.len() * 2).unwrap().to_be_bytes());
        payload.extend(suites.iter().flat_map(|suite| suite.to_be_bytes()));
        payload.extend([1, 0]);
        let len = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [&[22, 3, 1, len[0], len[1]], &*payload].concat()
    }

    #[test]
    fn the_first_suite_that_means_something_is_what_a_client_wants() {
        assert_eq!(wants_chacha(&hello(32, &[0x1302, 0x1301, 0x1303])), Some(false));
        assert_eq!(wants_chacha(&hello(0, &[0x1303, 0x1301])), Some(true));
        assert_eq!(wants_chacha(&hello(0, &[0x4a4a, 0xcca9, 0xc02b])), Some(true));
        assert_eq!(wants_chacha(&hello(32, &[0x4a4b])), Some(false));
        assert_eq!(wants_chacha(&hello(32, &[0x0a0a])), None);
    }

    #[test]
    fn what_is_not_there_yet_is_not_guessed() {
        let whole = hello(32, &[0x1301, 0x1303]);
        let known = whole.len() - 4;
        for len in 0..known {
            assert_eq!(wants_chacha(&whole[..len]), None, "{len}");
        }
        assert_eq!(wants_chacha(&whole[..known]), Some(false));
        // A record that ends before: what follows is another record, not the suites.
        let mut cut = whole.clone();
        cut[4] = 70;
        assert_eq!(wants_chacha(&cut), None);
        let mut other = whole;
        other[RECORD_HEAD] = 2;
        assert_eq!(wants_chacha(&other), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            wants_chacha(&bytes);
            let mut hello = hello(32, &[0x1302]);
            hello.truncate(RECORD_HEAD + HELLO_HEAD);
            hello.extend(bytes);
            wants_chacha(&hello);
        }
    }
}
