//! Users, tokens, groups of relays, invitations, and the audit log, to which is only added.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

/// Users, tokens, groups of relays, invitations, and the audit log.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        people(manager).await?;
        audit(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["audit", "invitations", "groups", "tokens", "users"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}

async fn people(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("users")
                .col(string("name"))
                .col(string("role"))
                .col(text_null("groups"))
                .col(string("password"))
                .col(boolean("disabled"))
                .col(big_integer("created_at"))
                .primary_key(Index::create().col("name"))
                .to_owned(),
        )
        .await?;
    manager
        .create_table(
            Table::create()
                .table("tokens")
                .col(string("token_sha256"))
                .col(string("name"))
                .col(string("role"))
                .col(string_null("relay"))
                .col(text_null("groups"))
                .col(string_null("owner"))
                .col(big_integer("created_at"))
                .col(big_integer_null("expires_at"))
                .col(big_integer_null("revoked_at"))
                .primary_key(Index::create().col("token_sha256"))
                .to_owned(),
        )
        .await?;
    manager.create_index(Index::create().name("tokens_name").table("tokens").col("name").to_owned()).await?;
    manager
        .create_table(
            Table::create()
                .table("groups")
                .col(string("name"))
                .col(text("relays"))
                .primary_key(Index::create().col("name"))
                .to_owned(),
        )
        .await?;
    manager
        .create_table(
            Table::create()
                .table("invitations")
                .col(big_integer("id").auto_increment().primary_key().take())
                .col(string("secret_sha256"))
                .col(string("guest"))
                .col(string("name"))
                .col(string_null("role"))
                .col(text_null("groups"))
                .col(string("created_by"))
                .col(big_integer("created_at"))
                .col(big_integer("expires_at"))
                .col(big_integer_null("used_at"))
                .col(string_null("used_for"))
                .to_owned(),
        )
        .await?;
    manager
        .create_index(
            Index::create()
                .name("invitations_secret_sha256")
                .table("invitations")
                .col("secret_sha256")
                .unique()
                .to_owned(),
        )
        .await
}

async fn audit(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("audit")
                .col(big_integer("id").auto_increment().primary_key().take())
                .col(string("record"))
                .col(big_integer("at"))
                .col(string("actor"))
                .col(string("role"))
                .col(string("source"))
                .col(string_null("address"))
                .col(string("action"))
                .col(string("target"))
                .col(string("result"))
                .col(text_null("detail"))
                .to_owned(),
        )
        .await?;
    manager.create_index(Index::create().name("audit_record").table("audit").col("record").unique().to_owned()).await?;
    for column in ["at", "actor", "target"] {
        let name = format!("audit_{column}");
        manager.create_index(Index::create().name(name).table("audit").col(column).to_owned()).await?;
    }
    for what in ["UPDATE", "DELETE"] {
        let trigger = format!(
            "CREATE TRIGGER audit_no_{} BEFORE {what} ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END",
            what.to_lowercase()
        );
        manager.get_connection().execute_unprepared(&trigger).await?;
    }
    Ok(())
}
