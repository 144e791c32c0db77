//! What must hold of any bytes whatsoever, for each thing that reads them. A breach panics.
//!
//! The fuzz targets outside the workspace include this file as it is, so it uses nothing but the public face of the room.

use protocol::Wall;

use crate::{
    ClientFirst, HookAnswer, PasswordFile, covers, login_of, looks_like_a_token, overlaps,
    read_acl, read_mosquitto,
};

/// Files of the operator: access rules in both forms, passwords. What is wrong is told line by line.
pub(crate) fn files(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let lines = text.lines().count();
    if let Ok(rules) = read_mosquitto("acl", text) {
        assert!(rules.len() <= lines);
    }
    let _ = read_acl("acl.toml", text);
    if let Ok(file) = PasswordFile::parse(text) {
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((user, _)) = line.split_once(':') {
                assert!(file.knows(user), "{user:?}");
            }
        }
    }
}

/// What a client says about itself: a user name, a password, the first message of SCRAM.
pub(crate) fn credentials(bytes: &[u8]) {
    let _ = looks_like_a_token(bytes);
    let _ = ClientFirst::parse(bytes);
    if let Ok(name) = std::str::from_utf8(bytes) {
        assert!(login_of(name).is_none_or(|login| name.starts_with(login)));
    }
}

/// What the hook of the operator answers.
pub(crate) fn hook_answer(bytes: &[u8]) {
    assert!(HookAnswer::parse(500, bytes, Wall(1)).is_err());
    let _ = HookAnswer::parse(200, bytes, Wall(1));
}

/// Two filters: what covers another overlaps with it.
pub(crate) fn filters(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (one, other) = text.split_once('\n').unwrap_or((text, text));
    let valid = |text| protocol::TopicFilter::new(text).is_ok();
    if valid(one) && valid(other) {
        assert_eq!(overlaps(one, other), overlaps(other, one), "{one:?} {other:?}");
        if covers(one, other) {
            assert!(overlaps(one, other), "{one:?} {other:?}");
        }
        assert!(covers(one, one), "{one:?}");
    }
}
