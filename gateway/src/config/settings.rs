//! One table per section: the struct, its defaults, its ranges and its lines in the example, from one place.

/// One setting of the configuration file.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Section it stands in, such as `limits`.
    pub section: &'static str,
    /// Its key.
    pub key: &'static str,
    /// What it is, one sentence per line.
    pub what: &'static [&'static str],
    /// Unit or kind of its value.
    pub unit: &'static str,
    /// Why the default is what it is.
    pub reason: &'static str,
    /// Least and greatest value, where it is a number.
    pub range: Option<(u64, u64)>,
    /// Default as TOML; none where leaving it out means something of its own.
    pub default: Option<String>,
    /// What the example shows where there is no default, as TOML.
    pub shown: Option<&'static str>,
    /// Whether the file must have it.
    pub needed: bool,
}

/// A default as TOML; none for an absent option.
pub(super) fn as_toml(value: &impl serde::Serialize) -> Option<String> {
    toml::Value::try_from(value).ok().map(|value| value.to_string())
}

/// Declares one section of the file.
///
/// Each line reads: documentation, `key: type = default, "unit", "reason"`, then `in least..=greatest` for a
/// number, `shown "toml"` for an optional setting, `needed "toml"` for a required one. Sections within it follow behind `and`.
macro_rules! section {
    (
        $(#[$meta:meta])*
        pub struct $name:ident in $section:literal {
            $(
                $(#[doc = $what:literal])+
                $key:ident: $type:ty = $default:expr, $unit:literal, $reason:literal
                $(in $least:literal..=$greatest:literal)? $(shown $shown:literal)? $(needed $needed:literal)?;
            )+
            $( and $(#[doc = $extra_what:literal])+ $extra:ident: $extra_type:ty; )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $( $(#[doc = $what])+ pub $key: $type, )+
            $( $(#[doc = $extra_what])+ pub $extra: $extra_type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $key: $default, )+ $( $extra: Default::default(), )* }
            }
        }

        impl $name {
            /// Every setting of this section, in the order of the example.
            pub fn settings() -> Vec<$crate::config::Setting> {
                let default = Self::default();
                vec![ $( $crate::config::Setting {
                    section: $section,
                    key: stringify!($key),
                    what: const { &[ $( $what.trim_ascii() ),+ ] },
                    unit: $unit,
                    reason: $reason,
                    range: [ $( ($least, $greatest) )? ].first().copied(),
                    default: $crate::config::settings::as_toml(&default.$key),
                    shown: [ $( $shown, )? $( $needed )? ].first().copied(),
                    needed: [ $( $needed )? ].first().is_some_and(|shown: &&str| !shown.is_empty()),
                } ),+ ]
            }

            /// The settings of this section that are not the same in both, by their whole names.
            pub(super) fn changed(&self, other: &Self, changed: &mut std::collections::BTreeSet<String>) {
                $( if self.$key != other.$key {
                    changed.insert(concat!($section, ".", stringify!($key)).to_owned());
                } )+
            }

            /// Notes every number that is out of its range.
            pub(super) fn check_ranges(&self, faults: &mut Vec<$crate::config::Fault>) {
                $( $(
                    $crate::config::fault::check_range(
                        faults, concat!($section, ".", stringify!($key)), self.$key, $least..=$greatest, $unit,
                    );
                )? )+
                let _ = faults;
            }
        }
    };
}

pub(super) use section;
