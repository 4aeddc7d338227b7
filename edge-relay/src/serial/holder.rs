//! Who holds a port: the process that has it open, as far as this user may see.

use std::path::Path;

/// Name and number of a process other than this one that has `path` open, such as `minicom (process 4711)`. Processes of
/// other users are not readable without privileges, so `None` does not mean that there is none.
pub fn of(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let own = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|entry| entry.file_name().into_string().ok()).filter(|pid| *pid != own).find_map(|pid| {
        pid.parse::<u32>().ok()?;
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        files.flatten().find(|file| std::fs::read_link(file.path()).is_ok_and(|target| target == path))?;
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        Some(format!("{} (process {pid})", name.trim()))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::process::{Command, Stdio};

    #[test]
    fn whoever_has_it_open_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(super::of(file.path()), None);
        let input = Stdio::from(std::fs::File::open(file.path()).unwrap());
        let mut child = Command::new("sleep").arg("60").stdin(input).spawn().unwrap();
        let found = super::of(file.path());
        child.kill().unwrap();
        child.wait().unwrap();
        let found = found.unwrap();
        assert!(found.contains(&child.id().to_string()), "{found}");
    }
}
