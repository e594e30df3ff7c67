//! `bulkhead show system`.

use clap::{Args, Subcommand};

use super::output::{CliError, say};
use super::query::{FormatArgs, show_rows};
use super::{DatabaseArgs, ServerArgs};

/// `show system`.
#[derive(Debug, Args)]
pub(super) struct SystemArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The names and columns of the tables.
    TableList {
        #[command(flatten)]
        format: FormatArgs,
    },
    /// The rows of one table.
    Table {
        /// Its name, such as `processing_engine_logs`.
        name: String,
        /// Rows at the most; 0 for all.
        #[arg(short, long, default_value_t = 100)]
        limit: u32,
        /// Columns to order by.
        #[arg(short, long, value_delimiter = ',')]
        order_by: Vec<String>,
        /// Columns to show; all otherwise.
        #[arg(short, long, value_delimiter = ',')]
        select: Vec<String>,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Some rows of every table.
    Summary {
        /// Rows of each table at the most; 0 for all.
        #[arg(short, long, default_value_t = 10)]
        limit: u32,
        #[command(flatten)]
        format: FormatArgs,
    },
}

const LIST: &str = "SELECT table_name, array_to_string(array_agg(column_name ORDER BY ordinal_position), ', ') AS column_names \
                    FROM information_schema.columns WHERE table_schema = 'system' GROUP BY table_name ORDER BY table_name";

/// Tables of a summary.
const TABLES: [&str; 7] = [
    "databases",
    "invocations",
    "plugin_files",
    "processing_engine_logs",
    "processing_engine_trigger_arguments",
    "processing_engine_triggers",
    "workers",
];

/// Runs the command.
pub(super) async fn run(args: SystemArgs) -> Result<(), CliError> {
    let client = args.server.client()?;
    let database = &args.database.database;
    match args.what {
        What::TableList { format } => show_rows(&client, database, LIST, format).await,
        What::Table { name, limit, order_by, select, format } => {
            show_rows(&client, database, &sql(&name, limit, &order_by, &select), format).await
        }
        What::Summary { limit, format } => {
            for table in TABLES {
                say(format!("{table}:"));
                show_rows(&client, database, &sql(table, limit, &[], &[]), format).await?;
            }
            Ok(())
        }
    }
}

fn sql(table: &str, limit: u32, order_by: &[String], select: &[String]) -> String {
    let quoted = |name: &String| format!("\"{}\"", name.trim().replace('"', "\"\""));
    let list = |names: &[String]| names.iter().map(quoted).collect::<Vec<_>>().join(", ");
    let columns = if select.is_empty() { "*".to_owned() } else { list(select) };
    let mut sql = format!("SELECT {columns} FROM system.{}", quoted(&table.to_owned()));
    if !order_by.is_empty() {
        sql.push_str(&format!(" ORDER BY {}", list(order_by)));
    }
    if limit > 0 {
        sql.push_str(&format!(" LIMIT {limit}"));
    }
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(sql("workers", 5, &[], &[]), r#"SELECT * FROM system."workers" LIMIT 5"#);
        let injected = sql("x\"; --", 0, &names(&["a"]), &names(&["b", "c"]));
        assert_eq!(injected, r#"SELECT "b", "c" FROM system."x""; --" ORDER BY "a""#);
    }
}
