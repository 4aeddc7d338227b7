//! Writes docs/asyncapi.json: `cargo run -p contract --example asyncapi`. A test checks that it is up to date.

mod document;
mod page;

fn main() -> std::io::Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/asyncapi.json");
    std::fs::write(path, document::text())
}
