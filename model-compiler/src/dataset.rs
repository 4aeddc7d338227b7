//! Examples: rows of values with a label or with targets, where there are any, and a split; read from CSV.
//!
//! Calibration, evaluation, golden vectors and held-out samples come from here.
//! No files are opened: the caller hands over the bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Bounds on what [`from_csv`] accepts.
#[derive(Debug, Clone, Copy)]
pub struct DatasetLimits {
    /// Largest file, bytes.
    pub max_bytes: usize,
    /// Most rows without the header.
    pub max_rows: usize,
    /// Most columns, `label` and `split` included.
    pub max_columns: usize,
    /// Most distinct labels.
    pub max_labels: usize,
}

impl Default for DatasetLimits {
    fn default() -> Self {
        Self { max_bytes: 256 << 20, max_rows: 1_000_000, max_columns: 65_536, max_labels: 1_024 }
    }
}

/// Which part of a data set a row belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Seen by training; also calibrates the quantization.
    Train,
    /// Held out: accuracy is measured on it and samples are taken from it.
    Test,
}

/// One example.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Raw values in column order (row-major input), not yet scaled.
    pub values: Vec<f32>,
    /// Index into [`Dataset::labels`]; absent where the data has none.
    pub label: Option<usize>,
    /// The right outputs of a regression; empty where the data has none.
    pub targets: Vec<f32>,
    /// The part that it belongs to.
    pub split: Split,
    /// Number of the row among those of its split, from 0.
    pub index: usize,
}

/// An example as a reader found it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Example {
    /// Raw values.
    pub values: Vec<f32>,
    /// Its label, if it has one.
    pub label: Option<String>,
    /// The right outputs of a regression.
    pub targets: Vec<f32>,
    /// Its part, if the data says so.
    pub split: Option<Split>,
}

/// A data set in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Names of the value columns.
    pub columns: Vec<String>,
    /// Class names in index order: ascending numbers when all labels are whole
    /// numbers, else alphabetical. Empty for data without labels.
    pub labels: Vec<String>,
    /// All rows in file order.
    pub rows: Vec<Row>,
    /// True if the data says which rows are held out; else it is every fifth of a class.
    pub has_split: bool,
}

impl Dataset {
    /// A data set of these examples; all have as many values as there are columns.
    pub fn new(columns: Vec<String>, examples: Vec<Example>) -> Self {
        let labels = label_names(examples.iter().filter_map(|example| example.label.as_deref()));
        let index_of: BTreeMap<&str, usize> =
            labels.iter().enumerate().map(|(index, label)| (label.as_str(), index)).collect();
        let has_split = examples.iter().any(|example| example.split.is_some());
        // The last counter is that of rows without a label.
        let mut seen_of_label = vec![0_usize; labels.len() + 1];
        let mut seen_of_split = [0_usize; 2];
        let rows = examples
            .into_iter()
            .map(|example| {
                let label = example.label.and_then(|label| index_of.get(label.as_str()).copied());
                let seen = &mut seen_of_label[label.unwrap_or(labels.len())];
                let every_fifth = if *seen % 5 == 4 { Split::Test } else { Split::Train };
                *seen += 1;
                let split = example.split.unwrap_or(every_fifth);
                let counter = &mut seen_of_split[usize::from(split == Split::Test)];
                *counter += 1;
                Row { values: example.values, label, targets: example.targets, split, index: *counter - 1 }
            })
            .collect();
        Self { columns, labels, rows, has_split }
    }

    /// Number of values of a row.
    pub fn input_len(&self) -> usize {
        self.columns.len()
    }

    /// The rows of one split, in file order.
    pub fn split(&self, split: Split) -> impl Iterator<Item = &Row> + '_ {
        self.rows.iter().filter(move |row| row.split == split)
    }
}

