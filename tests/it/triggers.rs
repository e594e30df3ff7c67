//! Triggers from their cause to their effects.

mod arrow;
mod cache;
mod concurrency;
mod dead_letters;
mod errors;
mod examples;
mod lag;
mod reload;
mod specs;

/// Writes each row on: its table with `_seen` behind the name, and the trigger argument `target` in front.
pub(crate) const COPY: &str = "\
def process_writes(api, batches, args=None):
    for batch in batches:
        for row in batch['rows']:
            line = LineBuilder((args or {}).get('target', batch['table_name'] + '_seen'))
            api.write(line.float64_field('v', float(row['v'])).time_ns(row['time']))
";
