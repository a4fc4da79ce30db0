//! The command line.

use std::path::{Path, PathBuf};

use crate::failure::{During, Failure};
use crate::proxy::Program;
use crate::rows::{ROWS, Row};

/// What `--help` prints.
const HELP: &str = "\
Measures lb beside nginx and HAProxy on this machine, one proxy at a time, and prints the table.

  --rows A,B       only these rows, others as measured before with the same build (see --list)
  --repeats N      runs of each proxy in each row [5; a tail takes 9]
  --seconds S      length of a run [3]
  --rate R         requests a second of the fixed-rate row [10000]
  --lb PATH        this lb instead of building one
  --without NAME   do without nginx or haproxy
  --out FILE       where the table goes [benches/compare/RESULTS.md]
  --hold ROW NAME  keep NAME under the load of ROW for --seconds, for perf or strace
  --list           the rows
";

/// What was asked for.
pub(crate) struct Options {
    pub(crate) rows: Vec<&'static Row>,
    pub(crate) repeats: usize,
    pub(crate) seconds: f64,
    pub(crate) rate: f64,
    pub(crate) lb: Option<PathBuf>,
    pub(crate) without: Vec<Program>,
    pub(crate) out: PathBuf,
    pub(crate) hold: Option<(&'static Row, String)>,
}

impl Options {
    /// `None`: what was asked for is printed already.
    ///
    /// # Errors
    /// An unknown flag, row or program, a number that is none.
    pub(crate) fn read(mut words: impl Iterator<Item = String>) -> Result<Option<Self>, Failure> {
        let mut options = Self {
            rows: ROWS.iter().collect(),
            repeats: 5,
            seconds: 3.0,
            rate: 10_000.0,
            lb: None,
            without: Vec::new(),
            out: Path::new(env!("CARGO_MANIFEST_DIR")).join("RESULTS.md"),
            hold: None,
        };
        while let Some(flag) = words.next() {
            let mut value = || {
                words
                    .next()
                    .ok_or_else(|| Failure(format!("{flag} needs a value")))
            };
            match flag.as_str() {
                "--rows" => {
                    let rows = value()?;
                    options.rows = rows.split(',').map(row).collect::<Result<_, _>>()?;
                }
                "--repeats" => options.repeats = value()?.parse().during("--repeats")?,
                "--seconds" => options.seconds = value()?.parse().during("--seconds")?,
                "--rate" => options.rate = value()?.parse().during("--rate")?,
                "--lb" => options.lb = Some(value()?.into()),
                "--out" => options.out = value()?.into(),
                "--without" => options.without.push(match value()?.as_str() {
                    "nginx" => Program::Nginx,
                    "haproxy" => Program::Haproxy,
                    other => return Err(Failure(format!("--without {other}: nginx or haproxy"))),
                }),
                "--hold" => options.hold = Some((row(&value()?)?, value()?)),
                "--list" => {
                    for row in ROWS {
                        println!("{:12} {}", row.key, row.title);
                    }
                    return Ok(None);
                }
                "--help" | "-h" => {
                    print!("{HELP}");
                    return Ok(None);
                }
                other => return Err(Failure(format!("unknown flag {other}; --help prints all"))),
            }
        }
        Ok(Some(options))
    }
}

fn row(key: &str) -> Result<&'static Row, Failure> {
    ROWS.iter()
        .find(|row| row.key == key)
        .ok_or_else(|| Failure(format!("unknown row {key}; --list prints all")))
}
