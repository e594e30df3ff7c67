//! The text format of Prometheus.

use std::fmt::Write;

use super::histogram::{BOUNDS, Histogram};

/// What a family of samples is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// It only grows while the process lives.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// Text that grows family by family.
#[derive(Debug, Default)]
pub struct Exposition(String);

impl Exposition {
    /// Begins a family and adds its samples.
    pub fn family<'a>(
        &mut self,
        (name, help, family): (&str, &str, Family),
        samples: impl IntoIterator<Item = (Vec<(&'a str, &'a str)>, f64)>,
    ) {
        let kind = match family {
            Family::Counter => "counter",
            Family::Gauge => "gauge",
        };
        self.head(name, help, kind);
        for (labels, value) in samples {
            self.sample(name, &labels, value);
        }
    }

    /// Begins a family of histograms and adds them.
    pub fn histograms<'a>(
        &mut self,
        (name, help): (&str, &str),
        histograms: impl IntoIterator<Item = (Vec<(&'a str, &'a str)>, &'a Histogram)>,
    ) {
        self.head(name, help, "histogram");
        for (labels, histogram) in histograms {
            let (buckets, count) = histogram.cumulative();
            for (bound, bucket) in BOUNDS.iter().zip(buckets) {
                let (mut labels, bound) = (labels.clone(), bound.to_string());
                labels.push(("le", &bound));
                self.sample(&format!("{name}_bucket"), &labels, bucket as f64);
            }
            let mut last = labels.clone();
            last.push(("le", "+Inf"));
            self.sample(&format!("{name}_bucket"), &last, count as f64);
            self.sample(&format!("{name}_sum"), &labels, histogram.seconds());
            self.sample(&format!("{name}_count"), &labels, count as f64);
        }
    }

    /// The whole text.
    #[must_use]
    pub fn finish(self) -> String {
        self.0
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (place, (label, value)) in labels.iter().enumerate() {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let before = if place == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"{escaped}\"");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stand_below_their_family_and_labels_are_escaped() {
        let mut text = Exposition::default();
        text.family(("a_total", "Help.", Family::Counter), [(vec![("t", "x\"y\\z\n"), ("u", "1")], 3.0)]);
        text.family(("b", "More.", Family::Gauge), [(vec![], 0.5)]);
        let histogram = Histogram::default();
        histogram.observe(std::time::Duration::from_secs(2));
        text.histograms(("c_seconds", "Time."), [(vec![("stage", "run")], &histogram)]);
        let text = text.finish();
        assert!(
            text.starts_with(
                "# HELP a_total Help.\n# TYPE a_total counter\na_total{t=\"x\\\"y\\\\z\\n\",u=\"1\"} 3\n# HELP b More.\n\
                 # TYPE b gauge\nb 0.5\n"
            ),
            "{text}"
        );
        for line in [
            "c_seconds_bucket{stage=\"run\",le=\"1\"} 0",
            "c_seconds_bucket{stage=\"run\",le=\"5\"} 1",
            "c_seconds_bucket{stage=\"run\",le=\"+Inf\"} 1",
            "c_seconds_sum{stage=\"run\"} 2",
            "c_seconds_count{stage=\"run\"} 1",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} in {text}");
        }
    }
}
