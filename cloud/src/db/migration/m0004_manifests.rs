//! The manifest of each artifact: a model that is compiled anew, with other settings, leaves the earlier artifact on boards.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

/// The manifest of each artifact.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = text_null("manifest");
        manager.alter_table(Table::alter().table("artifacts").add_column(column).to_owned()).await?;
        // Where several versions of a model came out as the same artifact, the newest's.
        let known = "UPDATE artifacts SET manifest = (SELECT manifest FROM models WHERE models.artifact = artifacts.id \
                     ORDER BY models.id DESC LIMIT 1)";
        manager.get_connection().execute_unprepared(known).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(Table::alter().table("artifacts").drop_column("manifest").to_owned()).await
    }
}
