//! The arithmetic of limits: how long a transfer may take, and which addresses count as one client.
//! Pure: it is told the time.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

pub(super) use crate::framed::Allowance;
pub use crate::framed::HeartbeatLimit;

/// The longest time, so that adding times to moments never overflows.
pub(super) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3_600);

/// How long a transfer may take: `base`, and the time that its bytes take at the lowest rate.
pub(crate) fn transfer_time(base: Duration, bytes: usize, least_rate: u32) -> Duration {
    base.saturating_add(transfer_time_of(bytes, least_rate))
        .min(LONGEST)
}

/// How long so many bytes take at a rate in bytes per second; a year at most, because a framing may
/// announce any length.
pub(crate) fn transfer_time_of(bytes: usize, rate: u32) -> Duration {
    let seconds = bytes as f64 / f64::from(rate);
    Duration::try_from_secs_f64(seconds).map_or(LONGEST, |time| time.min(LONGEST))
}

/// What counts as one client: an IPv4 address, or an IPv6 network of 64 bits, because whoever has
/// an address there has all of them.
pub(super) fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        v4 => v4,
    }
}

/// Cuts a text for a client to 500 bytes: an error may quote the request.
pub(super) fn shorten(mut text: String) -> String {
    const LONGEST: usize = 500;
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|&at| text.is_char_boundary(at));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn a_transfer_has_time_for_its_bytes() {
        let base = Duration::from_secs(10);
        assert_eq!(transfer_time(base, 0, 1_000), base);
        assert_eq!(transfer_time(base, 5_000, 1_000), Duration::from_secs(15));
        assert_eq!(transfer_time(base, usize::MAX, 1), LONGEST);
        assert_eq!(transfer_time(LONGEST, 1, 1), LONGEST);
        let _ = Instant::now() + transfer_time(base, usize::MAX, u32::MAX);
    }

    #[test]
    fn a_network_of_ipv6_is_one_client_and_a_mapped_address_is_ipv4() {
        let of = |text: &str| origin(text.parse().expect("an address")).to_string();
        assert_eq!(of("10.0.0.7"), "10.0.0.7");
        assert_eq!(of("::ffff:10.0.0.7"), "10.0.0.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(shorten(String::from("short")), "short");
        let long = shorten(format!("x{}", "ü".repeat(1_000)));
        assert!(long.len() <= 503 && long.ends_with("ü…"), "{long}");
    }
}
