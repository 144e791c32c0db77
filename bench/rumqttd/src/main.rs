//! Runs rumqttd with the configuration file that it is given: `rumqttd-peer FILE`.
//!
//! Without what its own program adds (logging, a console), so that nothing but the broker is measured.

use anyhow::Context;

fn main() -> anyhow::Result<()> {
    let path = std::env::args_os().nth(1).context("give it a configuration file")?;
    let text = std::fs::read_to_string(&path).context("read the configuration file")?;
    let config: rumqttd::Config =
        toml::from_str(&text).context("understand the configuration file")?;
    // It serves until it is killed.
    rumqttd::Broker::new(config).start().context("serve")
}
