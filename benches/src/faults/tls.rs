//! Row 31: TLS that fails, by a certificate that is wrong in three ways, by a server that stays
//! silent in the handshake, and by one that doesn't speak TLS at all. Then the server is put right,
//! its certificate replaced in its file, and the pool must come back by itself.
//!
//! Millpond plays alone: deadpool and bb8 have no TLS of their own, and what their users write into
//! `create` says nothing about them. One fault after the other, or callers who are told at once
//! would take the other faults' CPU.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use millpond::net::tls::ClientTls;
use millpond_rig::Rig;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};

use super::{
    contestants::Who,
    dials::{Count, Crowd},
    millpond::tls_contestant,
    observe::{Got, Habit, WATCH, block_on, come_again, runtime},
    report::{Stage, Value},
    tls_server::{MEND, Manner},
};

const NAME: &str = "db.test";
const ASKED_FOR: Duration = Duration::from_secs(5);

/// In the scene's own /run, which ends with it.
const FOLDER: &str = "/run/rig-tls";

type Authority = CertifiedIssuer<'static, KeyPair>;

/// What is wrong with the server.
#[derive(Clone, Copy)]
enum Fault {
    Expired,
    WrongName,
    UnknownIssuer,
    Stalls,
    PlainText,
}

impl Fault {
    const ALL: [Fault; 5] = [
        Fault::Expired,
        Fault::WrongName,
        Fault::UnknownIssuer,
        Fault::Stalls,
        Fault::PlainText,
    ];

    /// The part of the row.
    fn part(self) -> &'static str {
        match self {
            Fault::Expired => "the certificate has expired",
            Fault::WrongName => "the certificate is for another name",
            Fault::UnknownIssuer => "the certificate's issuer is unknown",
            Fault::Stalls => "the server accepts, and stays silent in the handshake",
            Fault::PlainText => "the server answers in plain text (HTTP)",
        }
    }

    fn manner(self) -> Manner {
        match self {
            Fault::Expired | Fault::WrongName | Fault::UnknownIssuer => Manner::Tls,
            Fault::Stalls => Manner::Silence,
            Fault::PlainText => Manner::PlainText,
        }
    }
}

pub fn play(rig: &Rig, stage: &Stage<'_>) -> millpond_rig::Result {
    let server = IpAddr::from([10, 77, 0, 2]);
    rig.names(&[(NAME, server)])?;
    let known = authority("the rig's CA")?;
    let stranger = authority("a stranger's CA")?;
    for (port, fault) in (7000..).zip(Fault::ALL) {
        let files = Files::make(Path::new(FOLDER).join(port.to_string()))?;
        let issuer = match fault {
            Fault::UnknownIssuer => &stranger,
            _ => &known,
        };
        files.write(fault, issuer)?;
        block_on(runtime()?, one(rig, stage, fault, port, &files, &known))?;
    }
    Ok(())
}

async fn one(
    rig: &Rig,
    stage: &Stage<'_>,
    fault: Fault,
    port: u16,
    files: &Files,
    known: &Authority,
) -> millpond_rig::Result {
    let part = fault.part();
    let address = format!("10.77.0.2:{port}");
    let (certificate, key) = (files.certificate(), files.key());
    let paths = [certificate.to_string_lossy(), key.to_string_lossy()];
    let server = rig.start(
        "TLS",
        &[&address, &paths[0], &paths[1], fault.manner().name()],
    )?;

    let tls = ClientTls::builder()
        .ca_certificates(vec![known.der().clone()])
        .build()?;
    let pool = tls_contestant(&format!("tls://{NAME}:{port}"), 8, tls);
    let crowd = Crowd {
        part,
        who: Who::Millpond,
        server: server.address(),
        count: Count::Syns,
        time: ASKED_FOR,
    };
    let got = crowd.ask(rig, stage, &pool).await?;
    let said = |what: &str, text: fn(&Got) -> Option<&String>| {
        let text = got.iter().find_map(text);
        let text = text.cloned().unwrap_or("(nothing)".to_owned());
        stage.figure(part, Who::Millpond, what, Value::Text(text));
    };
    said("the first error", |got| got.first_error.as_ref());
    said("the last error", |got| got.last_error.as_ref());

    files.replace_certificate(known)?;
    server.ask(MEND)?;
    let habit = Habit {
        exchange: Duration::from_secs(1),
        pause: Duration::from_millis(5),
        until: Instant::now() + WATCH,
    };
    let (first, _) = come_again(&*pool, habit, |_| true).await;
    let what = "first reply after the server was put right";
    stage.figure(part, Who::Millpond, what, Value::ended(first, WATCH));
    for who in [Who::Deadpool, Who::Bb8] {
        let text = "(doesn't play: it has no TLS of its own)".to_owned();
        stage.figure(part, who, "the first error", Value::Text(text));
    }
    Ok(())
}

fn authority(name: &str) -> millpond_rig::Result<Authority> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// A server's certificate and key, in files.
struct Files {
    folder: PathBuf,
    key: KeyPair,
}

impl Files {
    /// Makes the folder and the key.
    fn make(folder: PathBuf) -> millpond_rig::Result<Files> {
        fs::create_dir_all(&folder)?;
        let files = Files {
            folder,
            key: KeyPair::generate()?,
        };
        fs::write(files.key(), files.key.serialize_pem())?;
        Ok(files)
    }

    fn certificate(&self) -> PathBuf {
        self.folder.join("certificate.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.join("key.pem")
    }

    /// Writes the certificate that the server has while this fault lasts.
    fn write(&self, fault: Fault, issuer: &Authority) -> millpond_rig::Result {
        let name = match fault {
            Fault::WrongName => "elsewhere.test",
            _ => NAME,
        };
        let mut params = CertificateParams::new([name.to_owned()])?;
        if let Fault::Expired = fault {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        }
        self.issue(&params, issuer)
    }

    /// Writes a certificate that is as it should be, for the same key.
    fn replace_certificate(&self, issuer: &Authority) -> millpond_rig::Result {
        self.issue(&CertificateParams::new([NAME.to_owned()])?, issuer)
    }

    /// Whoever looks sees the old file or the new one, and never a half of it.
    fn issue(&self, params: &CertificateParams, issuer: &Authority) -> millpond_rig::Result {
        let new = self.folder.join("new.pem");
        fs::write(&new, params.signed_by(&self.key, issuer)?.pem())?;
        fs::rename(new, self.certificate())?;
        Ok(())
    }
}
