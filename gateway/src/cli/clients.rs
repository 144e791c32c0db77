//! `clients list`, `show` and `kick`: who is there in the whole fleet.

use std::io::Write;

use clap::Subcommand;
use protocol::Wall;
use serde_json::json;

use super::api::{Api, ApiError};
use super::exit::{Exit, Failure};
use super::reach::Reached;
use super::show::{percent_encoded, table};
use crate::http::{ConnectionPage, SubscriptionList};
use crate::presence::{ConnectionStatus, SentAway};

/// What to do with the clients of the fleet.
#[derive(Debug, Clone, Subcommand)]
pub enum ClientsCommand {
    /// List every client of which a record is kept, connected or not, at whichever gateway.
    List {
        /// Only those that are connected.
        #[arg(long)]
        connected: bool,
    },
    /// Show one: whether it is there, where and since when, how its last connections ended, and its subscriptions.
    Show {
        /// Client id.
        client_id: String,
    },
    /// End a client's connection, at whichever gateway it is.
    Kick {
        /// Client id.
        client_id: String,
        /// End its session too, also if it is not connected.
        #[arg(long)]
        clean_session: bool,
        /// Do not publish its will.
        #[arg(long)]
        prevent_will: bool,
    },
}

/// Asks the first gateway that answers: clients are the whole fleet's.
pub(super) async fn run(
    gateways: Vec<Reached>,
    command: &ClientsCommand,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let text = first(gateways, async |api: &Api| match command {
        ClientsCommand::List { connected } => list(api, *connected, json).await,
        ClientsCommand::Show { client_id } => show(api, client_id, json).await,
        ClientsCommand::Kick { client_id, clean_session, prevent_will } => {
            let client = percent_encoded(client_id);
            let how = format!("clean_session={clean_session}&prevent_will={prevent_will}");
            let sent: SentAway = api.delete(&format!("/api/v1/connections/{client}?{how}")).await?;
            Ok(if json {
                format!("{}\n", json!(sent))
            } else if let Some(gateway) = sent.gateway {
                format!("its connection to {gateway} is ended\n")
            } else {
                "it was not connected; its session is over\n".to_owned()
            })
        }
    });
    out.write_all(text.await?.as_bytes())?;
    Ok(Exit::Done)
}

/// What the first gateway says that can be reached.
pub(super) async fn first<T>(
    gateways: Vec<Reached>,
    ask: impl AsyncFn(&Api) -> Result<T, ApiError>,
) -> Result<T, Failure> {
    let mut unreachable = None;
    for (_, api) in gateways {
        match ask(&api).await {
            Err(error @ ApiError::Unreachable { .. }) => unreachable = Some(error),
            answer => return Ok(answer?),
        }
    }
    let nobody = || Failure { exit: Exit::Failed, message: "there is no gateway".to_owned() };
    Err(unreachable.map_or_else(nobody, Failure::from))
}

async fn list(api: &Api, connected: bool, json: bool) -> Result<String, ApiError> {
    let (mut found, mut path) = (Vec::new(), "/api/v1/connections?max=1000".to_owned());
    loop {
        let page: ConnectionPage = api.get(&path).await?;
        found.extend(page.connections.into_iter().filter(|it| it.connected || !connected));
        let Some(next) = page.next else { break };
        path = format!("/api/v1/connections?max=1000&after={}", percent_encoded(&next));
    }
    if json {
        return Ok(format!("{}\n", json!({"connections": found})));
    }
    let title = ["client", "connected", "gateway", "since", "address", "thing", "why it left"];
    let mut rows = vec![title.map(str::to_owned).to_vec()];
    rows.extend(found.iter().map(row));
    Ok(table(&rows))
}

fn row(it: &ConnectionStatus) -> Vec<String> {
    let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let since = it.since_ms.or_else(|| it.left.first().map(|left| left.at_ms));
    vec![
        it.client_id.clone(),
        if it.connected { "yes" } else { "no" }.to_owned(),
        or_dash(it.gateway.as_deref()),
        since.map_or_else(|| "-".to_owned(), moment),
        or_dash(it.address.as_deref()),
        or_dash(it.thing.as_deref()),
        or_dash(it.reason()),
    ]
}

async fn show(api: &Api, client_id: &str, json: bool) -> Result<String, ApiError> {
    let client = percent_encoded(client_id);
    let it: ConnectionStatus = api.get(&format!("/api/v1/connections/{client}")).await?;
    // Of a client without a session they are not known.
    let path = format!("/api/v1/connections/{client}/subscriptions");
    let filters: Option<SubscriptionList> = match api.get(&path).await {
        Ok(list) => Some(list),
        Err(error @ ApiError::Unreachable { .. }) => return Err(error),
        Err(_) => None,
    };
    if json {
        let filters = filters.map(|list| list.subscriptions);
        return Ok(format!("{}\n", json!({"connection": it, "subscriptions": filters})));
    }
    let pairs = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![
        pairs("client", it.client_id.clone()),
        pairs("connected", if it.connected { "yes" } else { "no" }.to_owned()),
    ];
    let optional = [
        ("gateway", it.gateway.clone()),
        ("since", it.since_ms.map(moment)),
        ("expected until", it.expected_until_ms.map(moment)),
        ("principal", it.principal.clone()),
        ("address", it.address.clone()),
        ("thing", it.thing.clone()),
        ("keep alive s", it.keep_alive_s.map(|it| it.to_string())),
        ("session outlives s", it.expiry_s.map(|it| it.to_string())),
        ("version number", it.version.map(|it| it.to_string())),
    ];
    rows.extend(optional.into_iter().filter_map(|(name, value)| Some(pairs(name, value?))));
    for left in &it.left {
        let what = format!("{} at {}, since {}", left.reason, left.gateway, moment(left.since_ms));
        rows.push(vec![format!("left {}", moment(left.at_ms)), what]);
    }
    for it in filters.into_iter().flat_map(|list| list.subscriptions) {
        rows.push(vec!["subscribed".to_owned(), format!("{} at QoS {}", it.filter, it.qos)]);
    }
    Ok(table(&rows))
}

/// A moment as people write it.
pub(super) fn moment(ms: u64) -> String {
    let at = i64::try_from(Wall(ms).0).ok();
    let at = at.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map_or_else(|| "-".to_owned(), |at| at.to_string())
}
