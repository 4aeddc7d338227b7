//! Notices when the router inside has died: its thread may panic, and sockets would still be accepted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rumqttd::protocol::{Packet, PingReq};
use tokio::time::timeout;

use crate::router::{Link, Router};

const EVERY: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(10);

/// Completes with a reason when the router does not answer any more.
pub(crate) async fn watch(router: &Arc<Router>) -> &'static str {
    let Ok(Ok(mut link)) = timeout(PATIENCE, router.link(router.fresh_id(), true)).await else {
        return "no link to it could be made";
    };
    loop {
        match timeout(PATIENCE, round_trip(&mut link)).await {
            Ok(true) => {}
            Ok(false) => return "its thread has ended",
            Err(_) => return "it is stuck",
        }
        // A router that ends drops the link, which shows at once.
        match timeout(EVERY, link.next()).await {
            Ok(Err(_)) => return "its thread has ended",
            Ok(Ok(_)) | Err(_) => {}
        }
    }
}

async fn round_trip(link: &mut Link) -> bool {
    let mut ping = VecDeque::from([Packet::PingReq(PingReq)]);
    link.send(&mut ping).await.is_ok() && link.next().await.is_ok()
}
