//! The table that people read, or the one JSON object that programs read.
//!
//! For: showing rows as they come and counting those that failed. Not for: what a row holds (`row`).
//!
//! ```text
//! {"version", "cores", "seconds", "records", "samples", "sensor_size",
//!  "rows": {"<name>": {"unit", "ours", "reference", "ratio", "p50_ms", …, "goals": [{"goal", "met"}], "details": {}}
//!           "<name>": {"failed": "<cause>"}}}
//! ```

use serde_json::{Map, Value, json};

use super::row::Row;
use super::{Options, measure};
use crate::terminal::{complain, say};

/// The rows so far.
#[derive(Debug)]
pub(super) struct Table {
    json: Option<Value>,
    /// If there are any, others are left out.
    wanted: Vec<String>,
    rows: Map<String, Value>,
    failed: usize,
}

impl Table {
    /// Prints the head, unless a program reads.
    pub(super) fn start(options: &Options) -> Self {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let json = options.json.then(|| {
            json!({
                "version": env!("CARGO_PKG_VERSION"),
                "cores": cores,
                "seconds": options.seconds,
                "records": options.records,
                "samples": options.samples,
                "sensor_size": options.sensor_size.to_string(),
            })
        });
        if json.is_none() {
            say(format_args!(
                "{cores} cores, {} s a server and row, {} records, {} samples, sensor {}",
                options.seconds, options.records, options.samples, options.sensor_size
            ));
            say(line(&COLUMNS.map(|(title, _)| title.to_owned())));
        }
        Self { json, wanted: options.rows.clone(), rows: Map::new(), failed: 0 }
    }

    /// Measures a row and shows it, if it is wanted.
    pub(super) fn measured(&mut self, name: &'static str, measure: impl FnOnce() -> anyhow::Result<Row>) {
        if !self.wanted.is_empty() && !self.wanted.iter().any(|wanted| wanted == name) {
            return;
        }
        match measure() {
            Ok(row) => self.add(name, &row),
            Err(error) => self.failed(&[name], &error),
        }
    }

    fn add(&mut self, name: &'static str, row: &Row) {
        self.rows.insert(name.to_owned(), row.json());
        if self.json.is_some() {
            return;
        }
        say(line(&cells(name, row)));
        if !row.details.is_empty() {
            let details = row.details.iter().map(|(name, value)| format!("{name} {}", figure(*value)));
            say(format_args!("    {}", details.collect::<Vec<_>>().join(", ")));
        }
        for goal in &row.goals {
            say(format_args!("    {}: {}", goal.text, if goal.met { "met" } else { "MISSED" }));
        }
    }

    /// Notes rows that could not be measured, all for the same cause.
    pub(super) fn failed(&mut self, names: &[&'static str], error: &anyhow::Error) {
        for name in names {
            self.failed += 1;
            self.rows.insert((*name).to_owned(), json!({"failed": format!("{error:#}")}));
            complain(&anyhow::anyhow!("row {name} failed: {error:#}"));
        }
    }

    /// Puts fields of a row beside the rows, under names of their own: `(name, field)`.
    pub(super) fn lift(&mut self, row: &str, fields: &[(&str, &str)]) {
        for (name, field) in fields {
            self.put(name, self.figure(&format!("/{row}/{field}")).unwrap_or(Value::Null));
        }
    }

    /// A figure of a row that was measured, by its JSON pointer below the rows.
    pub(super) fn figure(&self, pointer: &str) -> Option<Value> {
        let (row, field) = pointer.strip_prefix('/')?.split_once('/')?;
        self.rows.get(row)?.pointer(&format!("/{field}")).cloned()
    }

    /// Puts a value beside the rows.
    pub(super) fn put(&mut self, name: &str, value: Value) {
        if let Some(Value::Object(object)) = &mut self.json {
            object.insert(name.to_owned(), value);
        }
    }

    /// Prints the JSON object; gives the number of rows that failed.
    pub(super) fn end(self) -> usize {
        if let Some(mut json) = self.json {
            if let Value::Object(object) = &mut json {
                object.insert("rows".to_owned(), Value::Object(self.rows));
            }
            say(json);
        }
        self.failed
    }
}

fn cells(name: &str, row: &Row) -> [String; COLUMNS.len()] {
    let optional = |value: Option<f64>| value.map(figure).unwrap_or_default();
    [
        name.to_owned(),
        figure(row.ours),
        optional(row.reference),
        row.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
        row.unit.to_owned(),
        optional(row.latency.map(|latency| latency.p50)),
        optional(row.latency.map(|latency| latency.p99)),
        optional(row.reference_latency.map(|latency| latency.p99)),
        optional(row.cpu.map(|cpu| cpu.0)),
        optional(row.cpu.map(|cpu| cpu.1)),
    ]
}

fn line(cells: &[String; COLUMNS.len()]) -> String {
    let mut line = String::new();
    for (number, (cell, (_, width))) in cells.iter().zip(COLUMNS).enumerate() {
        // The name and the unit are words; the rest are figures.
        let padded = if number == 0 || number == 4 { format!("{cell:<width$}") } else { format!("{cell:>width$}") };
        line.push_str(&padded);
        line.push_str("  ");
    }
    line.truncate(line.trim_end().len());
    line
}

/// Three digits that mean something, and no more.
pub(super) fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => grouped(&measure::rounded(value)),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Thousands apart, as in `139,000`.
fn grouped(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let mut text = sign.to_owned();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

const COLUMNS: [(&str, usize); 10] = [
    ("row", 16),
    ("ours", 9),
    ("reference", 9),
    ("ratio", 5),
    ("unit", 10),
    ("p50 ms", 7),
    ("p99 ms", 7),
    ("ref p99", 7),
    ("cpu us", 7),
    ("ref cpu", 7),
];

#[cfg(test)]
mod tests {
    use super::super::row::Latency;
    use super::*;

    #[test]
    fn figures_have_three_digits_and_thousands_apart() {
        let shown = [0.0, 0.0123, 1.234, 12.34, 123.4, 1234.0, 139_000.4, -1234.0].map(figure);
        assert_eq!(shown, ["0.00", "0.012", "1.23", "12.3", "123", "1,234", "139,000", "-1,234"]);
    }

    #[test]
    fn cells_stand_under_their_titles() {
        let row = Row {
            reference: Some(200.0),
            latency: Some(Latency { p50: 1.0, p99: 2.0 }),
            cpu: Some((10.0, 5.0)),
            ..Row::new("requests/s", 100.0)
        };
        let titles = line(&COLUMNS.map(|(title, _)| title.to_owned()));
        let shown = line(&cells("verify_hit", &row));
        for (title, cell) in [("ratio", "0.50"), ("p50 ms", "1.00"), ("ref cpu", "5.00")] {
            let end = |text: &str, part: &str| text.find(part).unwrap() + part.len();
            assert_eq!(end(&titles, title), end(&shown, cell), "{title}");
        }
        assert_eq!(titles.find("unit"), shown.find("requests/s"));
    }
}
