//! Reads a certificate: its names, its issuer, its dates, and whether it is a CA's. Certificates
//! come from the network or from files, so every field may hold anything.

use std::{fmt::Write, net::IpAddr, time::Duration};

use x509_cert::{
    der::Decode,
    ext::pkix::{BasicConstraints, SubjectAltName, name::GeneralName},
    name::Name,
    time::Time,
};

/// A day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A certificate that ends sooner than this should be renewed by now. Renewal takes time, and many
/// machines may need the new certificate.
pub(crate) const RENEWED_BEFORE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) names: Vec<String>,
    pub(crate) issuer: String,
    /// The end of its validity, as the certificate writes it.
    pub(crate) ends_at: String,
    /// The same, since 1970.
    pub(crate) ends: Duration,
    /// It is a CA's certificate.
    pub(crate) is_ca: bool,
}

impl Certificate {
    /// Reads it from its DER encoding.
    pub(crate) fn read(der: &[u8]) -> Result<Certificate, String> {
        let certificate =
            x509_cert::Certificate::from_der(der).map_err(|error| error.to_string())?;
        let told = certificate.tbs_certificate;
        let (_, names) = told
            .get::<SubjectAltName>()
            .map_err(|error| error.to_string())?
            .unwrap_or((false, SubjectAltName(Vec::new())));
        let constraints = told
            .get::<BasicConstraints>()
            .map_err(|error| error.to_string())?;
        let ends = told.validity.not_after;
        Ok(Certificate {
            names: names.0.iter().filter_map(name).collect(),
            issuer: distinguished(&told.issuer),
            ends_at: date(&ends),
            ends: ends.to_unix_duration(),
            is_ca: constraints.is_some_and(|(_, constraints)| constraints.ca),
        })
    }

    /// How much longer it is valid, `now` being the time since 1970; `None` if it has expired.
    pub(crate) fn left(&self, now: Duration) -> Option<Duration> {
        self.ends.checked_sub(now).filter(|left| !left.is_zero())
    }
}

/// `3 days`, `5 hours`.
pub(crate) fn long(time: Duration) -> String {
    let (count, unit) = match time.as_secs() / DAY.as_secs() {
        0 => (time.as_secs() / 3600, "hour"),
        days => (days, "day"),
    };
    match count {
        0 => String::from("less than an hour"),
        1 => format!("1 {unit}"),
        count => format!("{count} {unit}s"),
    }
}

fn date(time: &Time) -> String {
    let time = time.to_date_time();
    format!("{}-{:02}-{:02}", time.year(), time.month(), time.day())
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
        GeneralName::IpAddress(bytes) => match bytes.as_bytes().len() {
            4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes.as_bytes()).ok()?).to_string()),
            16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes.as_bytes()).ok()?).to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// `CN=R11,O=Let's Encrypt,C=US`.
fn distinguished(name: &Name) -> String {
    let mut text = String::new();
    // `to_string` would panic where a value can't be written.
    match write!(text, "{name}") {
        Ok(()) => text,
        Err(_) => String::from("a name that can't be read"),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, date_time_ymd};

    use super::*;

    fn certificate() -> Vec<u8> {
        let names = [String::from("db.example"), String::from("*.db.example")];
        let mut params = CertificateParams::new(names).expect("names");
        params
            .subject_alt_names
            .push(SanType::IpAddress(IpAddr::from([127, 0, 0, 1])));
        params
            .distinguished_name
            .push(DnType::CommonName, "A \x1b[31m, name");
        params.not_after = date_time_ymd(2031, 2, 3);
        let key = KeyPair::generate().expect("a key");
        params
            .self_signed(&key)
            .expect("a certificate")
            .der()
            .to_vec()
    }

    #[test]
    fn a_certificate_tells_its_names_its_issuer_and_its_end() {
        let read = Certificate::read(&certificate()).expect("sound");
        assert_eq!(read.names, ["db.example", "*.db.example", "127.0.0.1"]);
        assert!(read.issuer.starts_with("CN=A "), "{}", read.issuer);
        assert_eq!(read.ends_at, "2031-02-03");
        assert_eq!(read.ends, Duration::from_secs(1_927_843_200));
        assert_eq!(read.left(read.ends - DAY), Some(DAY));
        assert_eq!(
            (read.left(read.ends), read.left(read.ends + DAY)),
            (None, None)
        );
    }

    #[test]
    fn bytes_that_are_no_certificate_are_an_error_and_no_panic() {
        let sound = certificate();
        for length in 0..sound.len() {
            assert!(
                Certificate::read(&sound[..length]).is_err(),
                "{length} bytes"
            );
        }
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] = damaged[at].wrapping_add(0x55);
            // Most of them are still certificates, but other ones.
            let _ = Certificate::read(&damaged);
        }
    }

    #[test]
    fn a_long_time_is_told_in_days() {
        let told = [0, 3_600, 7_200, 86_400, 13 * 86_400]
            .map(|seconds| long(Duration::from_secs(seconds)));
        assert_eq!(
            told,
            ["less than an hour", "1 hour", "2 hours", "1 day", "13 days"]
        );
    }
}
