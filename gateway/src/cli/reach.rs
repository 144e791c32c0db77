//! From a gateway's name to its API.

use super::api::{Api, ApiError};
use super::arguments::Arguments;
use super::exit::{Exit, Failure};
use crate::fleet::Record;

/// A gateway's name, as asked for or as the folder has it, and its API.
pub(super) type Reached = (String, Api);

/// The API of one gateway.
pub(super) fn one(arguments: &Arguments, gateway: &str) -> Result<Reached, Failure> {
    let mut all = some(arguments, Some(gateway))?;
    all.pop().ok_or_else(|| Failure {
        exit: Exit::Usage,
        message: format!("no gateway {gateway:?} in {}", arguments.data.display()),
    })
}

/// The API of one gateway, or of every gateway in the data folder.
pub(super) fn some(arguments: &Arguments, gateway: Option<&str>) -> Result<Vec<Reached>, Failure> {
    let certificates = crate::fleet::certificates(&arguments.data);
    if let Some(url) = &arguments.url {
        let api = Api::new(url, &certificates)?;
        return Ok(vec![(gateway.unwrap_or(url).to_owned(), api)]);
    }
    let record = Record::read(&arguments.data).map_err(|error| {
        let mut failure = Failure::from(error);
        failure.message.push_str("; name the fleet's folder with --data, or a gateway with --url");
        failure
    })?;
    let known: Vec<_> = record.gateways.iter().map(|it| it.id.clone()).collect();
    let reached: Vec<_> = record
        .gateways
        .into_iter()
        .filter(|it| gateway.is_none_or(|wanted| wanted == it.id))
        .map(|it| Ok((it.id, Api::new(&it.http, &certificates)?)))
        .collect::<Result<_, ApiError>>()?;
    match gateway {
        Some(wanted) if reached.is_empty() => Err(Failure {
            exit: Exit::Usage,
            message: format!("no gateway {wanted:?}; the fleet has {}", known.join(", ")),
        }),
        _ => Ok(reached),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn an_unknown_gateway_is_answered_with_the_known_ones() {
        let dir = tempfile::tempdir().unwrap();
        let record = r#"{"gateways":[{"id":"gw-1","http":"http://127.0.0.1:1","mqtt":"","mqtts":"","websocket":""}]}"#;
        std::fs::write(dir.path().join("fleet.json"), record).unwrap();
        let data = dir.path().to_str().unwrap();
        let arguments = Arguments::parse_from(["tidegate", "status", "--data", data]);
        assert_eq!(one(&arguments, "gw-1").unwrap().1.url(), "http://127.0.0.1:1");
        let failure = one(&arguments, "gw-9").unwrap_err();
        assert_eq!(failure.message, "no gateway \"gw-9\"; the fleet has gw-1");
        assert_eq!(failure.exit, Exit::Usage);
    }

    #[test]
    fn a_folder_without_a_fleet_is_told_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().to_str().unwrap();
        let arguments = Arguments::parse_from(["tidegate", "status", "--data", data]);
        let failure = some(&arguments, None).unwrap_err();
        assert!(failure.message.contains("--url"), "{}", failure.message);
        assert_eq!(failure.exit, Exit::Failed);
    }
}
