//! The settings of diallers and listeners that are values: their defaults, with the reasons, and how
//! serde reads and writes them. Keys, certificates and resolvers are not among them.

use std::time::Duration;

use super::TcpOptions;

const DEFAULT_REFRESH: Duration = Duration::from_secs(30);
const SHORTEST_REFRESH: Duration = Duration::from_millis(100);
const LONGEST_REFRESH: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A longer limit is none, and a moment that far away can still be expressed.
const LONGEST_LIMIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A dialler's settings. [`Dialer::settings`](super::Dialer::settings) takes all at once; its other
/// methods document each.
///
/// With the feature `serde` they are read from, and written to, any serde format. What isn't named
/// has its default. A field that there isn't is refused, by its name. Times are numbers of seconds;
/// `"never"` stands for no limit, where there may be none. TLS settings aren't among them: keys
/// don't belong among values that are printed and copied, and files of keys are given to the
/// builders of the module `tls`.
///
/// ```
/// # #[cfg(feature = "serde")]
/// # fn main() -> Result<(), serde_json::Error> {
/// use std::time::Duration;
///
/// use millpond_net::{Dialer, DialerSettings};
///
/// let settings: DialerSettings = serde_json::from_str(
///     r#"{ "limits": { "connect": 0.5 }, "tcp": { "keepalive": "never" }, "refresh": 10 }"#,
/// )?;
/// assert_eq!(settings.limits.connect, Duration::from_millis(500));
/// assert_eq!(settings.limits.resolve, Duration::from_secs(1));
/// assert_eq!(settings.tcp.keepalive, None);
/// let dialer = Dialer::new("localhost:6379".parse().unwrap()).settings(settings);
///
/// let misspelt = serde_json::from_str::<DialerSettings>(r#"{ "refersh": 10 }"#);
/// assert!(misspelt.unwrap_err().to_string().contains("refersh"));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "serde"))]
/// # fn main() {}
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
pub struct DialerSettings {
    /// See [`Dialer::tcp_options`](super::Dialer::tcp_options).
    pub tcp: TcpOptions,
    /// See [`Dialer::limits`](super::Dialer::limits).
    pub limits: PhaseLimits,
    /// See [`Dialer::refresh`](super::Dialer::refresh).
    #[cfg_attr(feature = "serde", serde(with = "super::seconds"))]
    pub refresh: Duration,
}

impl Default for DialerSettings {
    fn default() -> Self {
        DialerSettings {
            tcp: TcpOptions::default(),
            limits: PhaseLimits::default(),
            refresh: DEFAULT_REFRESH,
        }
    }
}

/// How old a name's addresses may become, as far as it counts.
pub(super) fn clamped_refresh(refresh: Duration) -> Duration {
    refresh.clamp(SHORTEST_REFRESH, LONGEST_REFRESH)
}

/// How long each phase of a dial may take. A pool's `connect_timeout`, 3 s by default, bounds all
/// of them together; these are shorter, so that the phase that fails is told with what it had found
/// out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
pub struct PhaseLimits {
    /// Looking the name up. Default 1 s; where addresses are known from an earlier lookup, half a
    /// second is waited at most.
    #[cfg_attr(feature = "serde", serde(with = "super::seconds"))]
    pub resolve: Duration,
    /// Connecting, whatever the number of addresses. Default 2.25 s: a SYN that is lost is sent
    /// again after one.
    #[cfg_attr(feature = "serde", serde(with = "super::seconds"))]
    pub connect: Duration,
    /// The TLS handshake. Default 2 s.
    #[cfg_attr(feature = "serde", serde(with = "super::seconds"))]
    pub tls: Duration,
}

impl Default for PhaseLimits {
    fn default() -> Self {
        PhaseLimits {
            resolve: Duration::from_secs(1),
            connect: Duration::from_millis(2_250),
            tls: Duration::from_secs(2),
        }
    }
}

impl PhaseLimits {
    /// With each limit as far as it counts.
    pub(super) fn shortened(self) -> PhaseLimits {
        PhaseLimits {
            resolve: self.resolve.min(LONGEST_LIMIT),
            connect: self.connect.min(LONGEST_LIMIT),
            tls: self.tls.min(LONGEST_LIMIT),
        }
    }
}

/// A listener's settings. [`ListenOptions::settings`](super::ListenOptions::settings) takes all at
/// once. Read and written as [`DialerSettings`] are, and without TLS as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
pub struct ListenSettings {
    /// See [`ListenOptions::tcp_options`](super::ListenOptions::tcp_options).
    pub tcp: TcpOptions,
    /// See [`ListenOptions::unix_mode`](super::ListenOptions::unix_mode). For serde it is a text in
    /// octal, as `"0600"`.
    #[cfg_attr(feature = "serde", serde(with = "octal"))]
    pub unix_mode: u32,
}

