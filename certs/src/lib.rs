//! Development and test identities: CA, gateways, devices, operators.
