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
        if let Ok(Err(_)) = timeout(EVERY, link.next()).await {
            return "its thread has ended";
        }
    }
}

async fn round_trip(link: &mut Link) -> bool {
    let mut ping = VecDeque::from([Packet::PingReq(PingReq)]);
    link.send(&mut ping).await.is_ok() && link.next().await.is_ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::Limits;

    #[tokio::test]
    async fn a_dead_router_is_noticed() {
        let router = Router::start(&Limits::default());
        let watching = watch(&router);
        let mut watching = std::pin::pin!(watching);
        assert!(timeout(Duration::from_millis(500), &mut watching).await.is_err());
        // The router panics when it hears from a link that it has forgotten.
        let link = router.link(router.fresh_id(), true).await.unwrap();
        link.break_router().await;
        let why = timeout(Duration::from_secs(2), watching).await.unwrap();
        assert_eq!(why, "its thread has ended");
        // Nobody gets a link any more, and nobody waits for one.
        let late = timeout(Duration::from_secs(8), watch(&router)).await.unwrap();
        assert_eq!(late, "no link to it could be made");
    }
}
