//! HTTPS for devices and services, in the shape of AWS's data plane: what is asked is parsed by `shadow`, who asks is known
//! by its certificate and has the rights that it has over MQTT.
//!
//! ```text
//!  accept, a place ──► TLS with a certificate ──► whom it speaks for ──► requests, one after the other
//!                                                                          │ a call ──► rights, pace ──► worker, tables, store
//!                                                                          ▼
//!                                                        an answer, or `x-amzn-ErrorType` with the reason
//! ```

mod answer;
mod caller;
mod connection;
mod connections;
mod listener;
mod paces;
mod publish;
mod requests;
mod retained;
mod rules;
mod searches;
mod shadows;

pub use listener::{DeviceApi, DeviceApiError, DeviceApiParts};
pub use rules::DeviceRules;
