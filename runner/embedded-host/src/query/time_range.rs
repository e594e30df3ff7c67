//! The times that a query's filters leave, to skip files that lie outside of them.

use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::scalar::ScalarValue;

use crate::schema::TIME_COLUMN;

/// Times from `min` to `max`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimeRange {
    min: i64,
    max: i64,
}

impl TimeRange {
    /// The times that satisfy all filters, as far as they are understood; never less.
    pub(super) fn of(filters: &[Expr]) -> Self {
        let mut range = Self { min: i64::MIN, max: i64::MAX };
        for filter in filters {
            range.narrow(filter);
        }
        range
    }

    /// Whether rows between these times can be in the range.
    pub(super) fn overlaps(self, min: i64, max: i64) -> bool {
        min <= self.max && max >= self.min
    }

    fn narrow(&mut self, filter: &Expr) {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                self.narrow(left);
                self.narrow(right);
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (nanoseconds(left), nanoseconds(right)) {
                (None, Some(time)) if is_time(left) => self.compare(*op, time),
                (Some(time), None) if is_time(right) => {
                    if let Some(op) = op.swap() {
                        self.compare(op, time);
                    }
                }
                _ => {}
            },
            Expr::Between(between) if !between.negated && is_time(&between.expr) => {
                if let Some(low) = nanoseconds(&between.low) {
                    self.compare(Operator::GtEq, low);
                }
                if let Some(high) = nanoseconds(&between.high) {
                    self.compare(Operator::LtEq, high);
                }
            }
            _ => {}
        }
    }

    /// Strict comparisons are taken as the others are: a file more does no harm.
    fn compare(&mut self, op: Operator, time: i64) {
        match op {
            Operator::Gt | Operator::GtEq => self.min = self.min.max(time),
            Operator::Lt | Operator::LtEq => self.max = self.max.min(time),
            Operator::Eq => {
                self.min = self.min.max(time);
                self.max = self.max.min(time);
            }
            _ => {}
        }
    }
}

fn is_time(expression: &Expr) -> bool {
    matches!(expression, Expr::Column(column) if column.name == TIME_COLUMN)
}

fn nanoseconds(expression: &Expr) -> Option<i64> {
    match expression {
        Expr::Literal(ScalarValue::TimestampNanosecond(time, _), _) => *time,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};

    use super::*;

    fn at(time: i64) -> Expr {
        lit(ScalarValue::TimestampNanosecond(Some(time), None))
    }

    #[test]
    fn comparisons_narrow_and_everything_else_does_not() {
        let filters = [col("time").gt_eq(at(5)).and(col("v").gt(lit(1.0))), at(20).gt(col("time"))];
        assert_eq!(TimeRange::of(&filters), TimeRange { min: 5, max: 20 });
        assert_eq!(TimeRange::of(&[col("time").between(at(3), at(4))]), TimeRange { min: 3, max: 4 });
        assert_eq!(TimeRange::of(&[col("time").eq(at(3))]), TimeRange { min: 3, max: 3 });
        let either = col("time").eq(at(3)).or(col("time").eq(at(9)));
        assert_eq!(TimeRange::of(&[either]), TimeRange { min: i64::MIN, max: i64::MAX });
        assert!(TimeRange { min: 5, max: 20 }.overlaps(20, 30));
        assert!(!TimeRange { min: 5, max: 20 }.overlaps(21, 30));
    }
}
