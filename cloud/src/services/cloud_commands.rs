//! Commands to the cloud itself, run one after another from their journal.

use std::sync::Arc;
use std::time::Duration;

use contract::cloud_command::{CloudAction, CloudCommand, CloudEvent};
use contract::wire::Malformed;
use contract::{ArtifactId, Code, CommandId, State, Timestamp};
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, Set};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::compile;
use super::failure::Failure;
use crate::db::entity::cloud_commands;
use crate::shared::Shared;

/// How long a command may take where it does not say.
const TIMEOUT: Duration = Duration::from_secs(3600);

/// What is to be done about a message on `cloud/commands`.
#[derive(Debug)]
pub enum CloudTask {
    /// It is in the journal now: run it.
    Run(CommandId),
    /// It was there before: tell where it stands.
    Repeat(CommandId),
    /// It cannot be read: tell why.
    Refuse(Malformed),
}

/// Runs what is journalled and what comes, until `shutdown`. What is not finished then goes on at the next start.
pub async fn run(shared: Arc<Shared>, mut tasks: mpsc::UnboundedReceiver<CloudTask>, shutdown: CancellationToken) {
    let (queue, mut queued) = mpsc::unbounded_channel();
    let work = async {
        for id in unfinished(&shared).await {
            execute(&shared, &id).await;
        }
        while let Some(id) = queued.recv().await {
            execute(&shared, &id).await;
        }
    };
    let answer = async {
        while let Some(task) = tasks.recv().await {
            match task {
                CloudTask::Run(id) => {
                    tell(&shared, &id, None).await;
                    // The receiver lives as long as this task does.
                    let _ = queue.send(id);
                }
                CloudTask::Repeat(id) => tell(&shared, &id, Some(Code::DUPLICATE)).await,
                CloudTask::Refuse(malformed) => refuse(&shared, malformed).await,
            }
        }
    };
    tokio::select! {
        ((), ()) = async { tokio::join!(work, answer) } => {}
        () = shutdown.cancelled() => {}
    }
}

async fn unfinished(shared: &Shared) -> Vec<CommandId> {
    let states = [State::Accepted, State::Building].map(State::as_str);
    let rows = cloud_commands::Entity::find()
        .filter(cloud_commands::Column::State.is_in(states))
        .order_by_asc(cloud_commands::Column::CreatedAt)
        .all(shared.db.read())
        .await;
    match rows {
        Ok(rows) => rows.into_iter().filter_map(|row| CommandId::new(row.id).ok()).collect(),
        Err(error) => {
            tracing::error!(%error, "cannot read which cloud commands are unfinished");
            Vec::new()
        }
    }
}

async fn execute(shared: &Shared, id: &CommandId) {
    if let Err(failure) = try_execute(shared, id).await {
        tracing::error!(%failure, command = %id, "a cloud command could not be brought to its end");
    }
}

async fn try_execute(shared: &Shared, id: &CommandId) -> Result<(), Failure> {
    let Some(row) = cloud_commands::Entity::find_by_id(id.as_str()).one(shared.db.read()).await? else {
        return Ok(());
    };
    if State::parse(&row.state).is_none_or(State::is_terminal) {
        return Ok(());
    }
    let command = CloudCommand::parse(row.body.as_bytes())?;
    advance(shared, id, State::Building, Code::OK, String::new(), 0.1, None).await?;
    let limit = command.timeout_s.map_or(TIMEOUT, |seconds| Duration::from_secs(seconds.into()));
    let CloudAction::Compile { model, settings } = &command.action;
    let compiled = tokio::time::timeout(limit, compile::compile(shared, model, settings)).await;
    let (state, code, message, artifact) = match compiled {
        Ok(Ok(row)) => {
            let artifact: Option<ArtifactId> = row.artifact.as_deref().and_then(|id| id.parse().ok());
            (State::Succeeded, Code::OK, format!("{} is compiled", super::models::reference(&row)), artifact)
        }
        Ok(Err(failure)) => {
            let (code, message, _) = failure.into_answer();
            (State::Failed, code, message, None)
        }
        Err(_) => (State::TimedOut, Code::TIMED_OUT, format!("not done after {} s", limit.as_secs()), None),
    };
    advance(shared, id, state, code, message, 1.0, artifact).await
}

async fn advance(
    shared: &Shared,
    id: &CommandId,
    state: State,
    code: Code,
    message: String,
    progress: f32,
    artifact: Option<ArtifactId>,
) -> Result<(), Failure> {
    let Some(row) = cloud_commands::Entity::find_by_id(id.as_str()).one(shared.db.read()).await? else {
        return Ok(());
    };
    let mut row = row.into_active_model();
    row.state = Set(state.as_str().to_owned());
    row.code = Set(code.as_str().to_owned());
    row.message = Set(message);
    row.progress = Set(progress);
    row.artifact = Set(artifact.map(|artifact| artifact.as_str().to_owned()));
    row.updated_at = Set(Timestamp::now().as_micros());
    row.update(shared.db.write()).await?;
    tell(shared, id, None).await;
    Ok(())
}

/// Publishes where a command stands.
async fn tell(shared: &Shared, id: &CommandId, code: Option<Code>) {
    let row = match cloud_commands::Entity::find_by_id(id.as_str()).one(shared.db.read()).await {
        Ok(Some(row)) => row,
        Ok(None) => return,
        Err(error) => {
            tracing::error!(%error, command = %id, "cannot read a cloud command");
            return;
        }
    };
    let known = serde_json::from_value(serde_json::Value::String(row.code)).unwrap_or(Code::INTERNAL);
    let event = CloudEvent::Command {
        at: Timestamp::now(),
        command: id.clone(),
        verb: row.verb,
        state: State::parse(&row.state).unwrap_or(State::Failed),
        code: code.unwrap_or(known),
        message: row.message,
        progress: row.progress,
        artifact: row.artifact.and_then(|id| id.parse().ok()),
    };
    shared.announce(&event).await;
}

async fn refuse(shared: &Shared, malformed: Malformed) {
    let (at, code, message) = (Timestamp::now(), malformed.code, malformed.message);
    let event = match malformed.id {
        Some(command) => CloudEvent::Command {
            at,
            command,
            verb: String::new(),
            state: State::Rejected,
            code,
            message,
            progress: 0.0,
            artifact: None,
        },
        None => CloudEvent::Notice { at, code, message },
    };
    shared.announce(&event).await;
}