/// Why a CSV file is not a data set. Lines count from 1, the header being line 1.
#[derive(Debug, Error, PartialEq)]
pub enum DatasetError {
    /// The file is larger than allowed.
    #[error("the CSV file has {bytes} bytes, at most {limit} are allowed")]
    TooLarge {
        /// Size of the file.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// More rows, columns or labels than allowed.
    #[error("line {line}: more than {limit} {what}; split the file or raise the limit")]
    TooMany {
        /// Where the limit was passed.
        line: usize,
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Not UTF-8.
    #[error("line {line}: the file is not UTF-8 text; save it as UTF-8 CSV")]
    NotUtf8 {
        /// Line of the first bad byte.
        line: usize,
    },
    /// No header or no rows.
    #[error("the CSV file is empty; it needs a header line and at least one row")]
    Empty,
    /// A header that repeats a name or has no value column.
    #[error("line 1: {reason}")]
    Header {
        /// What is wrong.
        reason: String,
    },
    /// A row with too few or too many columns.
    #[error("line {line}: {found} columns, the header has {expected}")]
    ColumnCount {
        /// Where.
        line: usize,
        /// Columns of the row.
        found: usize,
        /// Columns of the header.
        expected: usize,
    },
    /// A value that cannot be used.
    #[error("line {line}, column `{column}`: {reason}")]
    Value {
        /// Where.
        line: usize,
        /// Name of the column.
        column: String,
        /// What is wrong and what is expected.
        reason: String,
    },
}

/// Reads a CSV file with a header. A column `label` holds classes, columns `target` or `target_…` the right outputs of
/// a regression, a column `split` says `train` or `test`; none of them has to be there. All others are values in the
/// model's input order.
///
/// Fields may stand in double quotes; line ends may be LF or CRLF.
///
/// # Errors
/// [`DatasetError`] names line and column of what cannot be used.
pub fn from_csv(bytes: &[u8], limits: &DatasetLimits) -> Result<Dataset, DatasetError> {
    if bytes.len() > limits.max_bytes {
        return Err(DatasetError::TooLarge { bytes: bytes.len(), limit: limits.max_bytes });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| DatasetError::NotUtf8 {
        line: 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count(),
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines =
        text.lines().enumerate().map(|(index, line)| (index + 1, line)).filter(|(_, line)| !line.trim().is_empty());
    let (_, header_line) = lines.next().ok_or(DatasetError::Empty)?;
    let header = Header::parse(header_line, limits)?;

    let mut rows: Vec<Example> = Vec::new();
    for (line, content) in lines {
        if rows.len() == limits.max_rows {
            return Err(DatasetError::TooMany { line, what: "rows", limit: limits.max_rows });
        }
        rows.push(header.row(line, content)?);
    }
    if rows.is_empty() {
        return Err(DatasetError::Empty);
    }
    let last = rows.len() + 1;
    let set = Dataset::new(header.value_names(), rows);
    if set.labels.len() > limits.max_labels {
        return Err(DatasetError::TooMany { line: last, what: "distinct labels", limit: limits.max_labels });
    }
    Ok(set)
}

/// What the first line says.
struct Header {
    names: Vec<String>,
    label: Option<usize>,
    split: Option<usize>,
    /// Which columns are targets.
    targets: Vec<bool>,
}

impl Header {
    fn parse(line: &str, limits: &DatasetLimits) -> Result<Self, DatasetError> {
        let header = |reason: String| DatasetError::Header { reason };
        let names = fields(line).map_err(header)?;
        if names.len() > limits.max_columns {
            return Err(DatasetError::TooMany { line: 1, what: "columns", limit: limits.max_columns });
        }
        let mut sorted: Vec<&String> = names.iter().collect();
        sorted.sort();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(header(format!("column `{}` appears twice", shown(pair[0]))));
        }
        let at = |name: &str| names.iter().position(|column| column == name);
        let label = at("label");
        let split = at("split");
        let targets: Vec<bool> = names.iter().map(|name| name == "target" || name.starts_with("target_")).collect();
        let others = usize::from(label.is_some())
            + usize::from(split.is_some())
            + targets.iter().filter(|target| **target).count();
        if names.len() == others {
            return Err(header("no value column; the header names the columns, for example p0,p1,label,split".into()));
        }
        Ok(Self { names, label, split, targets })
    }

    fn value_names(&self) -> Vec<String> {
        self.names
            .iter()
            .enumerate()
            .filter(|(index, _)| Some(*index) != self.label && Some(*index) != self.split && !self.targets[*index])
            .map(|(_, name)| name.clone())
            .collect()
    }

    fn row(&self, line: usize, content: &str) -> Result<Example, DatasetError> {
        let bad =
            |column: usize, reason: String| DatasetError::Value { line, column: self.names[column].clone(), reason };
        let fields = fields(content).map_err(|reason| bad(0, reason))?;
        if fields.len() != self.names.len() {
            return Err(DatasetError::ColumnCount { line, found: fields.len(), expected: self.names.len() });
        }
        let mut example = Example { values: Vec::with_capacity(fields.len()), ..Example::default() };
        for (column, field) in fields.into_iter().enumerate() {
            if Some(column) == self.label {
                if field.is_empty() {
                    return Err(bad(column, "the label is empty".into()));
                }
                example.label = Some(field);
            } else if Some(column) == self.split {
                example.split = Some(match field.as_str() {
                    "train" => Split::Train,
                    "test" => Split::Test,
                    other => {
                        return Err(bad(column, format!("`{}` is neither `train` nor `test`", shown(other))));
                    }
                });
            } else {
                let value: f32 =
                    field.parse().map_err(|_| bad(column, format!("`{}` is not a decimal number", shown(&field))))?;
                if !value.is_finite() {
                    return Err(bad(column, format!("`{}` is not a finite number", shown(&field))));
                }
                if self.targets[column] {
                    example.targets.push(value);
                } else {
                    example.values.push(value);
                }
            }
        }
        Ok(example)
    }
}

/// The fields of one CSV line (RFC 4180 without line breaks inside quotes).
fn fields(line: &str) -> Result<Vec<String>, String> {
    if !line.contains('"') {
        return Ok(line.split(',').map(|field| field.trim().to_owned()).collect());
    }
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field).trim().to_owned()),
            other => field.push(other),
        }
    }
    if quoted {
        return Err("a double quote is not closed on this line".into());
    }
    fields.push(field.trim().to_owned());
    Ok(fields)
}

