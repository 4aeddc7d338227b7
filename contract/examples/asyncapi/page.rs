//! Reads topics.md: its field tables and its JSON examples. The page is the source of what a table says in words, the
//! crate of everything else; tests hold the two together.

use std::collections::BTreeMap;

/// One row of a field table.
pub struct Field {
    /// As on the wire.
    pub name: String,
    /// `text`, `integer`, `object `Host`` and the like.
    pub kind: String,
    /// Such as `ms`; may be empty.
    pub unit: String,
    /// Whether a payload without it is refused.
    pub required: bool,
    /// In words.
    pub meaning: String,
}

impl Field {
    /// The table that describes this field's object, or the items of its list.
    pub fn table(&self) -> Option<&str> {
        let rest = self.kind.strip_prefix("object ").or_else(|| self.kind.strip_prefix("list of "))?;
        rest.strip_prefix('`')?.strip_suffix('`')
    }
}

/// One JSON example.
pub struct Example {
    /// The type that it is of.
    pub kind: String,
    /// The line of the page that it begins at; only tests point there.
    #[allow(dead_code)]
    pub line: usize,
    /// The JSON.
    pub text: String,
}

/// The page's text.
pub fn text() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../topics.md");
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The table under each `#### Name` whose first column is `field`.
pub fn tables(page: &str) -> BTreeMap<String, Vec<Field>> {
    let mut tables: BTreeMap<String, Vec<Field>> = BTreeMap::new();
    let mut name = None;
    let mut inside = false;
    for line in page.lines() {
        if line.starts_with('#') {
            name = line.strip_prefix("#### ").map(str::to_owned);
            inside = false;
        }
        let Some(cells) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
            inside = false;
            continue;
        };
        let cells: Vec<&str> = cells.split('|').map(str::trim).collect();
        if cells[0] == "field" {
            inside = true;
        } else if inside
            && let (Some(table), [field, kind, unit, required, meaning]) = (&name, cells.as_slice())
            && let Some(field) = field.strip_prefix('`').and_then(|field| field.strip_suffix('`'))
        {
            tables.entry(table.clone()).or_default().push(Field {
                name: field.to_owned(),
                kind: (*kind).to_owned(),
                unit: (*unit).to_owned(),
                required: *required == "yes",
                meaning: (*meaning).to_owned(),
            });
        }
    }
    tables
}

/// The blocks with the info string `json Type`.
pub fn examples(page: &str) -> Vec<Example> {
    let mut examples = Vec::new();
    let mut current: Option<Example> = None;
    for (number, line) in page.lines().enumerate() {
        match &mut current {
            None => {
                if let Some(kind) = line.strip_prefix("```json ") {
                    current = Some(Example { kind: kind.trim().to_owned(), line: number + 2, text: String::new() });
                }
            }
            Some(_) if line == "```" => examples.extend(current.take()),
            Some(example) => {
                example.text.push_str(line);
                example.text.push('\n');
            }
        }
    }
    examples
}
