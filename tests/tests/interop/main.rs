//! Clients that we did not write, against real gateways.

mod mosquitto;
mod rumqttc_v4;
mod rumqttc_v5;
mod websocket;
