//! What of a user name is a login.

/// The login in CONNECT's user name: what stands before the first `?`, since SDKs of cloud brokers write metadata behind it
/// (`?SDK=Python&Version=2.0`). `None` when nothing is left, as if no user name had been sent.
pub fn login_of(user_name: &str) -> Option<&str> {
    let login = user_name.split('?').next().unwrap_or_default();
    (!login.is_empty()).then_some(login)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_of_an_sdk_is_no_login() {
        assert_eq!(login_of("?SDK=Python&Version=2.0"), None);
        assert_eq!(login_of("pump?SDK=Python"), Some("pump"));
        assert_eq!(login_of("pump"), Some("pump"));
        assert_eq!(login_of(""), None);
    }
}
