//! A fleet of MQTT device gateways.
