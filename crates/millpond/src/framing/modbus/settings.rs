//! What can be set of Modbus over TCP.

/// What a frame holds behind its length field: a unit and up to 253 bytes.
pub(super) const LONGEST_BODY: usize = 254;

/// The settings of [`Modbus`](super::Modbus), as a document has them:
///
/// ```toml
/// framing = { modbus = { read_only = true, unit_zero = "broadcast" } }
/// ```
///
/// ```
/// # #[cfg(feature = "serde")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use millpond::framing::{ModbusSettings, ModbusUnitZero};
///
/// let settings: ModbusSettings = toml::from_str("read_only = true")?;
/// assert!(settings.read_only);
/// assert_eq!(settings.unit_zero, ModbusUnitZero::Device);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "serde"))]
/// # fn main() {}
/// ```
///
/// Fields may be added in a minor release: end a literal with `..ModbusSettings::default()`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(rename_all = "snake_case", deny_unknown_fields, default)
)]
pub struct ModbusSettings {
    /// The longest body in bytes: unit, function and data. Default: 254, the longest that the
    /// protocol allows. More is taken for the same.
    pub max_body: usize,
    /// Whether functions that aren't known to only read are refused, with exception 1, and never
    /// sent. Default: no. A device may do anything at a function that isn't in the specification,
    /// so these are refused as well.
    pub read_only: bool,
    /// Who unit 0 is.
    pub unit_zero: ModbusUnitZero,
}

/// Who is addressed by unit 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum ModbusUnitZero {
    /// The device at the other end of the connection itself, which answers: the default, for
    /// devices on TCP.
    #[default]
    Device,
    /// All devices behind a gateway to a serial line, none of which answers.
    Broadcast,
}

impl Default for ModbusSettings {
    fn default() -> Self {
        ModbusSettings {
            max_body: LONGEST_BODY,
            read_only: false,
            unit_zero: ModbusUnitZero::default(),
        }
    }
}