impl Default for ListenSettings {
    fn default() -> Self {
        ListenSettings {
            tcp: TcpOptions::default(),
            unix_mode: 0o600,
        }
    }
}

/// The permissions of a file, as serde reads and writes them.
#[cfg(feature = "serde")]
mod octal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(mode: &u32, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{mode:04o}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
        let text = String::deserialize(from)?;
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let mode = u32::from_str_radix(&text, 8).ok();
        mode.filter(|mode| digits && *mode <= 0o777).ok_or_else(|| {
            D::Error::custom(format!("{text:?} is no mode: write \"0600\" or the like"))
        })
    }
}

/// A keepalive that may be missing, as serde reads and writes it: the word stands for none.
#[cfg(feature = "serde")]
pub(super) mod keepalive {
    use std::fmt;

    use serde::{
        Deserialize, Deserializer, Serialize, Serializer,
        de::{Error, MapAccess, Unexpected, Visitor, value::MapAccessDeserializer},
    };

    use super::super::Keepalive;

    const NEVER: &str = "never";

    pub(in super::super) fn serialize<S: Serializer>(
        keepalive: &Option<Keepalive>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match keepalive {
            Some(keepalive) => keepalive.serialize(to),
            None => to.serialize_str(NEVER),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Keepalive>, D::Error> {
        from.deserialize_any(OrNever)
    }

    struct OrNever;

    impl<'de> Visitor<'de> for OrNever {
        type Value = Option<Keepalive>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a keepalive's fields, or \"{NEVER}\"")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            match text {
                NEVER => Ok(None),
                _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
            }
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            Keepalive::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }
}

#[cfg(all(test, feature = "serde"))]
mod tests {
    use super::{super::Keepalive, *};

    fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_named_is_the_default() {
        assert_eq!(read("{}"), Ok(DialerSettings::default()));
        assert_eq!(read("{}"), Ok(ListenSettings::default()));
        let partly = r#"{ "tcp": { "keepalive": {} }, "limits": {} }"#;
        assert_eq!(read(partly), Ok(DialerSettings::default()));
    }

    #[test]
    fn what_was_written_is_read_again() {
        let tcp = TcpOptions {
            nodelay: false,
            keepalive: Some(Keepalive {
                idle: Duration::from_millis(7_500),
                interval: Duration::from_secs(2),
                probes: 9,
            }),
            user_timeout: None,
            bind: Some(([10, 0, 0, 7], 0).into()),
            send_buffer: Some(4_096),
            receive_buffer: Some(8_192),
        };
        let none = TcpOptions {
            keepalive: None,
            ..TcpOptions::default()
        };
        for tcp in [tcp, none, TcpOptions::default()] {
            let dialer = DialerSettings {
                tcp: tcp.clone(),
                limits: PhaseLimits {
                    connect: Duration::from_millis(125),
                    ..PhaseLimits::default()
                },
                refresh: Duration::from_millis(2_500),
            };
            let text = serde_json::to_string(&dialer).expect("JSON");
            assert_eq!(read(&text), Ok(dialer), "{text}");
            let listen = ListenSettings {
                tcp,
                unix_mode: 0o660,
            };
            let text = serde_json::to_string(&listen).expect("JSON");
            assert!(text.contains(r#""unix_mode":"0660""#), "{text}");
            assert_eq!(read(&text), Ok(listen), "{text}");
        }
    }

    #[test]
    fn what_is_misspelt_or_out_of_its_range_is_refused_by_name() {
        for (text, named) in [
            (r#"{ "refersh": 1 }"#, "refersh"),
            (r#"{ "limits": { "conect": 1 } }"#, "conect"),
            (r#"{ "tcp": { "nodeley": true } }"#, "nodeley"),
            (r#"{ "tcp": { "keepalive": { "idel": 1 } } }"#, "idel"),
            (r#"{ "tcp": { "keepalive": "always" } }"#, "always"),
            (r#"{ "limits": { "tls": -1 } }"#, "-1"),
            (r#"{ "refresh": "never" }"#, "never"),
        ] {
            let error = read::<DialerSettings>(text).expect_err(text);
            assert!(error.contains(named), "{text}: {error}");
        }
        for mode in ["", "rw", "+600", "0999", "1777"] {
            let text = format!(r#"{{ "unix_mode": "{mode}" }}"#);
            let error = read::<ListenSettings>(&text).expect_err(mode);
            assert!(error.contains(mode), "{error}");
        }
    }
}
