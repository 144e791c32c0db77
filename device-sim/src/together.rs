//! Arguments of a run that are refused, since together they would mean something else than they say.

use crate::{ClientKind, InvalidArgs, Pattern, RunArgs, plan::KINDS};

/// In the patterns in which each receiver keeps account of each publisher: 32 bytes for each two of them.
const ALL_WITH_ALL: usize = 10_000;

impl RunArgs {
    /// What goes together with what.
    pub(crate) fn check_together(&self) -> Result<(), InvalidArgs> {
        let found = self.of_pattern().or_else(|| self.of_idle()).or_else(|| self.of_client());
        found.map_or(Ok(()), |why| Err(InvalidArgs::Together(why)))
    }

    fn of_pattern(&self) -> Option<&'static str> {
        let devices = self.pairs.unwrap_or(self.devices);
        let offline = self.pattern == Pattern::Offline;
        let wildcard = self.pattern == Pattern::Wildcard;
        let group = self.pattern == Pattern::Group;
        let filters = usize::try_from(self.filters.unwrap_or(0)).unwrap_or(usize::MAX);
        let fours = devices.is_multiple_of(KINDS) && filters.is_multiple_of(KINDS);
        [
            (offline && self.qos == 0, "--pattern offline needs --qos 1 or 2: what is published at QoS 0 is not kept for those who are away"),
            (self.drain_back && !offline, "--drain-back is for --pattern offline: nobody else is away"),
            (self.resume && !self.persistent && !offline, "--resume needs --persistent: no other session stays behind"),
            (wildcard && !fours, "--pattern wildcard needs multiples of 4 as --devices and --filters"),
            (self.filters.is_some() && !wildcard, "--filters is for --pattern wildcard: the others have one filter each"),
            (group && self.rate <= 0.0, "--pattern group needs --rate: who gets a message is not known before"),
            ((group || wildcard) && devices > ALL_WITH_ALL, "--pattern group and wildcard take 10,000 --devices at most: each receiver keeps account of each publisher"),
            (self.in_flight.is_some() && self.qos == 0, "--in-flight needs --qos 1 or 2: nothing else is acknowledged"),
            (self.start == crate::Start::Split && self.broker.len() < 2, "--start split needs two brokers"),
        ]
        .into_iter()
        .find_map(|(refused, why)| refused.then_some(why))
    }

    fn of_idle(&self) -> Option<&'static str> {
        let publishes = self.count.is_some() || self.rate > 0.0 || self.in_flight.is_some();
        (self.pattern == Pattern::Idle && publishes).then_some(
            "--pattern idle publishes nothing, so that --count, --rate and --in-flight mean nothing; --seconds says how long it lasts",
        )
    }

    fn of_client(&self) -> Option<&'static str> {
        let beyond = matches!(self.pattern, Pattern::Offline | Pattern::Wildcard)
            || self.persistent
            || self.wills
            || self.reconnect
            || self.in_flight.is_some()
            || self.workers > 1
            || self.protocol_version == "31";
        (self.client == ClientKind::Rumqttc && beyond).then_some(
            "--client rumqttc knows neither offline, wildcard, --persistent, --wills, --reconnect, --in-flight, --workers nor -V 31",
        )
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::{Args, InvalidArgs, Plan};

    fn refusal(args: &str) -> Option<String> {
        let all = "device-sim run --broker localhost:1883".split(' ').chain(args.split(' '));
        let Args::Run(run) = Args::try_parse_from(all).unwrap() else { panic!("a run") };
        match Plan::try_from(*run) {
            Err(refused @ InvalidArgs::Together(_)) => Some(refused.to_string()),
            Err(other) => panic!("{args}: {other}"),
            Ok(_) => None,
        }
    }

    #[test]
    fn what_would_be_left_out_is_refused() {
        for (args, names) in [
            ("--pattern offline", "--qos"),
            ("--pattern offline -q 0 -V 5 --drain-back", "--qos"),
            ("--drain-back", "--pattern offline"),
            ("--resume", "--persistent"),
            ("--filters 8", "--pattern wildcard"),
            ("--pattern wildcard -n 4 --filters 6", "multiples of 4"),
            ("--pattern wildcard -n 6", "multiples of 4"),
            ("--pattern group -n 4", "--rate"),
            ("--pattern group -n 10001 --rate 1", "10,000"),
            ("--in-flight 5", "--qos"),
            ("--start split", "two brokers"),
            ("--pattern idle --count 5", "--seconds"),
            ("--pattern idle --rate 5", "--seconds"),
            ("--client rumqttc -V 31", "-V 31"),
            ("--client rumqttc --persistent", "--persistent"),
            ("--client rumqttc --workers 2", "--workers"),
            ("--client rumqttc --wills", "--wills"),
            ("--client rumqttc -q 1 --in-flight 20", "--in-flight"),
        ] {
            let refused = refusal(args).unwrap_or_default();
            assert!(refused.contains(names), "{args}: {refused}");
        }
    }

    #[test]
    fn what_goes_together_is_taken() {
        for args in [
            "--pattern offline -q 1 --resume --window 512 --count 30 --persistent",
            "--pattern wildcard -n 100 --filters 1000",
            "--pattern wildcard -n 4",
            "--pattern group -n 100 -q 1 --rate 100 --persistent",
            "--pattern idle -n 5 --wills --seconds 1",
            "--persistent --resume --start spread",
            "--client rumqttc -V 5 -q 2 --pattern fan-out -n 4",
        ] {
            assert_eq!(refusal(args), None, "{args}");
        }
    }
}
