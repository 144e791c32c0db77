//! `status`, `peers` and `clients`: what the gateways say, as tables or JSON.

use std::io::Write;

use protocol::mqtt::Version;
use serde_json::{Value, json};

use super::api::{Api, ApiError};
use super::each::{Answers, each};
use super::exit::{Exit, Failure};
use super::reach::Reached;
use crate::control::{ClientStatus, GatewayStatus, PeerInterest, PeerStatus, PeerTraffic};
use crate::http::{ClientPage, PeerList};
use crate::sessions::SessionStatus;

/// Prints what each gateway does; one that does not answer is a line, too.
pub(super) async fn status(
    gateways: Vec<Reached>,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut rows =
        vec![row(["gateway", "state", "connections", "sessions", "log seq", "uptime s"])];
    let mut values = Vec::new();
    let ask = async |api: Api| api.get::<GatewayStatus>("/api/v1/gateway").await;
    let answers = each(gateways, ask).await;
    for (id, answer) in &answers.0 {
        let Ok(it) = answer else {
            rows.push(row([id, "unreachable", "-", "-", "-", "-"]));
            continue;
        };
        rows.push(vec![
            it.id.clone(),
            it.state.as_str().to_owned(),
            it.connections.to_string(),
            it.sessions.to_string(),
            it.log_seq.to_string(),
            it.uptime_s.to_string(),
        ]);
        values.push(json!(it));
    }
    print(out, json, ("gateways", values), &rows, &answers)
}

/// Prints the peer links of each gateway.
pub(super) async fn peers(
    gateways: Vec<Reached>,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut rows = vec![row(PEER_TITLES)];
    let mut values = Vec::new();
    let ask = async |api: Api| api.get::<PeerList>("/api/v1/peers").await;
    let answers = each(gateways, ask).await;
    for (id, answer) in &answers.0 {
        for it in answer.iter().flat_map(|list| &list.peers) {
            rows.push(peer_row(id, it));
            values.push(of_gateway(id, json!(it)));
        }
    }
    print(out, json, ("peers", values), &rows, &answers)
}

const PEER_TITLES: [&str; 13] = [
    "gateway",
    "peer",
    "address",
    "link",
    "for s",
    "version",
    "interest",
    "filters there",
    "log",
    "waiting",
    "credit",
    "sent",
    "received",
];

/// One link as a line; what is not known is a dash.
fn peer_row(gateway: &str, it: &PeerStatus) -> Vec<String> {
    let known = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let PeerInterest { exact, wildcard, shared } = it.interest;
    let traffic = |it: &PeerTraffic| format!("{} ({} bytes)", it.forwards, it.bytes);
    vec![
        gateway.to_owned(),
        it.id.clone(),
        it.address.clone(),
        if it.up { "up" } else { "down" }.to_owned(),
        (it.since_ms / 1000).to_string(),
        known(it.version.map(u64::from)),
        if it.interest_acked { "acknowledged" } else { "pending" }.to_owned(),
        format!("{exact} exact, {wildcard} wildcard, {shared} shared"),
        it.log_applied.to_string(),
        it.oldest_ms.map_or_else(
            || it.queue_len.to_string(),
            |oldest| format!("{} ({} bytes, {oldest} ms)", it.queue_len, it.queue_bytes),
        ),
        known(it.credit),
        traffic(&it.sent),
        traffic(&it.received),
    ]
}

/// Prints the clients of each gateway, page by page.
pub(super) async fn clients(
    gateways: Vec<Reached>,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut rows = vec![row([
        "gateway",
        "client",
        "connected",
        "mqtt",
        "remote",
        "queue",
        "in flight",
        "epoch",
    ])];
    let mut values = Vec::new();
    let answers = each(gateways, all_clients).await;
    for (id, answer) in &answers.0 {
        for it in answer.iter().flatten() {
            rows.push(vec![
                id.clone(),
                it.client_id.clone(),
                if it.connected { "yes" } else { "no" }.to_owned(),
                version(it.protocol_version).to_owned(),
                it.remote.clone().unwrap_or_else(|| "-".to_owned()),
                it.queue_len.to_string(),
                it.inflight.to_string(),
                it.epoch.to_string(),
            ]);
            values.push(of_gateway(id, json!(it)));
        }
    }
    print(out, json, ("clients", values), &rows, &answers)
}

/// All clients of one gateway, page by page.
async fn all_clients(api: Api) -> Result<Vec<ClientStatus>, ApiError> {
    let (mut found, mut path) = (Vec::new(), "/api/v1/clients?max=1000".to_owned());
    loop {
        let page: ClientPage = api.get(&path).await?;
        found.extend(page.clients);
        let Some(next) = page.next else { return Ok(found) };
        path = format!("/api/v1/clients?max=1000&after={}", percent_encoded(&next));
    }
}

/// The version of MQTT with this protocol level.
fn version(level: u8) -> &'static str {
    let known = Version::ALL.into_iter().find(|version| version.level() == level);
    known.unwrap_or(Version::V311).number()
}

