//! Who listens where: the ports of every gateway, and whether they are free.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

/// Distance between the ports of one gateway and the next.
const STRIDE: u32 = 10;
/// The peer link of gateway 21 would meet the WebSocket of gateway 1.
const MAX_GATEWAYS: u16 = 20;

/// The gateways of a fleet on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// One entry per gateway, `gw-1` first.
    pub gateways: Vec<PlannedGateway>,
}

/// The addresses of one gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedGateway {
    /// `gw-1`, `gw-2` and so on.
    pub id: String,
    /// MQTT without TLS.
    pub mqtt: SocketAddr,
    /// MQTT with TLS and client certificates; only this and HTTPS for devices may leave loopback.
    pub mqtts: SocketAddr,
    /// MQTT over WebSocket without TLS.
    pub websocket: SocketAddr,
    /// Health, metrics and the API.
    pub http: SocketAddr,
    /// The peer link.
    pub peer: SocketAddr,
    /// HTTPS for devices, with client certificates.
    pub devices: SocketAddr,
}

/// Why a fleet cannot be planned or its ports not be had. All are the operator's to mend.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// None, or too many.
    #[error("--gateways must be 1 to {MAX_GATEWAYS}")]
    Gateways,
    /// A port beyond 65,535.
    #[error("--base-port-offset {0} is too large: the {1} port of {2} would be {3}")]
    Offset(u16, &'static str, String, u32),
    /// Other gateways could not dial it.
    #[error("--bind {0} is no address that others can dial; name one of this machine's own")]
    Unspecified(IpAddr),
    /// Somebody listens there already, or we may not.
    #[error(
        "cannot listen on {address} ({purpose} of {id}): {what}; stop what listens there, or move all ports with --base-port-offset 1000"
    )]
    Port {
        /// Which address.
        address: SocketAddr,
        /// What it is for.
        purpose: &'static str,
        /// Which gateway it is for.
        id: String,
        /// What the system said.
        what: String,
    },
}

impl Plan {
    /// Ports for `gateways` gateways: 1883, 8883, 8083, 18083, 7883 and 18443 for the first, each 10 more for the next,
    /// and `offset` more for all. Only MQTT with TLS and HTTPS for devices are bound to `bind`: what has no TLS, and what the gateways
    /// and the operator of this machine need, stays on loopback.
    ///
    /// # Errors
    /// [`PlanError`] for a number, an offset or an address that cannot be.
    pub fn new(gateways: u16, bind: IpAddr, offset: u16) -> Result<Self, PlanError> {
        if !(1..=MAX_GATEWAYS).contains(&gateways) {
            return Err(PlanError::Gateways);
        }
        if bind.is_unspecified() {
            return Err(PlanError::Unspecified(bind));
        }
        let loopback = if bind.is_loopback() { bind } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
        let gateways = (0..u32::from(gateways)).map(|index| {
            let id = format!("gw-{}", index + 1);
            let address = |host: IpAddr, first: u32, purpose: &'static str| {
                let port = first + index * STRIDE + u32::from(offset);
                u16::try_from(port)
                    .map(|port| SocketAddr::new(host, port))
                    .map_err(|_| PlanError::Offset(offset, purpose, id.clone(), port))
            };
            Ok(PlannedGateway {
                mqtt: address(loopback, 1883, "MQTT")?,
                mqtts: address(bind, 8883, "MQTTS")?,
                websocket: address(loopback, 8083, "WebSocket")?,
                http: address(loopback, 18083, "HTTP")?,
                peer: address(loopback, 7883, "peer")?,
                devices: address(bind, 18443, "HTTPS")?,
                id: id.clone(),
            })
        });
        Ok(Self { gateways: gateways.collect::<Result<_, _>>()? })
    }

    /// Opens and closes every port once, so that a port in use is told before anything is started.
    ///
    /// # Errors
    /// [`PlanError::Port`] for the first that cannot be had.
    pub fn check_free(&self) -> Result<(), PlanError> {
        for gateway in &self.gateways {
            for (purpose, address) in gateway.addresses() {
                TcpListener::bind(address).map_err(|error| PlanError::Port {
                    address,
                    purpose,
                    id: gateway.id.clone(),
                    what: error.to_string(),
                })?;
            }
        }
        Ok(())
    }
}

impl PlannedGateway {
    /// Every address with what it is for.
    pub fn addresses(&self) -> [(&'static str, SocketAddr); 6] {
        [
            ("MQTT", self.mqtt),
            ("MQTTS", self.mqtts),
            ("WebSocket", self.websocket),
            ("HTTP", self.http),
            ("peer", self.peer),
            ("HTTPS", self.devices),
        ]
    }

    /// Where its API is.
    pub fn url(&self) -> String {
        format!("https://{}", self.http)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn the_first_gateways_ports_are_the_usual_ones() {
        let plan = Plan::new(2, LOOPBACK, 0).unwrap();
        let ports = |index: usize| plan.gateways[index].addresses().map(|(_, it)| it.port());
        assert_eq!(ports(0), [1883, 8883, 8083, 18083, 7883, 18443]);
        assert_eq!(ports(1), [1893, 8893, 8093, 18093, 7893, 18453]);
    }

    #[test]
    fn no_two_listeners_share_a_port() {
        let plan = Plan::new(MAX_GATEWAYS, LOOPBACK, 0).unwrap();
        let all: Vec<_> = plan
            .gateways
            .iter()
            .flat_map(|gateway| gateway.addresses().map(|(_, it)| it))
            .collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn an_offset_moves_all_ports_and_has_an_end() {
        let plan = Plan::new(1, LOOPBACK, 10_000).unwrap();
        assert_eq!(plan.gateways[0].mqtt.port(), 11_883);
        let error = Plan::new(1, LOOPBACK, 60_000).unwrap_err();
        assert!(matches!(error, PlanError::Offset(60_000, ..)), "{error}");
    }

    #[test]
    fn only_what_has_tls_leaves_loopback() {
        let gateway = &Plan::new(1, "10.0.0.1".parse().unwrap(), 0).unwrap().gateways[0];
        assert!(gateway.mqtt.ip().is_loopback() && gateway.websocket.ip().is_loopback());
        assert!(!gateway.mqtts.ip().is_loopback() && gateway.peer.ip().is_loopback());
        let anywhere = "0.0.0.0".parse().unwrap();
        assert_eq!(Plan::new(1, anywhere, 0), Err(PlanError::Unspecified(anywhere)));
    }

    #[test]
    fn a_port_in_use_is_named_with_what_it_is_for() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let free = taken.unwrap();
        let gateway = PlannedGateway {
            id: "gw-1".into(),
            mqtt: free,
            mqtts: listener.local_addr().unwrap(),
            websocket: free,
            http: free,
            peer: free,
            devices: free,
        };
        let error = Plan { gateways: vec![gateway] }.check_free().unwrap_err().to_string();
        assert!(error.contains("(MQTTS of gw-1)"), "{error}");
        assert!(error.contains("--base-port-offset"), "{error}");
    }
}
