//! Settings: their defaults, each with its reason, and the one place where they are validated.

use std::time::Duration;

use millpond_words::InvalidSetting;

use super::shedding::Shedding;

/// Which idle connection is lent next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Order {
    /// The one used last: the default. A quiet pool then uses few connections, and the others reach
    /// `idle_timeout`.
    #[default]
    Lifo,
    /// The one idle longest. Keeps every connection warm, and so none ever idles out while there is
    /// load.
    Fifo,
}

/// When a connection is probed, by a round trip to its peer, before it is lent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Probe {
    /// Never: what most connectors ask for. The connector's synchronous check sees what has
    /// arrived, and a probe costs a round trip and still proves nothing about the next instant.
    #[default]
    Never,
    /// Before each time it is lent, except straight after its dial.
    Always,
    /// When it has been idle for at least this long: for paths whose middleboxes forget connections
    /// silently.
    #[cfg_attr(feature = "serde", serde(rename = "when_idle_for_seconds"))]
    WhenIdleFor(#[cfg_attr(feature = "serde", serde(with = "millpond_words::seconds"))] Duration),
}

impl Probe {
    pub(crate) fn is_due(self, idle_for: impl FnOnce() -> Duration) -> bool {
        match self {
            Probe::Never => false,
            Probe::Always => true,
            Probe::WhenIdleFor(limit) => idle_for() >= limit,
        }
    }

    pub(crate) fn is_always(self) -> bool {
        self == Probe::Always
    }
}

/// How urgent a caller is: one of eight levels. Among equals the first to come is served first; a
/// more urgent one overtakes all who are less urgent, so a steady stream of urgent callers starves
/// the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// How many levels there are.
    pub const LEVELS: usize = 8;
    /// Served before all others.
    pub const HIGHEST: Priority = Priority(0);
    /// What [`Pool::acquire`](crate::Pool::acquire) uses.
    pub const NORMAL: Priority = Priority(4);
    /// Served after all others.
    pub const LOWEST: Priority = Priority(7);

    /// The level `0` (served first) to `7` (served last); `None` beyond.
    pub const fn new(level: u8) -> Option<Priority> {
        if (level as usize) < Priority::LEVELS {
            Some(Priority(level))
        } else {
            None
        }
    }

    /// From 0, the most urgent.
    #[doc(hidden)]
    pub fn level(self) -> usize {
        usize::from(self.0)
    }
}

impl Default for Priority {
    fn default() -> Self {
        Priority::NORMAL
    }
}

/// How long to wait between dials while the endpoint fails: the wait before the n-th is drawn from
/// 1 ms to `base` · 2ⁿ⁻¹, but at most `max` (full jitter). Dials that fail together count once. While callers wait and
/// [`outage_grace`](crate::PoolBuilder::outage_grace) lasts, no wait is longer than a fifth of that.
///
/// Fields may be added in a minor release: end a literal with `..Backoff::default()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
pub struct Backoff {
    /// The longest wait after the first failure. 50 ms: a restarting process is back within a few
    /// of these.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "base_seconds", with = "millpond_words::seconds")
    )]
    pub base: Duration,
    /// The longest wait ever. 5 s: a fleet of clients doesn't hammer an endpoint that is down for
    /// hours.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "max_seconds", with = "millpond_words::seconds")
    )]
    pub max: Duration,
    /// The longest wait while callers wait and nothing listens (the dial was refused, the socket's
    /// file isn't there). 200 ms: such a dial costs nobody anything, and who asks now is
    /// served soon after the endpoint is back.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "max_while_waiting_seconds", with = "millpond_words::seconds")
    )]
    pub max_while_waiting: Duration,
    /// The longest wait while callers wait and dials do reach something: it accepts and hangs up,
    /// doesn't answer, refuses the login. 1.5 s: some 40 dials a minute are no burden to what
    /// is in trouble already.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "max_when_reached_seconds", with = "millpond_words::seconds")
    )]
    pub max_when_reached: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff {
            base: Duration::from_millis(50),
            max: Duration::from_secs(5),
            max_while_waiting: Duration::from_millis(200),
            max_when_reached: Duration::from_millis(1_500),
        }
    }
}

