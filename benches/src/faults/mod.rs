//! The faults that a network brings, played to each pool alike: what its callers see, and for how
//! long. Each row is a scene of the rig; a row's file says what it does. Figures come out of the
//! scene as JSON, and are put into words by `report`.

mod accepts;
mod contestant;
mod contestants;
mod descriptors;
mod dials;
mod lost_syns;
mod millpond;
mod names;
mod observe;
mod ports;
mod report;
mod reset_loop;
mod scarcity;
mod server;
mod tls;
mod tls_server;
mod vanished;

use std::{path::PathBuf, time::Duration};

use anyhow::{anyhow, bail};
use clap::{ValueEnum, builder::PossibleValue};
use millpond_rig::{Outcome, Rig, Scene, servers};
use serde_json::json;

use self::{
    contestants::Who,
    report::{Figure, Stage},
};
use crate::json_lines::JsonLines;

/// Which rows are played, and where the figures go.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only this row; may be repeated
    #[arg(long = "row", value_name = "N", value_enum)]
    rows: Vec<Row>,

    /// Also write the raw figures as JSON lines
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A fault, by its number in the table of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Row {
    HangUp,
    Vanished,
    LostSyns,
    Ports,
    Descriptors,
    Names,
    Tls,
}

impl Row {
    const ALL: [Row; 7] = [
        Row::HangUp,
        Row::Vanished,
        Row::LostSyns,
        Row::Ports,
        Row::Descriptors,
        Row::Names,
        Row::Tls,
    ];

    fn number(self) -> &'static str {
        match self {
            Row::HangUp => "19",
            Row::Vanished => "24",
            Row::LostSyns => "27",
            Row::Ports => "28",
            Row::Descriptors => "29",
            Row::Names => "30",
            Row::Tls => "31",
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Row::HangUp => {
                "the server accepts and hangs up, or refuses: dials per second while 8 callers ask again at once, for 10 s"
            }
            Row::Vanished => {
                "the packets of established connections vanish: how long exchanges and acquires take, who is evicted (up to 75 s)"
            }
            Row::LostSyns => {
                "SYNs vanish, or the accept queue is full: how long acquires take, dials per second with 8 callers"
            }
            Row::Ports => {
                "ephemeral ports are used up: what an acquire says, whether live connections work on, recovery"
            }
            Row::Descriptors => {
                "file descriptors are used up: what an acquire says, CPU time meanwhile, recovery; and a server that accepts without \
                 any, millpond's `Listener` beside a plain loop"
            }
            Row::Names => {
                "the name leads elsewhere, nowhere, or first to a dead address: when exchanges reach the new one"
            }
            Row::Tls => {
                "TLS that fails by certificate, silence or plain text: what 8 callers are told, dials per second, recovery (millpond \
                 only: deadpool and bb8 have no TLS of their own)"
            }
        }
    }

    fn play(self, rig: &Rig, stage: &Stage<'_>) -> millpond_rig::Result {
        match self {
            Row::HangUp => reset_loop::play(rig, stage),
            Row::Vanished => vanished::play(rig, stage),
            Row::LostSyns => lost_syns::play(rig, stage),
            Row::Ports => ports::play(rig, stage),
            Row::Descriptors => descriptors::play(rig, stage),
            Row::Names => names::play(rig, stage),
            Row::Tls => tls::play(rig, stage),
        }
    }

    /// Its scene: this program, asked for this row alone.
    fn scene(self) -> Scene {
        let name = format!("row {}", self.number());
        Scene::of_program(&name, &["faults", "--row", self.number()])
            .server("replies", server::replies)
            .server("hangs up", servers::hang_up)
            .server("never accepts", servers::never_accept)
            .server("accepts by Listener", accepts::by_listener)
            .server("accepts in a loop", accepts::in_a_loop)
            .server("TLS", tls_server::serve)
            .limit(Duration::from_secs(150))
    }
}

impl ValueEnum for Row {
    fn value_variants<'a>() -> &'a [Self] {
        &Row::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.number()).help(self.describe()))
    }
}

/// Plays the rows that are asked for, each in its own namespaces.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut lines = JsonLines::open(arguments.json.as_deref())?;
    let mut introduced = false;
    for row in Row::ALL {
        if !arguments.rows.is_empty() && !arguments.rows.contains(&row) {
            continue;
        }
        // In the scene's own process this doesn't return, so what is printed is printed once.
        let played = row
            .scene()
            .play(|rig| row.play(rig, &Stage::new(rig, row.number())));
        let reports = match played {
            Ok(Outcome::Played(reports)) => reports,
            Ok(Outcome::Skipped(why)) => bail!("no network namespaces here: {why}"),
            Ok(_) => bail!("the rig says something new"),
            Err(failure) => return Err(anyhow!(failure)),
        };
        if !introduced {
            introduced = true;
            for who in Who::ALL {
                println!("{:<9} {}", who.name(), who.describe());
            }
            lines.write(
                &json!({ "kind": "run", "contestants": Who::ALL.map(|who| (who.name(), who.describe())) }),
            )?;
        }
        let figures: Vec<Figure> = reports
            .iter()
            .map(|report| serde_json::from_str(report))
            .collect::<Result<_, _>>()?;
        println!("\n== row {}: {} ==", row.number(), row.describe());
        report::print(&figures);
        for figure in &figures {
            let mut line = serde_json::to_value(figure)?;
            line["kind"] = "figure".into();
            lines.write(&line)?;
        }
    }
    lines.finish()
}
