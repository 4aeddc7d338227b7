//! Commands to the cloud itself: written to their journal before they are acknowledged.

use contract::cloud_command::CloudCommand;
use contract::wire::Malformed;
use contract::{Code, State, Timestamp};
use sea_orm::{ActiveModelTrait, DatabaseTransaction, DbErr, EntityTrait, Set};

use super::batch::{After, Batch};
use crate::db::entity::cloud_commands;
use crate::services::cloud_commands::CloudTask;

/// Journals a command that is new; everything else gets its answer.
pub async fn apply(
    txn: &DatabaseTransaction,
    batch: &mut Batch,
    command: &Result<Box<CloudCommand>, Malformed>,
) -> Result<(), DbErr> {
    let task = match command {
        Err(malformed) => {
            batch.count("malformed_cloud_commands");
            CloudTask::Refuse(malformed.clone())
        }
        Ok(command) => {
            if cloud_commands::Entity::find_by_id(command.id.as_str()).one(txn).await?.is_some() {
                CloudTask::Repeat(command.id.clone())
            } else {
                let now = Timestamp::now();
                let expired = command.expires_at.is_some_and(|end| end <= now);
                let (state, code, message) = if expired {
                    (State::Expired, Code::EXPIRED, "its 'expires_at' had passed when it arrived")
                } else {
                    (State::Accepted, Code::OK, "")
                };
                let row = cloud_commands::ActiveModel {
                    id: Set(command.id.as_str().to_owned()),
                    verb: Set(command.action.verb().to_owned()),
                    body: Set(command.to_json().to_string()),
                    state: Set(state.as_str().to_owned()),
                    code: Set(code.as_str().to_owned()),
                    message: Set(message.to_owned()),
                    progress: Set(0.0),
                    artifact: Set(None),
                    created_at: Set(now.as_micros()),
                    updated_at: Set(now.as_micros()),
                };
                row.insert(txn).await?;
                CloudTask::Run(command.id.clone())
            }
        }
    };
    batch.after.push(After::Cloud(task));
    Ok(())
}