/// Prints a client's session, as the gateway says it that knows most of it.
pub(super) async fn session(
    gateways: Vec<Reached>,
    client_id: &str,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let path = format!("/api/v1/sessions/{}", percent_encoded(client_id));
    let mut found: Option<SessionStatus> = None;
    let mut failed = None;
    for (_, api) in gateways {
        match api.get::<SessionStatus>(&path).await {
            // What waits in memory only its owner knows.
            Ok(it) if it.queue.is_some() => {
                found = Some(it);
                break;
            }
            Ok(it) => found = found.or(Some(it)),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    let it = match (found, failed) {
        (Some(it), _) => it,
        (None, Some(error)) => return Err(error.into()),
        (None, None) => {
            return Err(Failure { exit: Exit::Usage, message: "no gateway to ask".to_owned() });
        }
    };
    let text = if json { format!("{}\n", json!(it)) } else { table(&rows_of(&it)) };
    out.write_all(text.as_bytes())?;
    Ok(())
}

fn rows_of(it: &SessionStatus) -> Vec<Vec<String>> {
    let never = || "never".to_owned();
    let mut rows = vec![
        row(["client", &it.client_id]),
        row(["owner", it.owner.as_deref().unwrap_or("-")]),
        row(["epoch", &it.epoch.to_string()]),
        row(["ends with its connection", if it.clean { "yes" } else { "no" }]),
        row(["outlives its connection, s", &it.expiry_s.map_or_else(never, |s| s.to_string())]),
        row(["ends at, ms since 1970", &it.expires_at_ms.map_or_else(never, |ms| ms.to_string())]),
        row(["subscriptions", &it.subscriptions.to_string()]),
    ];
    if let Some(queue) = &it.queue {
        rows.extend([
            row(["queued messages", &format!("{} of {}", queue.messages, queue.messages_max)]),
            row(["queued bytes", &format!("{} of {}", queue.bytes, queue.bytes_max)]),
            row(["when full", &queue.when_full]),
            row(["full", if queue.full { "yes" } else { "no" }]),
        ]);
    }
    rows.extend(
        it.dropped.iter().map(|(why, n)| row([&format!("dropped, {why}"), &n.to_string()])),
    );
    rows
}

/// Prints what was answered, and fails if somebody did not answer. Of nobody's answers there is no table.
fn print<T>(
    out: &mut dyn Write,
    json: bool,
    (name, values): (&str, Vec<Value>),
    rows: &[Vec<String>],
    answers: &Answers<T>,
) -> Result<(), Failure> {
    if answers.is_answered() {
        let all = || json!({ name: values, "unreachable": answers.silent() });
        let text = if json { format!("{}\n", all()) } else { table(rows) };
        out.write_all(text.as_bytes())?;
    }
    answers.ended()
}

fn of_gateway(id: &str, mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.insert("gateway".to_owned(), Value::from(id));
    }
    value
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.into_iter().map(str::to_owned).collect()
}

/// Columns as wide as their widest cell. What a client calls itself may hold anything but must not reach a
/// terminal as a command.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let printable = |cell: &String| cell.replace(char::is_control, "\u{fffd}");
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(printable).collect()).collect();
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<_> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

pub(super) fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if plain(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::each::tests::{answers, gone};

    const SERVES: &str = r#"{"id": "gw-2", "version": "0.1.0", "state": "serving", "uptime_s": 5, "incarnation": 1,
        "connections": 7, "sessions": 7, "workers": 2, "log_seq": 9, "addresses": []}"#;

    #[tokio::test]
    async fn a_gateway_that_is_gone_is_a_line_beside_those_that_serve() {
        let fleet = || vec![gone("gw-1"), answers("gw-2", SERVES).0];
        let mut out = Vec::new();
        let failure = status(fleet(), false, &mut out).await.unwrap_err();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("gw-1     unreachable  -"), "{text}");
        assert!(text.contains("gw-2     serving      7"), "{text}");
        assert_eq!(failure.exit, Exit::Failed);
        let mut out = Vec::new();
        assert_eq!(status(fleet(), true, &mut out).await.unwrap_err().exit, Exit::Failed);
        let value: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["gateways"][0]["id"], "gw-2");
        assert_eq!(value["unreachable"][0]["gateway"], "gw-1");
    }

    #[tokio::test]
    async fn of_a_gateway_that_is_gone_alone_there_is_no_table() {
        let mut out = Vec::new();
        assert!(status(vec![gone("gw-1")], false, &mut out).await.is_err());
        assert!(out.is_empty());
    }

    #[test]
    fn each_version_of_mqtt_has_its_own_name() {
        assert_eq!([3, 4, 5].map(version), ["3.1", "3.1.1", "5.0"]);
    }

    #[test]
    fn columns_stand_below_each_other() {
        let rows = [row(["a", "long title"]), row(["bbb", "c"])];
        assert_eq!(table(&rows), "a    long title\nbbb  c\n");
    }

    #[test]
    fn a_session_is_shown_with_its_queue_and_its_drops() {
        let it = SessionStatus {
            client_id: "c".to_owned(),
            clean: false,
            epoch: 3,
            owner: None,
            expiry_s: Some(60),
            expires_at_ms: None,
            subscriptions: 1,
            queue: None,
            dropped: [("expired".to_owned(), 7)].into(),
        };
        let text = table(&rows_of(&it));
        assert!(text.contains("owner                       -\n"), "{text}");
        assert!(text.ends_with("dropped, expired            7\n"), "{text}");
    }

    #[test]
    fn a_clients_name_cannot_command_the_terminal() {
        assert!(!table(&[row(["\u{1b}[2J"])]).contains('\u{1b}'));
    }

    #[test]
    fn any_client_id_fits_into_an_address() {
        assert_eq!(percent_encoded("a b&c=é"), "a%20b%26c%3D%C3%A9");
    }
}
