//! Checks the served certificate for reasons why clients would refuse it, before the first of them
//! does.

use std::{path::Path, time::Duration};

use rustls::pki_types::{CertificateDer, UnixTime, pem::PemObject};

use super::certificates::Files;
use crate::certificate::Certificate;

/// Why clients will refuse the first certificate of these files, and what to do. `None` if nothing
/// wrong can be seen from here.
pub(super) fn doubt(files: &Files) -> Option<String> {
    // A file that can't be read is reported where it is used.
    let first = CertificateDer::pem_file_iter(&files.certificate)
        .ok()?
        .next()?
        .ok()?;
    let certificate = Certificate::read(&first).ok()?;
    let now = Duration::from_secs(UnixTime::now().as_secs());
    let wrong = wrong_with(&certificate, now)?;
    Some(
        format!(
            "clients will refuse the certificate in {}: {wrong}",
            files.certificate.display(),
        ) + &cure(&certificate, files),
    )
}

fn wrong_with(certificate: &Certificate, now: Duration) -> Option<String> {
    if certificate.left(now).is_none() {
        return Some(format!("it expired on {}", certificate.ends_at));
    }
    if certificate.is_ca {
        return Some(String::from(
            "it is that of a CA (CA:TRUE), which many don't accept for a server",
        ));
    }
    if certificate.names.is_empty() {
        return Some(String::from("it is for no name (subjectAltName)"));
    }
    None
}

/// An `openssl` command that makes a self-signed certificate which clients accept.
fn cure(certificate: &Certificate, files: &Files) -> String {
    let name = |name: &String| match name.parse::<std::net::IpAddr>() {
        Ok(_) => format!("IP:{name}"),
        Err(_) => format!("DNS:{name}"),
    };
    let names: Vec<_> = certificate.names.iter().map(name).collect();
    let names = match names.is_empty() {
        true => String::from("DNS:localhost,IP:127.0.0.1"),
        false => names.join(","),
    };
    let file = |path: &Path| shell_words::quote(&path.to_string_lossy()).into_owned();
    format!(
        "; have its CA issue another, or make one: openssl req -x509 -newkey rsa:2048 -nodes -days 365 -keyout {} -out {} -subj /CN=millpond \
         -addext basicConstraints=critical,CA:FALSE -addext {}",
        file(&files.key),
        file(&files.certificate),
        shell_words::quote(&format!("subjectAltName={names}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_refuse_is_doubted() {
        let now = Duration::from_secs(1_000_000_000);
        let sound = Certificate {
            names: vec![String::from("db.example"), String::from("10.0.0.1")],
            issuer: String::from("CN=R11"),
            ends_at: String::from("2033-05-18"),
            ends: now + Duration::from_secs(1),
            is_ca: false,
        };
        assert_eq!(wrong_with(&sound, now), None);
        let wrong =
            |certificate: &Certificate| wrong_with(certificate, now).expect("it is doubted");
        assert!(
            wrong(&Certificate {
                is_ca: true,
                ..sound.clone()
            })
            .contains("CA:TRUE")
        );
        assert!(
            wrong(&Certificate {
                names: Vec::new(),
                ..sound.clone()
            })
            .contains("no name")
        );
        assert!(
            wrong(&Certificate {
                ends: now,
                ..sound.clone()
            })
            .contains("expired on 2033-05-18")
        );
        let files = Files {
            certificate: "my cert.pem".into(),
            key: "key.pem".into(),
            client_ca: None,
        };
        let cure = cure(&sound, &files);
        assert!(
            cure.contains("-keyout key.pem -out 'my cert.pem'"),
            "{cure}"
        );
        assert!(
            cure.ends_with("-addext 'subjectAltName=DNS:db.example,IP:10.0.0.1'"),
            "{cure}"
        );
    }
}
