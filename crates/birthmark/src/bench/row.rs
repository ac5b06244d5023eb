//! One row: ours, the reference measured beside it, and the goals.
//!
//! For: holding a row's figures and judging its goals. Not for: printing (`table`).

use serde_json::{Map, Value, json};

/// What was measured.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Of `ours` and `reference`.
    pub(super) unit: &'static str,
    pub(super) ours: f64,
    pub(super) reference: Option<f64>,
    pub(super) latency: Option<Latency>,
    pub(super) reference_latency: Option<Latency>,
    /// Microseconds of processor time a request, the client's left out: ours, the reference's.
    pub(super) cpu: Option<(f64, f64)>,
    pub(super) goals: Vec<Goal>,
    /// Parts and circumstances; the name says the unit.
    pub(super) details: Vec<(&'static str, f64)>,
}

/// Milliseconds, as the client sees them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p99: f64,
}

/// A bound and whether it held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Goal {
    pub(super) text: String,
    pub(super) met: bool,
}

impl Row {
    pub(super) const fn new(unit: &'static str, ours: f64) -> Self {
        Self {
            unit,
            ours,
            reference: None,
            latency: None,
            reference_latency: None,
            cpu: None,
            goals: Vec::new(),
            details: Vec::new(),
        }
    }

    /// Ours as a multiple of the reference.
    pub(super) fn ratio(&self) -> Option<f64> {
        self.reference.filter(|reference| *reference > 0.0).map(|reference| self.ours / reference)
    }

    /// The ratio must reach `bound`: for rates.
    pub(super) fn ratio_at_least(mut self, bound: f64) -> Self {
        let met = self.ratio().is_some_and(|ratio| ratio >= bound);
        self.goals.push(Goal { text: format!("ratio >= {bound:.2}"), met });
        self
    }

    /// A figure must not exceed `bound`.
    pub(super) fn at_most(mut self, what: &str, figure: f64, bound: f64) -> Self {
        self.goals.push(Goal { text: format!("{what} <= {bound}"), met: figure <= bound });
        self
    }

    pub(super) fn detail(mut self, name: &'static str, figure: f64) -> Self {
        self.details.push((name, figure));
        self
    }

    /// As `--json` shows it.
    pub(super) fn json(&self) -> Value {
        let mut row = Map::new();
        row.insert("unit".to_owned(), self.unit.into());
        let figures = [
            ("ours", Some(self.ours)),
            ("reference", self.reference),
            ("ratio", self.ratio()),
            ("p50_ms", self.latency.map(|latency| latency.p50)),
            ("p99_ms", self.latency.map(|latency| latency.p99)),
            ("reference_p50_ms", self.reference_latency.map(|latency| latency.p50)),
            ("reference_p99_ms", self.reference_latency.map(|latency| latency.p99)),
            ("cpu_us", self.cpu.map(|cpu| cpu.0)),
            ("reference_cpu_us", self.cpu.map(|cpu| cpu.1)),
        ];
        for (name, figure) in figures {
            row.insert(name.to_owned(), figure.into());
        }
        let goals = self.goals.iter().map(|goal| json!({"goal": goal.text, "met": goal.met}));
        row.insert("goals".to_owned(), goals.collect());
        let details = self.details.iter().map(|(name, figure)| ((*name).to_owned(), (*figure).into()));
        row.insert("details".to_owned(), Value::Object(details.collect()));
        Value::Object(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_judged_by_the_ratio_and_by_bounds() {
        let row = Row { reference: Some(100.0), ..Row::new("requests/s", 84.0) };
        let row = row.ratio_at_least(0.85).ratio_at_least(0.84).at_most("p99 ms", 2.0, 2.0).at_most("MB", 250.5, 250.0);
        let met: Vec<_> = row.goals.iter().map(|goal| goal.met).collect();
        assert_eq!(met, [false, true, true, false]);
        assert_eq!(row.json()["goals"][0], json!({"goal": "ratio >= 0.85", "met": false}));
    }

    #[test]
    fn without_a_reference_there_is_no_ratio() {
        assert_eq!(Row::new("ms", 1.0).ratio(), None);
        assert_eq!(Row { reference: Some(0.0), ..Row::new("ms", 1.0) }.ratio(), None);
        assert!(Row::new("ms", 1.0).json()["ratio"].is_null());
    }
}
