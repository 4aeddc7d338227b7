//! `/`: the fleet at a glance, or what to do first.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use contract::api::{CommandView, DeviceView, ModelView, RelayView};
use contract::state::DeviceStatus;

use super::html;
use crate::Shared;
use crate::error::PageError;
use crate::session::SessionToken;
use crate::view::{Frame, ReadingView};

/// A device with its last reading drawn.
pub(crate) struct DeviceCard {
    pub(crate) device: DeviceView,
    pub(crate) reading: Option<ReadingView>,
}

impl DeviceCard {
    pub(crate) fn of(device: DeviceView) -> Self {
        let reading = device.last_reading.as_ref().map(ReadingView::of);
        Self { device, reading }
    }
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    relays: Vec<RelayView>,
    cards: Vec<DeviceCard>,
    models: Vec<ModelView>,
    commands: Vec<CommandView>,
}

impl OverviewPage {
    fn online(&self) -> usize {
        self.relays.iter().filter(|relay| relay.online).count()
    }

    fn running(&self) -> usize {
        let running = |card: &&DeviceCard| card.device.online && card.device.state.status == DeviceStatus::Running;
        self.cards.iter().filter(running).count()
    }

    fn readings(&self) -> u64 {
        self.cards.iter().map(|card| card.device.readings).sum()
    }

    fn labelled(&self) -> u64 {
        self.cards.iter().map(|card| card.device.labelled).sum()
    }

    fn correct(&self) -> u64 {
        self.cards.iter().map(|card| card.device.correct).sum()
    }

    fn accuracy(&self) -> Option<f64> {
        ratio(self.correct(), self.labelled())
    }
}

/// `part` of `whole`, where there is a whole.
pub(crate) fn ratio(part: u64, whole: u64) -> Option<f64> {
    // Counts are far below 2^53.
    #[allow(clippy::cast_precision_loss)]
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// `GET /`.
pub(crate) async fn page(
    State(shared): State<Arc<Shared>>,
    SessionToken(token): SessionToken,
) -> Result<Response, PageError> {
    let api = shared.api.as_visitor(&token);
    let (me, relays, devices, models, commands) =
        tokio::try_join!(api.me(), api.relays(), api.devices(), api.models(), api.commands(None, None, 8))?;
    html(&OverviewPage {
        frame: Frame::of(me),
        relays,
        cards: devices.into_iter().map(DeviceCard::of).collect(),
        models,
        commands,
    })
}
