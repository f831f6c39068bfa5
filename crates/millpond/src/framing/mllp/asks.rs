//! Which acknowledgments a message asks for, by the rules of the original and the enhanced mode,
//! and which of them has come.

use super::{
    message::{AckCode, Header},
    settings::MllpEnhanced,
};
use crate::framing::Failure;

/// Which acknowledgments answer a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// None.
    Nothing,
    /// The application acknowledgment.
    Application,
    /// The accept acknowledgment.
    Accept,
    /// The accept acknowledgment, and the application acknowledgment if it was positive.
    Both,
    /// A refusal to accept it, or else the application acknowledgment.
    RefusalOrApplication,
}

/// What an acknowledgment that came is to its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// The last one.
    Last,
    /// The first of two.
    Accepted,
}

/// When an acknowledgment is sent: HL7's table 0155.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Always,
    Never,
    OnErrors,
    OnSuccess,
}

const ALL: [Asks; 5] = [
    Asks::Nothing,
    Asks::Application,
    Asks::Accept,
    Asks::Both,
    Asks::RefusalOrApplication,
];

impl Asks {
    /// What the message with this header asks for.
    ///
    /// # Errors
    ///
    /// Nobody could tell how many acknowledgments come, or the setting refuses it; in words for the
    /// sender.
    pub(super) fn of(header: &Header<'_>, enhanced: MllpEnhanced) -> Result<Self, Failure> {
        let accept = Condition::read("MSH-15", header.field(15))?;
        let application = Condition::read("MSH-16", header.field(16))?;
        if (accept, application) == (None, None) {
            return Ok(match header.is_acknowledgment() {
                true => Asks::Nothing,
                false => Asks::Application,
            });
        }
        let accept = accept.unwrap_or(Condition::Never);
        let application = application.unwrap_or(Condition::Never);
        use Condition::{Always, Never, OnErrors};
        match (accept, application, enhanced) {
            (Always, Never, _) | (Always, _, MllpEnhanced::LaterExchange) => Ok(Asks::Accept),
            (Never, Never, _) | (Never, _, MllpEnhanced::LaterExchange) => Ok(Asks::Nothing),
            (_, Always | OnErrors | Condition::OnSuccess, MllpEnhanced::Refuse) => {
                Err(Failure::refused(
                    "MSH-16 asks for an application acknowledgment in enhanced mode, and where it \
                     is sent isn't known: set `enhanced` of mllp to same_connection or \
                     later_exchange, or send NE in MSH-16",
                ))
            }
            (Always, Always, _) => Ok(Asks::Both),
            (Never, Always, _) => Ok(Asks::Application),
            (OnErrors, Always, MllpEnhanced::SameConnection) => Ok(Asks::RefusalOrApplication),
            (OnErrors | Condition::OnSuccess, _, _) => Err(conditional("MSH-15", accept)),
            (Always | Never, _, _) => Err(conditional("MSH-16", application)),
        }
    }

    /// As a number that isn't 0.
    pub(super) fn as_word(self) -> u64 {
        1 + self as u64
    }

    /// What a number stands for.
    pub(super) fn from_word(word: u64) -> Option<Self> {
        ALL.into_iter().find(|asks| asks.as_word() == word)
    }

    /// What an acknowledgment with this code is to the message, if it can come now. `accepted`: the
    /// first of two has come.
    pub(super) fn answered_by(self, code: AckCode, accepted: bool) -> Option<Came> {
        let is_application = code.is_application();
        match (self, code) {
            (Asks::Nothing, _) => None,
            (Asks::Application, _) => is_application.then_some(Came::Last),
            // Whoever has processed it has accepted it.
            (Asks::Accept, _) => Some(Came::Last),
            (Asks::Both, _) if accepted => is_application.then_some(Came::Last),
            (Asks::Both, AckCode::CommitAccept) => Some(Came::Accepted),
            (Asks::Both, _) => (!is_application).then_some(Came::Last),
            (Asks::RefusalOrApplication, _) => {
                (code != AckCode::CommitAccept).then_some(Came::Last)
            }
        }
    }
}

impl Condition {
    /// What a field says; nothing if it is empty or null.
    fn read(name: &str, field: &[u8]) -> Result<Option<Self>, Failure> {
        match field {
            b"" | b"\"\"" => Ok(None),
            b"AL" => Ok(Some(Condition::Always)),
            b"NE" => Ok(Some(Condition::Never)),
            b"ER" => Ok(Some(Condition::OnErrors)),
            b"SU" => Ok(Some(Condition::OnSuccess)),
            _ => Err(Failure::refused(format!(
                "{name} is none of AL, NE, ER and SU"
            ))),
        }
    }
}

#[cold]
fn conditional(name: &str, condition: Condition) -> Failure {
    let when = match condition {
        Condition::OnErrors => "ER, on errors only",
        _ => "SU, on success only",
    };
    Failure::refused(format!(
        "{name} asks for an acknowledgment by {when}, and nobody could tell whether one is still \
         to come: send AL or NE"
    ))
}
