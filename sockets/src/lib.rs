//! Managed sockets: receive criteria and peering decisions.
