//! What is printed when the fleet is ready: where it is, and three lines to try it.

use std::fmt::Write as _;
use std::path::Path;

use super::folder::Record;

/// The addresses as a table, and three lines to paste; `command` is how this program is called.
pub fn greeting(record: &Record, data: &Path, command: &str) -> String {
    let mut text = format!(
        "\n{} ready; data, certificates and logs in {}\n\n",
        match record.gateways.len() {
            1 => "One gateway is".to_owned(),
            n => format!("{n} gateways are"),
        },
        data.display()
    );
    let row = |cells: [&str; 5]| {
        let [id, mqtt, mqtts, websocket, http] = cells;
        format!("  {id:<8} {mqtt:<16} {mqtts:<16} {websocket:<27} {http}\n")
    };
    text.push_str(&row(["", "MQTT", "MQTT + TLS", "WebSocket", "HTTP"]));
    for it in &record.gateways {
        text.push_str(&row([&it.id, &it.mqtt, &it.mqtts, &it.websocket, &it.http]));
    }
    if let (Some(first), Some(last)) = (record.gateways.first(), record.gateways.get(1)) {
        try_it(&mut text, [&first.id, &first.mqtt, &last.mqtt], command);
    } else if let Some(only) = record.gateways.first() {
        try_it(&mut text, [&only.id, &only.mqtt, &only.mqtt], command);
    }
    text.push_str("\nCtrl-C stops the fleet.\n");
    text
}

fn try_it(text: &mut String, [drained, publish, subscribe]: [&str; 3], command: &str) {
    let dial = |address: &str| {
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "1883"));
        format!("-h {} -p {port}", host.trim_start_matches('[').trim_end_matches(']'))
    };
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\nTry it, each line in a terminal of its own:\n\n  \
         mosquitto_sub {} -V 5 -i reader -c -x 3600 -q 1 -t 'demo/#' -v\n  \
         mosquitto_pub {} -q 1 -t demo/hello -m 'hello from the other gateway'\n  \
         {command} drain start {drained} --wait\n",
        dial(subscribe),
        dial(publish),
    );
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::super::folder::RecordedGateway;
    use super::super::plan::Plan;
    use super::*;

    fn shown(gateways: u16) -> String {
        let plan = Plan::new(gateways, IpAddr::V4(Ipv4Addr::LOCALHOST), 0).unwrap();
        let record = Record { gateways: plan.gateways.iter().map(RecordedGateway::from).collect() };
        greeting(&record, Path::new("./tidegate-data"), "tidegate")
    }

    #[test]
    fn the_publish_goes_to_the_first_gateway_and_the_subscribe_to_the_second() {
        let text = shown(2);
        assert!(text.contains("mosquitto_sub -h 127.0.0.1 -p 1893 "), "{text}");
        assert!(text.contains("mosquitto_pub -h 127.0.0.1 -p 1883 "), "{text}");
        assert!(text.contains("\n  tidegate drain start gw-1 --wait\n"), "{text}");
        assert!(text.contains("ws://127.0.0.1:8093/mqtt"), "{text}");
    }

    #[test]
    fn a_single_gateway_takes_both() {
        let text = shown(1);
        assert!(text.contains("One gateway is ready"), "{text}");
        assert!(text.contains("mosquitto_sub -h 127.0.0.1 -p 1883 "), "{text}");
    }
}
