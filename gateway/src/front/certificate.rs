//! What a client's certificate says.

use access::CertificateNames;
use aws_lc_rs::digest::{SHA256, digest};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::text::hexadecimal;
use crate::tls::CertificateKey;

/// What a certificate that was shown says.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) names: CertificateNames,
    pub(crate) key: CertificateKey,
    /// Whether its time has come and is not over: a session that is resumed was verified when it began.
    pub(crate) is_timely: bool,
}

/// Reads a certificate, which was verified. `None` if it cannot be read.
pub(crate) fn read(der: &[u8]) -> Option<Shown> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let mut names = CertificateNames {
        common_name: first(subject.iter_common_name()),
        organization: first(subject.iter_organization()),
        organizational_unit: first(subject.iter_organizational_unit()),
        subject: rfc4514(subject),
        issuer: rfc4514(certificate.issuer()),
        serial: number(certificate.raw_serial()),
        fingerprint: digest(&SHA256, der).as_ref().try_into().unwrap_or_default(),
        ..CertificateNames::default()
    };
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    for name in alternatives.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::DNSName(dns) => names.dns_names.push((*dns).to_owned()),
            GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
            GeneralName::RFC822Name(email) => names.emails.push((*email).to_owned()),
            GeneralName::OtherName(..)
            | GeneralName::X400Address(_)
            | GeneralName::DirectoryName(_)
            | GeneralName::EDIPartyName(_)
            | GeneralName::IPAddress(_)
            | GeneralName::RegisteredID(_)
            | GeneralName::Invalid(..) => {}
        }
    }
    let (key, is_timely) = (CertificateKey::of(&certificate), certificate.validity().is_valid());
    Some(Shown { names, key, is_timely })
}

fn first<'a>(mut found: impl Iterator<Item = &'a AttributeTypeAndValue<'a>>) -> Option<String> {
    found.next().and_then(|value| value.as_str().ok()).map(str::to_owned)
}

/// Without leading zero bytes.
fn number(bytes: &[u8]) -> String {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    hexadecimal(bytes.get(zeros..).unwrap_or_default())
}

/// A name as RFC 4514 writes it: the last part first, `+` within a part.
fn rfc4514(name: &X509Name<'_>) -> String {
    let parts: Vec<String> = name
        .iter_rdn()
        .map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+"))
        .collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let key = match oid.as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.6" => "C",
        "2.5.4.9" => "STREET",
        "0.9.2342.19200300.100.1.25" => "DC",
        "0.9.2342.19200300.100.1.1" => "UID",
        other => other,
    };
    match attribute.as_str() {
        Ok(value) => format!("{key}={}", escaped(value)),
        Err(_) => format!("{key}=#{}", hexadecimal(attribute.as_slice())),
    }
}

/// RFC 4514, 2.4: what would end a value, or begin another meaning, stands behind a backslash.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (at, character) in value.chars().enumerate() {
        let special = matches!(character, '"' | '+' | ',' | ';' | '<' | '>' | '\\')
            || (at == 0 && matches!(character, ' ' | '#'))
            || (at == last && character == ' ');
        if character == '\0' {
            text.push_str("\\00");
            continue;
        }
        if special {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_device_are_read() {
        let folder = tempfile::tempdir().unwrap();
        certs::development_set(folder.path(), &["gw-1"]).unwrap();
        let pem = std::fs::read(folder.path().join("device-1.pem")).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
        let names = read(&pem.contents).unwrap().names;
        assert_eq!(names.common_name.as_deref(), Some("device-1"));
        assert_eq!(names.uris, ["tidegate:device:device-1"]);
        assert!(names.subject.contains("CN=device-1"), "{}", names.subject);
        assert!(!names.serial.is_empty() && !names.serial.starts_with("00"));
        assert_eq!(names.fingerprint.as_slice(), digest(&SHA256, &pem.contents).as_ref());
    }

    #[test]
    fn what_is_no_certificate_has_no_names() {
        assert!(read(b"\x30\x03abc").is_none());
    }

    #[test]
    fn values_are_escaped() {
        assert_eq!(escaped(" a,b+c\\ "), "\\ a\\,b\\+c\\\\\\ ");
        assert_eq!(escaped("#1"), "\\#1");
        assert_eq!(escaped("plain name"), "plain name");
    }
}