/// A pool's settings, as [`PoolBuilder`](crate::PoolBuilder) sets them; its methods document each.
/// [`PoolBuilder::settings`](crate::PoolBuilder::settings) takes all at once.
///
/// With the feature `serde` they are read from, and written to, any serde format. What isn't named
/// has the builder's default. A field that there isn't is refused, by its name. Times are numbers
/// of seconds, and their names say so, as in snapshots: `acquire_timeout_seconds`. `"never"` stands
/// for no limit, where there may be none:
///
/// ```
/// # #[cfg(feature = "serde")]
/// # fn main() -> Result<(), serde_json::Error> {
/// use std::time::Duration;
///
/// use millpond_pool::{PoolSettings, Probe};
///
/// let settings: PoolSettings = serde_json::from_str(
///     r#"{
///         "max_size": 4, "acquire_timeout_seconds": 0.5, "max_lifetime_seconds": "never",
///         "probe": { "when_idle_for_seconds": 30 }
///     }"#,
/// )?;
/// assert_eq!(settings.acquire_timeout, Some(Duration::from_millis(500)));
/// assert_eq!(settings.max_lifetime, None);
/// assert_eq!(settings.probe, Some(Probe::WhenIdleFor(Duration::from_secs(30))));
///
/// let misspelt = serde_json::from_str::<PoolSettings>(r#"{ "max_sise": 4 }"#);
/// assert!(misspelt.unwrap_err().to_string().starts_with("unknown field `max_sise`"));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "serde"))]
/// # fn main() {}
/// ```
///
/// Whether they are within their ranges is checked when the pool is built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct PoolSettings {
    /// See [`PoolBuilder::name`](crate::PoolBuilder::name). `None`: the default of what builds the
    /// pool (`pool`, and for a client's `client`); a pool that is built says which.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub name: Option<String>,
    /// See [`PoolBuilder::max_size`](crate::PoolBuilder::max_size).
    pub max_size: u32,
    /// See [`PoolBuilder::min_idle`](crate::PoolBuilder::min_idle).
    pub min_idle: u32,
    /// See [`PoolBuilder::max_waiting`](crate::PoolBuilder::max_waiting).
    pub max_waiting: u32,
    /// See [`PoolBuilder::max_connecting`](crate::PoolBuilder::max_connecting).
    pub max_connecting: u32,
    /// See [`PoolBuilder::acquire_timeout`](crate::PoolBuilder::acquire_timeout).
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "acquire_timeout_seconds",
            with = "millpond_words::seconds::or_never"
        )
    )]
    pub acquire_timeout: Option<Duration>,
    /// See [`PoolBuilder::connect_timeout`](crate::PoolBuilder::connect_timeout).
    #[cfg_attr(
        feature = "serde",
        serde(rename = "connect_timeout_seconds", with = "millpond_words::seconds")
    )]
    pub connect_timeout: Duration,
    /// See [`PoolBuilder::check_timeout`](crate::PoolBuilder::check_timeout).
    #[cfg_attr(
        feature = "serde",
        serde(rename = "check_timeout_seconds", with = "millpond_words::seconds")
    )]
    pub check_timeout: Duration,
    /// See [`PoolBuilder::close_timeout`](crate::PoolBuilder::close_timeout).
    #[cfg_attr(
        feature = "serde",
        serde(rename = "close_timeout_seconds", with = "millpond_words::seconds")
    )]
    pub close_timeout: Duration,
    /// See [`PoolBuilder::idle_timeout`](crate::PoolBuilder::idle_timeout).
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "idle_timeout_seconds",
            with = "millpond_words::seconds::or_never"
        )
    )]
    pub idle_timeout: Option<Duration>,
    /// See [`PoolBuilder::max_lifetime`](crate::PoolBuilder::max_lifetime).
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "max_lifetime_seconds",
            with = "millpond_words::seconds::or_never"
        )
    )]
    pub max_lifetime: Option<Duration>,
    /// See [`PoolBuilder::outage_grace`](crate::PoolBuilder::outage_grace).
    #[cfg_attr(
        feature = "serde",
        serde(rename = "outage_grace_seconds", with = "millpond_words::seconds")
    )]
    pub outage_grace: Duration,
    /// See [`PoolBuilder::backoff`](crate::PoolBuilder::backoff).
    pub backoff: Backoff,
    /// See [`PoolBuilder::order`](crate::PoolBuilder::order).
    pub order: Order,
    /// See [`PoolBuilder::probe`](crate::PoolBuilder::probe). `None`: as the connector asks for
    /// ([`default_probe`](crate::Connector::default_probe)); a pool that is built says which.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub probe: Option<Probe>,
    /// See [`PoolBuilder::leak_threshold`](crate::PoolBuilder::leak_threshold).
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "leak_threshold_seconds",
            with = "millpond_words::seconds::or_never"
        )
    )]
    pub leak_threshold: Option<Duration>,
    /// See [`PoolBuilder::shed_waiting`](crate::PoolBuilder::shed_waiting).
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub shed_waiting: Option<Shedding>,
}

