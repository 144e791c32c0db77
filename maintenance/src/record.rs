//! How names and moments stand in stored records.

/// Calendar time as milliseconds.
pub(crate) mod wall {
    use protocol::Wall;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(wall: &Wall, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(wall.0)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Wall, D::Error> {
        u64::deserialize(from).map(Wall)
    }
}

/// Calendar time that may not have come yet.
pub(crate) mod maybe_wall {
    use protocol::Wall;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(crate) fn serialize<S: Serializer>(wall: &Option<Wall>, to: S) -> Result<S::Ok, S::Error> {
        wall.map(|wall| wall.0).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Wall>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Wall))
    }
}

/// A gateway's name, checked when it is read.
pub(crate) mod gateway {
    use protocol::GatewayId;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(id: &GatewayId, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(id.as_str())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<GatewayId, D::Error> {
        GatewayId::new(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// One life of a gateway process.
pub(crate) mod incarnation {
    use protocol::Incarnation;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(life: &Incarnation, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(life.0)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Incarnation, D::Error> {
        u64::deserialize(from).map(Incarnation)
    }
}

/// One life of a gateway process that may not have come yet.
pub(crate) mod maybe_incarnation {
    use protocol::Incarnation;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        life: &Option<Incarnation>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        life.map(|life| life.0).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Incarnation>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Incarnation))
    }
}

/// A span as whole milliseconds.
pub(crate) mod millis {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

/// Names without `+`, as one text with that between them; none if there are none.
pub(crate) mod names {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(crate) fn serialize<S: Serializer>(names: &[String], to: S) -> Result<S::Ok, S::Error> {
        Some(names.join("+")).filter(|_| !names.is_empty()).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
        let names = Option::<String>::deserialize(from)?;
        Ok(names.iter().flat_map(|names| names.split('+')).map(str::to_owned).collect())
    }
}
