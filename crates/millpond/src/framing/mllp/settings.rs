//! What can be set of HL7 over MLLP.

/// 16 MiB.
pub(super) const DEFAULT_MAX_BODY: usize = 16 << 20;

/// The settings of [`Mllp`](super::Mllp), as a document has them:
///
/// ```toml
/// framing = { mllp = { max_body = 1048576, enhanced = "same_connection", failures = "close" } }
/// ```
///
/// ```
/// # #[cfg(feature = "serde")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use millpond::framing::{MllpEnhanced, MllpSettings};
///
/// let settings: MllpSettings = toml::from_str("enhanced = 'same_connection'")?;
/// assert_eq!(settings.enhanced, MllpEnhanced::SameConnection);
/// assert_eq!(settings.max_body, 16 << 20);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "serde"))]
/// # fn main() {}
/// ```
///
/// Fields may be added in a minor release: end a literal with `..MllpSettings::default()`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(rename_all = "snake_case", deny_unknown_fields, default)
)]
pub struct MllpSettings {
    /// The longest message in bytes. Default: 16 MiB ([`Mllp::DEFAULT_MAX_BODY`](super::Mllp::DEFAULT_MAX_BODY)), because messages
    /// carry whole documents and images in base64.
    pub max_body: usize,
    /// What is done with messages of the enhanced mode that ask for an application acknowledgment.
    pub enhanced: MllpEnhanced,
    /// How a server tells that a message has failed.
    pub failures: MllpFailures,
}

/// What is done with messages of the enhanced mode that ask for an application acknowledgment, in
/// MSH-16. Those that ask for an accept acknowledgment only are sent in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum MllpEnhanced {
    /// They are refused: the default. Only whoever runs the receiver knows where it sends the
    /// application acknowledgment. Waited for in vain, it would cost each message its deadline and
    /// its connection.
    #[default]
    Refuse,
    /// The receiver sends it on the same connection, before it answers the next message.
    SameConnection,
    /// The receiver sends it later, in an exchange that it begins itself, on a connection of its
    /// own, as HL7 has it. It isn't waited for: only MSH-15 says what answers the message.
    LaterExchange,
}

/// How a server tells a client that its message has failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum MllpFailures {
    /// By closing the connection: the default. A sender then knows nothing of the message's fate
    /// and asks, or sends it again. An acknowledgment of ours would be taken for the
    /// application's word, and some senders drop what was answered with an error.
    #[default]
    Close,
    /// By an acknowledgment: AR, or CR, if the message can be sent again as it is, because the
    /// server is overloaded, drains or lacks what it needs; else AE, or CE. A message that can't be
    /// acknowledged still closes the connection.
    Acknowledge,
}

impl Default for MllpSettings {
    fn default() -> Self {
        MllpSettings {
            max_body: DEFAULT_MAX_BODY,
            enhanced: MllpEnhanced::default(),
            failures: MllpFailures::default(),
        }
    }
}
