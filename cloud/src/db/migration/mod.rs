//! Versioned migrations, oldest first. One that was released is never changed: a new one follows it.

mod m0001_initial;
mod m0002_people;
mod m0003_mosquitto;
mod m0004_manifests;

use sea_orm_migration::prelude::*;

/// Brings a database up to date.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_initial::Migration),
            Box::new(m0002_people::Migration),
            Box::new(m0003_mosquitto::Migration),
            Box::new(m0004_manifests::Migration),
        ]
    }
}
