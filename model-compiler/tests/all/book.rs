//! The page about the compiler says what the compiler does.

use std::collections::BTreeSet;

use model_compiler::estimate::BOARDS;
use model_compiler::import::{SUPPORTED_ONNX, SUPPORTED_TFLITE};

const PAGE: &str = include_str!("../../../docs/model-compiler.md");

/// First cells of the table behind a mark, without backticks.
fn table(mark: &str) -> Vec<Vec<String>> {
    let (_, rest) = PAGE.split_once(&format!("<!-- {mark}:")).unwrap_or_else(|| panic!("no table of {mark}"));
    let lines = rest.lines().skip(1).skip_while(|line| line.is_empty()).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect();
    // Behind the head and its rule.
    lines.skip(2).map(cells).collect()
}

/// Names of operators in a list of the importer; the rest of the list are remarks.
fn operators(list: &str) -> BTreeSet<String> {
    let plain = list.replace("and ", ", ");
    let mut inside = 0;
    let outside: String = plain
        .chars()
        .filter(|c| {
            inside += i32::from(*c == '(') - i32::from(*c == ')');
            inside == 0 && *c != ')'
        })
        .collect();
    let words = outside.split([',', ';', ' ', '\n']).map(str::trim).filter(|word| word.len() > 1);
    let named = |word: &&str| word.starts_with(|c: char| c.is_ascii_uppercase());
    words.filter(named).map(str::to_owned).collect()
}

#[test]
fn tables_of_operators_are_those_of_the_importer() {
    for (mark, list) in [("onnx", SUPPORTED_ONNX), ("tflite", SUPPORTED_TFLITE)] {
        let rows = table(mark);
        let page: BTreeSet<String> =
            rows.iter().flat_map(|row| row[0].split(", ").map(str::to_owned).collect::<Vec<_>>()).collect();
        let importer = operators(list);
        assert!(importer.len() > 20, "{importer:?}");
        let missing: Vec<_> = importer.difference(&page).collect();
        let stale: Vec<_> = page.difference(&importer).collect();
        assert!(
            missing.is_empty() && stale.is_empty(),
            "docs/model-compiler.md, table of {mark}: add {missing:?}, remove {stale:?}"
        );
    }
}

#[test]
fn the_table_of_boards_is_the_compilers() {
    let rows: Vec<Vec<String>> = BOARDS
        .iter()
        .map(|board| {
            let figures = [board.flash_bytes / 1024, board.ram_bytes / 1024].map(|kilobytes| format!("{kilobytes} kB"));
            let clock = format!("{} MHz", board.clock_hz / 1_000_000);
            [board.id.to_owned(), board.name.to_owned()].into_iter().chain(figures).chain([clock]).collect()
        })
        .collect();
    let shown = |row: &Vec<String>| format!("| `{}` | {} |", row[0], row[1..].join(" | "));
    let expected: Vec<String> = rows.iter().map(shown).collect();
    assert_eq!(table("boards"), rows, "docs/model-compiler.md should have\n{}", expected.join("\n"));
}
