//! What may be concluded about presence (V3): when all is quiet, the record of each client says where it is.

use protocol::ClientId;
use shadow::Presence;
use store::{Reader, Space, Store as _};
use tidegate::config::PresenceSettings;
use tidegate::presence::read_presence;

use super::device::Device;
use super::network::{End, Party};
use super::world::World;

/// How long a client may take to come back that was moved, in milliseconds: less than all is quiet in the end.
const RETURN_MS: u32 = 3_000;

/// Whether anybody's coming and going is remembered.
pub(super) fn settings(keeps: bool) -> PresenceSettings {
    if keeps {
        PresenceSettings { return_within_ms: RETURN_MS, ..PresenceSettings::default() }
    } else {
        PresenceSettings::off()
    }
}

impl World {
    /// All is quiet: what the store says of shadows, and of who is there, is true.
    pub(super) fn look_at_store(&mut self) {
        let Some(site) = self.sites.first() else { return };
        let Ok(mut reader) = site.start.store.another_process().reader() else { return };
        let now = self.around.now;
        if let Ok(shadows) = reader.scan(Space::Shadow, &[], None, 1024) {
            self.around.truth.shadows_stand(&shadows, now);
        }
        if !self.around.presence.is_on() {
            return;
        }
        let there = self.devices.iter().filter(|device| !device.off && device.is_up());
        let wrong = there.filter_map(|device| self.misplaced(device, &mut *reader)).next();
        if let Some(what) = wrong {
            self.around.truth.breach("V3", what);
        }
    }

    /// What is not true of a device that is there.
    fn misplaced(&self, device: &Device, reader: &mut dyn Reader) -> Option<String> {
        let wire = device.link.as_ref()?.wire;
        let Party::Gateway(place) = self.around.network.party(wire, End::Accepter)? else {
            return None;
        };
        let gateway = &self.sites.get(place.site)?.start.id;
        let client = ClientId::new(&device.name).ok()?;
        let (doc, _) = read_presence(reader, &client).ok()?;
        let Some(presence) = doc.and_then(|doc| Presence::decode(&doc.value)) else {
            return Some(format!(
                "nothing is remembered of {}, which is at {gateway}",
                device.name
            ));
        };
        let is_there = presence.connection().filter(|_| presence.expected_until().is_none());
        let said = is_there.map(|it| &it.gateway);
        (said != Some(gateway))
            .then(|| format!("{} is at {gateway}, its record says {said:?}", device.name))
    }
}