impl Default for PoolSettings {
    fn default() -> Self {
        PoolSettings {
            name: None,
            max_size: 10,
            min_idle: 0,
            max_waiting: 1024,
            max_connecting: 4,
            acquire_timeout: Some(Duration::from_secs(5)),
            connect_timeout: Duration::from_secs(3),
            check_timeout: Duration::from_secs(1),
            close_timeout: Duration::from_secs(1),
            idle_timeout: Some(Duration::from_secs(60)),
            max_lifetime: Some(Duration::from_secs(30 * 60)),
            outage_grace: Duration::from_secs(1),
            backoff: Backoff::default(),
            order: Order::default(),
            probe: None,
            leak_threshold: Some(Duration::from_secs(60)),
            shed_waiting: None,
        }
    }
}

/// The largest `max_size`, `max_waiting` and the like: far above what a process can open, and
/// safely within an index.
pub(crate) const LARGEST_COUNT: u32 = 1 << 24;

/// The longest time that can be set: a hundred years, so that adding it to a point in time can't
/// overflow.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

impl PoolSettings {
    /// Every rule that the settings must keep; the first that is broken.
    pub(crate) fn validate(&self) -> Result<(), InvalidSetting> {
        max_size_is_allowed(self.max_size)?;
        count("min_idle", self.min_idle, 0, self.max_size, "max_size")?;
        count("max_waiting", self.max_waiting, 0, LARGEST_COUNT, "")?;
        count("max_connecting", self.max_connecting, 1, LARGEST_COUNT, "")?;
        positive("acquire_timeout", self.acquire_timeout)?;
        positive("connect_timeout", Some(self.connect_timeout))?;
        positive("check_timeout", Some(self.check_timeout))?;
        positive("close_timeout", Some(self.close_timeout))?;
        positive("idle_timeout", self.idle_timeout)?;
        positive("max_lifetime", self.max_lifetime)?;
        positive("leak_threshold", self.leak_threshold)?;
        positive("backoff.base", Some(self.backoff.base))?;
        positive("backoff.max", Some(self.backoff.max))?;
        positive(
            "backoff.max_while_waiting",
            Some(self.backoff.max_while_waiting),
        )?;
        positive(
            "backoff.max_when_reached",
            Some(self.backoff.max_when_reached),
        )?;
        if self.outage_grace > LONGEST {
            return Err(InvalidSetting::new(
                "outage_grace",
                format!("{:?}", self.outage_grace),
                "0 to 100 years",
            ));
        }
        if self.backoff.base > self.backoff.max {
            return Err(InvalidSetting::new(
                "backoff.base",
                format!("{:?}", self.backoff.base),
                format!("at most backoff.max, which is {:?}", self.backoff.max),
            ));
        }
        if let Some(Probe::WhenIdleFor(limit)) = self.probe {
            positive("probe (when idle for)", Some(limit))?;
        }
        if let Some(Shedding { target, interval }) = self.shed_waiting {
            positive("shed_waiting.target", Some(target))?;
            positive("shed_waiting.interval", Some(interval))?;
        }
        Ok(())
    }
}

/// The rule for `max_size`, which [`Pool::resize`](crate::Pool::resize) must keep as well.
pub(crate) fn max_size_is_allowed(max_size: u32) -> Result<(), InvalidSetting> {
    count("max_size", max_size, 1, LARGEST_COUNT, "")
}

fn count(
    setting: &'static str,
    value: u32,
    least: u32,
    most: u32,
    because: &str,
) -> Result<(), InvalidSetting> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let allowed = match because {
        "" => format!("{least} to {most}"),
        bound => format!("{least} to {most} (its {bound})"),
    };
    Err(InvalidSetting::new(setting, value.to_string(), allowed))
}

fn positive(setting: &'static str, value: Option<Duration>) -> Result<(), InvalidSetting> {
    match value {
        Some(value) if value.is_zero() || value > LONGEST => Err(InvalidSetting::new(
            setting,
            format!("{value:?}"),
            "more than 0, and at most 100 years",
        )),
        _ => Ok(()),
    }
}
