//! Versions of the journal's tables. Only ever add to the list.

use sea_orm_migration::prelude::*;

/// All versions.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(First), Box::new(Unsettled), Box::new(Identity)]
    }
}

struct First;

impl MigrationName for First {
    fn name(&self) -> &str {
        "m0001_first"
    }
}

/// Documents are JSON text, times microseconds since 1970.
const FIRST: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE streams (stream INTEGER PRIMARY KEY, next INTEGER NOT NULL);
INSERT INTO streams (stream, next) VALUES (0, 1), (1, 1), (2, 1);
CREATE TABLE outbox (
    stream INTEGER NOT NULL, seq INTEGER NOT NULL, topic TEXT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (stream, seq)
) WITHOUT ROWID;
CREATE TABLE commands (
    id TEXT PRIMARY KEY, body TEXT NOT NULL, state TEXT NOT NULL, terminal INTEGER NOT NULL,
    report TEXT NOT NULL, manifest TEXT, attempts INTEGER NOT NULL, accepted_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
CREATE INDEX commands_live ON commands (terminal, accepted_at);
CREATE TABLE devices (
    name TEXT PRIMARY KEY, serial_number TEXT UNIQUE, board TEXT NOT NULL, product TEXT, port TEXT NOT NULL,
    observe TEXT, firmware TEXT, previous TEXT
);
";

#[async_trait::async_trait]
impl MigrationTrait for First {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(FIRST).await.map(|_| ())
    }
}

/// Boards whose flash is being written by a programmer that is not atomic.
struct Unsettled;

impl MigrationName for Unsettled {
    fn name(&self) -> &str {
        "m0002_unsettled"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Unsettled {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = "ALTER TABLE devices ADD COLUMN unsettled INTEGER NOT NULL DEFAULT 0";
        manager.get_connection().execute_unprepared(sql).await.map(|_| ())
    }
}

/// Board types that were set by hand, and what USB says of a device.
struct Identity;

impl MigrationName for Identity {
    fn name(&self) -> &str {
        "m0003_identity"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Identity {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in ["by_hand", "manufacturer", "usb"] {
            let sql = format!("ALTER TABLE devices ADD COLUMN {column} TEXT");
            manager.get_connection().execute_unprepared(&sql).await?;
        }
        Ok(())
    }
}
