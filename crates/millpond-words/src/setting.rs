//! The error of a setting that is out of its range: the same for pools, clients and servers.

use std::{error::Error, fmt};

/// A setting that is out of its range.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidSetting {
    /// Its name.
    pub setting: &'static str,
    /// What it was set to.
    pub value: String,
    /// What is allowed.
    pub allowed: String,
}

impl InvalidSetting {
    /// The setting of this name was set to `value`, and must be as `allowed` says: "at least 1".
    pub fn new(setting: &'static str, value: String, allowed: impl Into<String>) -> Self {
        InvalidSetting {
            setting,
            value,
            allowed: allowed.into(),
        }
    }
}

impl fmt::Display for InvalidSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let InvalidSetting {
            setting,
            value,
            allowed,
        } = self;
        write!(f, "{setting} is {value}, and must be {allowed}")
    }
}

impl Error for InvalidSetting {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_the_setting_its_value_and_what_is_allowed() {
        let error = InvalidSetting::new("max_size", 0.to_string(), "1 to 16777216");
        assert_eq!(
            error.to_string(),
            "max_size is 0, and must be 1 to 16777216"
        );
    }
}