/// Distinct labels, in the order of [`Dataset::labels`].
fn label_names<'a>(labels: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<&str> = labels.collect();
    names.sort_unstable();
    names.dedup();
    let numbers: Option<Vec<i64>> = names.iter().map(|name| name.parse().ok()).collect();
    if let Some(numbers) = numbers {
        let mut pairs: Vec<(i64, &str)> = numbers.into_iter().zip(names).collect();
        pairs.sort_unstable();
        return pairs.into_iter().map(|(_, name)| name.to_owned()).collect();
    }
    names.into_iter().map(str::to_owned).collect()
}

/// A field as an error message may show it: short, without control characters.
fn shown(field: &str) -> String {
    field.chars().take(40).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> Result<Dataset, DatasetError> {
        from_csv(text.as_bytes(), &DatasetLimits::default())
    }

    #[test]
    fn values_labels_and_splits_are_read() {
        let data = read("a,label,b,split\r\n1,10,2.5,train\r\n-3,9,4e1,test\r\n\r\n5,10,6,test\r\n").unwrap();
        assert_eq!(data.columns, ["a", "b"]);
        assert_eq!(data.labels, ["9", "10"]);
        assert_eq!(data.rows[1].values, [-3.0, 40.0]);
        assert_eq!(data.rows[1].label, Some(0));
        let held_out: Vec<usize> = data.split(Split::Test).map(|row| row.index).collect();
        assert_eq!(held_out, [0, 1]);
    }

    #[test]
    fn without_a_split_column_every_fifth_row_of_a_class_is_held_out() {
        let mut text = String::from("v,label\n");
        for row in 0..20 {
            text += &format!("{row},{}\n", ["cat", "dog"][row % 2]);
        }
        let data = read(&text).unwrap();
        assert!(!data.has_split);
        assert_eq!(data.labels, ["cat", "dog"]);
        assert_eq!(data.split(Split::Test).count(), 4);
    }

    #[test]
    fn labels_are_not_needed_and_targets_are_kept_apart() {
        let data = read("a,target,b,target_1\n1,10,2.5,7\n3,9,4,8\n").unwrap();
        assert_eq!((data.columns.len(), data.labels.len()), (2, 0));
        assert_eq!((data.rows[0].label, data.rows[0].targets.as_slice()), (None, [10.0, 7.0].as_slice()));
        assert_eq!(data.rows[1].values, [3.0, 4.0]);
    }

    #[test]
    fn errors_name_line_and_column() {
        let cases = [
            ("", "the CSV file is empty"),
            ("a,label\n", "the CSV file is empty"),
            ("a,b\n1,cat\n", "line 2, column `b`: `cat` is not a decimal number"),
            ("label\n1\n", "line 1: no value column"),
            ("a,a,label\n1,2,3\n", "line 1: column `a` appears twice"),
            ("a,label\n1,2\n1\n", "line 3: 1 columns, the header has 2"),
            ("a,label\n1,2\n\nx,2\n", "line 4, column `a`: `x` is not a decimal number"),
            ("a,label\nNaN,2\n", "line 2, column `a`: `NaN` is not a finite number"),
            ("a,label\n1,\n", "line 2, column `label`: the label is empty"),
            ("a,label,split\n1,2,val\n", "line 2, column `split`: `val` is neither `train` nor `test`"),
            ("a,label\n\"1,2\n", "a double quote is not closed"),
        ];
        for (text, expected) in cases {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
        let not_utf8 = from_csv(b"a,label\n1,2\n\xff,3\n", &DatasetLimits::default());
        assert_eq!(not_utf8, Err(DatasetError::NotUtf8 { line: 3 }));
    }

    #[test]
    fn limits_hold() {
        let limits = DatasetLimits { max_bytes: 64, max_rows: 2, max_columns: 3, max_labels: 1 };
        let error = |text: &str| from_csv(text.as_bytes(), &limits).unwrap_err().to_string();
        assert!(error(&"x".repeat(65)).contains("65 bytes, at most 64"));
        assert!(error("a,b,c,label\n1,1,1,1\n").contains("more than 3 columns"));
        assert!(error("a,label\n1,1\n1,1\n1,1\n").contains("line 4: more than 2 rows"));
        assert!(error("a,label\n1,1\n1,2\n").contains("more than 1 distinct labels"));
    }
}
