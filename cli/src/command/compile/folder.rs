//! A folder of examples: one subfolder a label, or files without labels; `train` and `test` above them where the data
//! is split already.

use std::path::{Path, PathBuf};

use model_compiler::dataset::{Dataset, Example, Split};
use model_compiler::samples::{ENDINGS, Input};

use crate::exit::Failure;

/// Most files that are looked at.
const MAX_FILES: usize = 200_000;
/// Largest file.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// Most values of all examples together: 256 MB.
const MAX_VALUES: usize = 64 << 20;

/// What a folder holds.
pub struct Found {
    /// The examples.
    pub set: Dataset,
    /// Whether they are pictures.
    pub pictures: bool,
}

/// A file with what its folders say of it.
struct Entry {
    path: PathBuf,
    label: Option<String>,
    split: Option<Split>,
}

/// Reads a folder. Without `train` and `test` the last fifth of a label by name is held out: names often count or carry
/// the time, and neighbours are near-duplicates.
pub fn read(folder: &Path, input: &Input) -> Result<Found, Failure> {
    let mut entries = Vec::new();
    let mut splits = 0;
    for (name, split) in [("train", Split::Train), ("test", Split::Test)] {
        if folder.join(name).is_dir() {
            labelled(&folder.join(name), Some(split), &mut entries)?;
            splits += 1;
        }
    }
    if splits < 2 {
        entries.clear();
        labelled(folder, None, &mut entries)?;
        hold_out(&mut entries);
    }
    if entries.is_empty() {
        let folder = folder.display();
        return Err(Failure::Failed(format!(
            "--calibrate {folder}: it holds no {ENDINGS} file; put examples there, or in one subfolder a label"
        )));
    }
    let most = (MAX_VALUES / input.values().max(1)).max(1);
    if entries.len() > most {
        eprintln!(
            "  {} examples are more than fit into memory: {most} of them, evenly spread, are used",
            entries.len()
        );
        let all = entries.len();
        let mut index = 0;
        entries.retain(|_| {
            index += 1;
            index * most / all != (index - 1) * most / all
        });
    }
    let pictures = entries.iter().any(|entry| Input::is_picture(&entry.path.to_string_lossy()));
    let examples = entries
        .into_iter()
        .map(|entry| {
            let wrong = |why: String| Failure::Failed(format!("--calibrate: {}: {why}", entry.path.display()));
            let size = std::fs::metadata(&entry.path).map_err(|error| wrong(error.to_string()))?.len();
            if size > MAX_FILE_BYTES {
                return Err(wrong(format!("it has {size} bytes, at most {MAX_FILE_BYTES} are read")));
            }
            let bytes = std::fs::read(&entry.path).map_err(|error| wrong(error.to_string()))?;
            let name = entry.path.to_string_lossy();
            let values = input.read(&name, &bytes).map_err(|error| wrong(error.to_string()))?;
            Ok(Example { values, label: entry.label, split: entry.split, targets: Vec::new() })
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let columns = (0..input.values()).map(|index| format!("v{index}")).collect();
    Ok(Found { set: Dataset::new(columns, examples), pictures })
}

/// Files of the folder without a label, those of its subfolders with the subfolder's name.
fn labelled(folder: &Path, split: Option<Split>, entries: &mut Vec<Entry>) -> Result<(), Failure> {
    let (files, folders) = list(folder)?;
    let mut add = |path: PathBuf, label: Option<&str>| {
        entries.push(Entry { path, label: label.map(str::to_owned), split });
        entries.len() <= MAX_FILES
    };
    let too_many = || Failure::Failed(format!("--calibrate: more than {MAX_FILES} files; give a part of them"));
    if folders.is_empty() {
        for path in files {
            add(path, None).then_some(()).ok_or_else(too_many)?;
        }
    }
    for sub in folders {
        let label = sub.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        for path in list(&sub)?.0 {
            add(path, Some(&label)).then_some(()).ok_or_else(too_many)?;
        }
    }
    Ok(())
}

/// Usable files and subfolders, sorted by name; hidden ones are left out.
fn list(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Failure> {
    let failed =
        |error: std::io::Error| Failure::Failed(format!("--calibrate: {} cannot be read: {error}", folder.display()));
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            continue;
        }
        let ending = path.extension().map(|ending| format!(".{}", ending.to_string_lossy().to_lowercase()));
        if path.is_dir() {
            folders.push(path);
        } else if ending.is_some_and(|ending| ENDINGS.split(", ").any(|known| known == ending)) {
            files.push(path);
        }
    }
    files.sort();
    folders.sort();
    Ok((files, folders))
}

fn hold_out(entries: &mut [Entry]) {
    let mut begin = 0;
    while begin < entries.len() {
        let label = entries[begin].label.clone();
        let count = entries[begin..].iter().take_while(|entry| entry.label == label).count();
        for (index, entry) in entries[begin..begin + count].iter_mut().enumerate() {
            entry.split = Some(if index * 5 >= count * 4 { Split::Test } else { Split::Train });
        }
        begin += count;
    }
}
