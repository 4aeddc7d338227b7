//! Tokens in the form that a plain Mosquitto checks.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

/// Tokens in the form that a plain Mosquitto checks.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = string_null("token_pbkdf2");
        manager.alter_table(Table::alter().table("tokens").add_column(column).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(Table::alter().table("tokens").drop_column("token_pbkdf2").to_owned()).await
    }
}
