//! The report as a table for the terminal.

use crate::report::{Comparison, Measured, Report, Rung};

const HEAD: [&str; 8] = ["rung", "p50", "p99", "p50 of rounds", "ratio", "of rounds", "budget", ""];

type Line = [String; 8];

/// Draws all groups, with columns of equal width.
pub(crate) fn draw(report: &Report) -> String {
    let mut lines: Vec<Line> = vec![HEAD.map(str::to_owned)];
    // A title is a line whose other cells are empty; it does not widen the first column.
    for group in &report.groups {
        lines.push(Line::default());
        lines.push(first_cell(format!("# {}", group.title)));
        lines.extend(group.rungs.iter().flat_map(rung));
    }
    let is_title = |line: &Line| line.iter().skip(1).all(String::is_empty);
    let width = |column: usize| {
        let cells = lines.iter().filter(|line| !is_title(line)).filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let draw_line = |line: &Line| {
        let cells = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head = format!(
        "Python {}, {} processors{}; times in us; a ratio is median over median of the named baseline\n\n",
        report.python.unwrap_or("?"),
        report.processors,
        if report.quick { ", quick run: the numbers mean little" } else { "" },
    );
    head + &lines.iter().map(draw_line).collect::<Vec<_>>().join("\n")
}

fn first_cell(text: String) -> Line {
    let mut line = Line::default();
    if let Some(cell) = line.first_mut() {
        *cell = text;
    }
    line
}

fn rung(rung: &Rung) -> Vec<Line> {
    let times = match &rung.measured {
        Measured::NotMeasured(reason) => return vec![first_cell(format!("  {}: not measured: {reason}", rung.name))],
        Measured::Times(times) => times,
    };
    let rounds = format!("{} - {}", micros(times.best_round_us), micros(times.worst_round_us));
    let p99 = times.p99_us.map_or_else(|| "-".to_owned(), micros);
    let own = [format!("  {}", rung.name), micros(times.p50_us), p99, rounds];
    let mut comparisons = rung.comparisons.iter().map(comparison);
    let [ratio, spread, budget, met] = comparisons.next().unwrap_or_default();
    let [name, p50, p99, rounds] = own;
    let mut lines = vec![[name, p50, p99, rounds, ratio, spread, budget, met]];
    lines.extend(comparisons.map(|[ratio, spread, budget, met]| {
        let empty = String::new;
        [empty(), empty(), empty(), empty(), ratio, spread, budget, met]
    }));
    lines
}

fn comparison(comparison: &Comparison) -> [String; 4] {
    let ratio = comparison.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"));
    let spread = comparison.ratio_of_rounds.map(|(least, most)| format!("{least:.3} - {most:.3}")).unwrap_or_default();
    let budget = comparison.budget.map(|budget| match comparison.bound_us {
        Some(bound_us) => format!("at most {budget} = {}", micros(bound_us)),
        None => format!("at most {budget}"),
    });
    let met = match (comparison.budget, comparison.met) {
        (None, _) => "",
        (Some(_), Some(true)) => "met",
        (Some(_), Some(false)) => "MISSED",
        (Some(_), None) => "not judged",
    };
    [format!("{ratio} of {}", comparison.baseline), spread, budget.unwrap_or_default(), met.to_owned()]
}

/// Microseconds with as many digits as mean something.
fn micros(us: f64) -> String {
    if us < 100.0 { format!("{us:.1}") } else { format!("{us:.0}") }
}
