//! Whom a gateway asks or tells over HTTP, by a URL in the configuration.

use std::path::{Path, PathBuf};

use super::fault::Fault;

/// Whom to ask or tell over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// The authority of its certificate; none: plain HTTP.
    pub ca: Option<PathBuf>,
}

/// What is written in one section.
#[derive(Debug, Clone, Copy)]
pub(super) struct WrittenEndpoint<'a> {
    /// Its section, such as `access.hook`.
    pub(super) section: &'a str,
    pub(super) url: &'a str,
    pub(super) ca: Option<&'a PathBuf>,
    /// What plain HTTP would show to the network.
    pub(super) shown: &'a str,
}

/// As meant, with the file of the authority in `base`; notes what is wrong with it.
pub(super) fn endpoint(
    written: &WrittenEndpoint<'_>,
    base: &Path,
    faults: &mut Vec<Fault>,
) -> Option<Endpoint> {
    let WrittenEndpoint { section, url, ca, shown } = *written;
    let mut fault =
        |what: &str| faults.push(Fault::new(format!("{section}.url"), format!("{url:?} {what}")));
    let Ok(uri) = url.parse::<hyper::Uri>() else {
        fault("is no URL");
        return None;
    };
    let secure = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        Some(_) | None => {
            fault("does not begin with http:// or https://");
            return None;
        }
    };
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let loopback = host == "localhost"
        || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    if secure && ca.is_none() {
        fault(&format!("needs {section}.ca: no authority is trusted by itself"));
    }
    if !secure && !loopback {
        fault(&format!("would send {shown} over the network without TLS: use https://"));
    }
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    Some(Endpoint {
        host,
        port,
        path: uri.path_and_query().map_or("/", |it| it.as_str()).to_owned(),
        ca: ca.filter(|_| secure).map(|ca| base.join(ca)),
    })
}
