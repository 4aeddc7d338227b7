use std::os::unix::fs::PermissionsExt as _;

use transport::authority::{Authority, own_names};
use transport::request::ClientFiles;

use crate::support::authority;

#[test]
fn an_authority_is_made_once_and_its_keys_are_private() {
    let (folder, _) = authority();
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let before = read("ca.crt");
    Authority::open(folder.path()).unwrap();
    assert_eq!(read("ca.crt"), before);
    for key in ["ca.key", "server.key"] {
        let mode = std::fs::metadata(folder.path().join(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
}

#[test]
fn a_server_certificate_is_kept_until_a_name_changes_or_it_ends() {
    let (folder, authority) = authority();
    let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    assert!(!authority.ensure_server(&names).unwrap(), "the order of names does not matter");
    let more = [names.as_slice(), &["relay-hub.example".to_owned()]].concat();
    assert!(authority.ensure_server(&more).unwrap());
    assert!(!authority.ensure_server(&more).unwrap());
    // As if its end were near.
    std::fs::write(folder.path().join("server.names"), format!("1000\n{}\n", more.join("\n"))).unwrap();
    assert!(authority.ensure_server(&more).unwrap());
    let error = authority.ensure_server(&["not a name".to_owned()]).unwrap_err().to_string();
    assert!(error.contains("'not a name'"), "{error}");
}

#[test]
fn half_an_authority_is_said_to_be_one() {
    let (folder, _) = authority();
    std::fs::remove_file(folder.path().join("ca.key")).unwrap();
    let error = Authority::open(folder.path()).err().unwrap().to_string();
    assert!(error.contains("ca.key"), "{error}");
    std::fs::write(folder.path().join("ca.key"), "nonsense").unwrap();
    let error = Authority::open(folder.path()).err().unwrap().to_string();
    assert!(error.contains("ca.key") && error.contains("backup"), "{error}");
}

#[test]
fn a_request_that_is_none_or_was_changed_is_refused() {
    let (_folder, authority) = authority();
    let relay = tempfile::tempdir().unwrap();
    let request = ClientFiles::new(relay.path()).signing_request().unwrap();
    assert!(authority.sign_client(&request, "relay-attic").unwrap().contains("BEGIN CERTIFICATE"));
    assert!(!request.contains("PRIVATE"), "the key stays where it is");
    for wrong in ["", "nonsense", &request[..request.len() / 2], &broken(&request)] {
        authority.sign_client(wrong, "relay-attic").unwrap_err();
    }
}

/// Another byte in the middle of the request's signature.
fn broken(request: &str) -> String {
    let lines: Vec<&str> = request.lines().collect();
    let at = lines.len() - 3;
    let mut changed: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    let swapped: String =
        changed[at].chars().map(|c| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c }).collect();
    changed[at] = swapped;
    changed.join("\n")
}

#[test]
fn this_machine_has_names() {
    let names = own_names();
    assert!(names.contains(&"localhost".to_owned()) && names.contains(&"::1".to_owned()), "{names:?}");
}
