//! How things look in a terminal: tables, sizes, shares, progress.

use std::io::IsTerminal;
use std::time::Duration;

use contract::Timestamp;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::exit::Failure;

/// Prints a document as indented JSON.
pub fn json<T: Serialize>(value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::Internal(error.to_string()))?;
    print(&text)
}

/// Prints a document as one line of JSON.
pub fn json_line<T: Serialize>(value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::Internal(error.to_string()))?;
    print(&text)
}

/// Prints a line. A reader that went away (`| head`) is a normal end, not a fault.
pub fn print(line: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        #[allow(clippy::disallowed_methods, reason = "nothing is held but a terminal, and nobody is left to tell")]
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::Internal(format!("standard output: {error}"))),
    }
}

/// Prints rows under headings, columns aligned; `empty` is printed where there are no rows.
pub fn table(headings: &[&str], rows: &[Vec<String>], empty: &str) -> Result<(), Failure> {
    if rows.is_empty() {
        return print(empty);
    }
    let mut widths: Vec<usize> = headings.iter().map(|text| text.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String]| {
        let mut text = String::new();
        for (index, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            if index > 0 {
                text.push_str("  ");
            }
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width - cell.chars().count().min(*width)));
        }
        text.trim_end().to_owned()
    };
    print(&line(&headings.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()))?;
    rows.iter().try_for_each(|row| print(&line(row)))
}

/// A size in bytes for people: `812 B`, `3.1 kB`, `1.2 MB`; a kB is 1024 bytes, as on the pages and in data sheets.
pub fn size(bytes: u64) -> String {
    // Display only: the loss of precision is wanted.
    #[allow(clippy::cast_precision_loss)]
    let value = bytes as f64;
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.1} kB", value / 1_024.0),
        _ => format!("{:.1} MB", value / 1_048_576.0),
    }
}

/// A share as per cent with one decimal, rounded down: 100 % is said of all and nothing less.
pub fn share(value: Option<f64>) -> String {
    let percent = |share: f64| (share * 1000.0 + 1e-9).floor() / 10.0;
    value.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", percent(share)))
}

/// How long ago, for people.
pub fn ago(at: Timestamp) -> String {
    let seconds = Timestamp::now().millis_since(at) / 1000;
    match seconds {
        0..2 => "now".to_owned(),
        2..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} min ago", seconds / 60),
        7_200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// A step of a longer job: a spinner while it runs, one line when it is done. Plain lines where stderr is no terminal.
pub struct Step {
    bar: Option<ProgressBar>,
    name: String,
}

impl Step {
    /// Begins a step.
    pub fn begin(name: &str, doing: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner().with_style(
                ProgressStyle::with_template("  {spinner:.cyan} {prefix:9} {msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            bar.set_prefix(name.to_owned());
            bar.set_message(doing.to_owned());
            bar.enable_steady_tick(Duration::from_millis(90));
            bar
        });
        Self { bar, name: name.to_owned() }
    }

    /// Says what it is doing now.
    pub fn update(&self, doing: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(doing.to_owned());
        }
    }

    /// Ends well.
    pub fn done(self, result: &str) {
        self.end('✓', result);
    }

    /// Ends badly.
    pub fn failed(self, why: &str) {
        self.end('✗', why);
    }

    fn end(self, mark: char, text: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!("  {mark} {:9} {text}", self.name);
    }
}
