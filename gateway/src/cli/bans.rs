//! `bans`: whom operators keep out of the fleet.

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::json;

use super::api::{Api, ApiError};
use super::exit::{Exit, Failure};
use super::reach::Reached;
use super::show::{percent_encoded, table};
use crate::bans::{Ban, BanRequest};
use crate::http::BanList;

/// What to do about bans.
#[derive(Debug, Clone, Subcommand)]
pub enum BansCommand {
    /// List the bans that hold.
    List,
    /// Ban a client id, a user, an address or a network, in all gateways; who is here is disconnected.
    Add {
        /// Whom.
        #[command(flatten)]
        whom: Whom,
        /// How long, such as 90s, 15m, 12h or 7d; for good when absent.
        #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
        lasts: Option<u64>,
        /// Why, for other operators; clients are not told.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Lift a ban; exit code 1 when there is none.
    Remove {
        /// Whose.
        #[command(flatten)]
        whom: Whom,
    },
}

/// What a ban is on; one of the three.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct Whom {
    /// Client id.
    #[arg(long, value_name = "ID")]
    pub client: Option<String>,
    /// User.
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Address, or network such as 10.0.0.0/8.
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<String>,
}

/// Asks the first gateway that answers: a ban is the whole fleet's.
pub(super) async fn run(
    gateways: Vec<Reached>,
    command: &BansCommand,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let mut unreachable = None;
    for (_, api) in gateways {
        match ask(&api, command, json).await {
            Err(error @ ApiError::Unreachable { .. }) => unreachable = Some(error),
            answer => {
                out.write_all(answer?.as_bytes())?;
                return Ok(Exit::Done);
            }
        }
    }
    let nobody = || Failure { exit: Exit::Failed, message: "there is no gateway".to_owned() };
    Err(unreachable.map_or_else(nobody, Failure::from))
}

async fn ask(api: &Api, command: &BansCommand, json: bool) -> Result<String, ApiError> {
    let ban = match command {
        BansCommand::List => {
            let list: BanList = api.get("/api/v1/bans").await?;
            let text = if json { format!("{}\n", json!(list)) } else { listed(&list.bans) };
            return Ok(text);
        }
        BansCommand::Add { whom, lasts, reason } => {
            let Whom { client, user, address } = whom.clone();
            let reason = reason.clone();
            let request = BanRequest { client, user, address, for_s: *lasts, reason };
            api.post::<Ban>("/api/v1/bans", &request).await?
        }
        BansCommand::Remove { whom } => {
            let named =
                [("client", &whom.client), ("user", &whom.user), ("address", &whom.address)];
            let named = named.into_iter().find_map(|(key, name)| Some((key, name.as_ref()?)));
            let query = named.map(|(key, name)| format!("{key}={}", percent_encoded(name)));
            let path = format!("/api/v1/bans?{}", query.unwrap_or_default());
            api.delete::<Ban>(&path).await?
        }
    };
    Ok(if json { format!("{}\n", json!(ban)) } else { listed(&[ban]) })
}

fn listed(bans: &[Ban]) -> String {
    let title = ["on", "name", "until", "since", "by", "reason"];
    let mut rows = vec![title.map(str::to_owned).to_vec()];
    rows.extend(bans.iter().map(|ban| {
        let named = [("client", &ban.client), ("user", &ban.user), ("address", &ban.address)];
        let named = named.into_iter().find_map(|(key, name)| Some((key, name.clone()?)));
        let (kind, name) = named.unwrap_or_default();
        vec![
            kind.to_owned(),
            name,
            ban.until.map_or_else(|| "-".to_owned(), |until| until.to_string()),
            ban.since.to_string(),
            ban.by.clone(),
            ban.reason.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    }));
    table(&rows)
}

/// A number of seconds, minutes, hours or days.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || "give a number with s, m, h or d, such as 12h".to_owned();
    let units = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];
    let read = |(unit, in_s): (char, u64)| {
        let number = text.strip_suffix(unit)?.parse::<u64>().ok()?;
        number.checked_mul(in_s).filter(|s| *s > 0)
    };
    units.into_iter().find_map(read).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::arguments::{Arguments, Command};
    use super::*;

    fn parsed(line: &str) -> Option<BansCommand> {
        let typed = ["tidegate", "bans"].into_iter().chain(line.split_whitespace());
        let Some(Command::Bans(command)) = Arguments::try_parse_from(typed).ok()?.command else {
            return None;
        };
        Some(command)
    }

    #[test]
    fn a_time_is_a_number_with_a_unit() {
        let read = ["90s", "15m", "12h", "7d"].map(|text| seconds(text).unwrap());
        assert_eq!(read, [90, 900, 43_200, 604_800]);
        for text in ["", "1", "h", "1w", "-1h", "0s", "1.5h", "99999999999999999999s"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_ban_is_on_one_thing() {
        assert!(parsed("add --client a --for 1h --reason loud").is_some());
        assert!(parsed("remove --address 10.0.0.0/8").is_some());
        for line in ["add", "remove", "add --client a --user b", "add --client a --for 1"] {
            assert!(parsed(line).is_none(), "{line}");
        }
    }
}
