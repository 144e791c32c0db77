//! Relations between topic filters: what one matches, all of it or some of it, of what another matches.

use protocol::levels;

/// Whether every topic that `inner` matches is matched by `outer` too. Both are valid filters without a share prefix.
pub fn covers(outer: &str, inner: &str) -> bool {
    if inner.starts_with('$') && begins_with_wildcard(outer) {
        return false;
    }
    if outer == "+/#" && inner == "#" {
        // Every topic has a first level.
        return true;
    }
    let (mut outer, mut inner) = (levels(outer), levels(inner));
    loop {
        match (outer.next(), inner.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some(_), Some("#")) => return false,
            (Some("+"), Some(_)) => {}
            (Some(o), Some(i)) if o == i => {}
            (Some(_) | None, _) => return false,
        }
    }
}

/// Whether some topic is matched by both. Both are valid filters without a share prefix.
pub fn overlaps(one: &str, other: &str) -> bool {
    let hidden = |filter: &str, by: &str| filter.starts_with('$') && begins_with_wildcard(by);
    if hidden(one, other) || hidden(other, one) {
        return false;
    }
    let (mut one, mut other) = (levels(one), levels(other));
    loop {
        match (one.next(), other.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(a), Some(b)) if a == b => {}
            (Some(_) | None, _) => return false,
        }
    }
}

/// Such a filter matches no topic that begins with `$` `[MQTT5-4.7.2-1]`.
fn begins_with_wildcard(filter: &str) -> bool {
    filter.starts_with(['+', '#'])
}
