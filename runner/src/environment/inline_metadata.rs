//! Metadata in a plugin's own file, as PEP 723 has it:
//!
//! ```python
//! # /// script
//! # requires-python = ">=3.11"
//! # dependencies = ["requests<3"]
//! # ///
//! ```

use serde::Deserialize;

/// What the block says.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct InlineMetadata {
    /// Requirements, as the author wrote them.
    #[serde(default)]
    pub(super) dependencies: Vec<String>,
    /// Version specifier of the interpreter.
    pub(super) requires_python: Option<String>,
}

/// A block that cannot be read. A plugin without a block is no error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum InlineMetadataError {
    #[error("line {line}: the block `# /// script` has no end; close it with the line `# ///`")]
    Open { line: usize },
    #[error("line {line}: a second block `# /// script`; merge it into the first one")]
    Second { line: usize },
    #[error("the block `# /// script` is not valid TOML: {0}")]
    Toml(String),
}

/// Reads the block in the source text of a plugin.
pub(super) fn parse(source: &str) -> Result<Option<InlineMetadata>, InlineMetadataError> {
    let lines: Vec<&str> = source.lines().collect();
    let Some((start, end)) = block(&lines, 0)? else { return Ok(None) };
    if let Some((second, _)) = block(&lines, end + 1)? {
        return Err(InlineMetadataError::Second { line: second + 1 });
    }
    let text: String =
        lines[start + 1..end].iter().map(|line| format!("{}\n", content(line).unwrap_or_default())).collect();
    let metadata = toml::from_str(&text).map_err(|error| InlineMetadataError::Toml(error.message().to_owned()))?;
    Ok(Some(metadata))
}

/// Indices of the first and the last line of the next block. Between them stand comment lines only, and the
/// last `# ///` of the run ends it: the text of the metadata may hold others.
fn block(lines: &[&str], from: usize) -> Result<Option<(usize, usize)>, InlineMetadataError> {
    let Some(start) = (from..lines.len()).find(|index| lines[*index].trim_end() == "# /// script") else {
        return Ok(None);
    };
    let run = lines[start + 1..]
        .iter()
        .take_while(|line| content(line).is_some() && line.trim_end() != "# /// script")
        .count();
    let end = (start + 1..=start + run).rev().find(|index| lines[*index].trim_end() == "# ///");
    end.map(|end| Some((start, end))).ok_or(InlineMetadataError::Open { line: start + 1 })
}

/// The text of a comment line: `#` alone or `# text`.
fn content(line: &str) -> Option<&str> {
    let text = line.trim_end().strip_prefix('#')?;
    if text.is_empty() { Some(text) } else { text.strip_prefix(' ') }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_without_a_block_has_no_metadata() {
        assert_eq!(parse("import json\n# /// other\n# ///\n"), Ok(None));
    }

    #[test]
    fn dependencies_and_interpreter_are_read_and_tools_skipped() {
        let source = "\"\"\"doc\"\"\"\r\n# /// script\r\n# requires-python = \">=3.11\"\r\n# dependencies = [\r\n#   \"requests<3\",\r\n#   'rich',\r\n# ]\r\n#\r\n# [tool.uv]\r\n# x = 1\r\n# ///\r\nimport requests\r\n";
        let metadata = parse(source).unwrap().unwrap();
        assert_eq!(metadata.dependencies, ["requests<3", "rich"]);
        assert_eq!(metadata.requires_python.as_deref(), Some(">=3.11"));
    }

    #[test]
    fn the_last_closing_line_of_the_run_counts() {
        let source = "# /// script\n# dependencies = ['a'] # x\n# text = '''\n# ///\n# '''\n# ///\n";
        assert_eq!(parse(source).unwrap().unwrap().dependencies, ["a"]);
    }

    #[test]
    fn an_open_block_is_named_by_its_line() {
        let error = parse("x = 1\n# /// script\n# dependencies = []\nimport y\n# ///\n").unwrap_err();
        assert_eq!(error.to_string(), "line 2: the block `# /// script` has no end; close it with the line `# ///`");
    }

    #[test]
    fn a_second_block_is_refused() {
        let error = parse("# /// script\n# ///\n\n# /// script\n# ///\n").unwrap_err();
        assert_eq!(error, InlineMetadataError::Second { line: 4 });
    }

    #[test]
    fn bad_toml_and_wrong_types_are_told() {
        for block in ["dependencies = [", "dependencies = 'requests'", "requires-python = 3.11"] {
            let error = parse(&format!("# /// script\n# {block}\n# ///\n")).unwrap_err();
            assert!(error.to_string().starts_with("the block `# /// script` is not valid TOML: "), "{error}");
        }
    }
}
