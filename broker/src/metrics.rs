//! Counters of everything worth watching; plain atomics, read through [`crate::Broker::metrics`].

use std::sync::atomic::{AtomicU64, Ordering};

/// One counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn up(&self) {
        self.add(1);
    }

    pub(crate) fn down(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The present value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// All counters of one broker, since its start.
        #[derive(Debug, Default)]
        pub struct Metrics { $($(#[$doc])* pub $name: Counter,)* }

        impl Metrics {
            /// Name and value of every counter.
            pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)*]
            }
        }
    };
}

counters! {
    /// Clients connected now.
    connected,
    /// Sockets accepted.
    accepted,
    /// Refused: wrong or missing credentials.
    refused_credentials,
    /// Refused: no TLS handshake, or too slow a one.
    refused_tls,
    /// Refused: no client certificate where one is required, or that of another identity.
    refused_certificate,
    /// Refused: client id not allowed or somebody else's.
    refused_client_id,
    /// Refused: too many connections (in all, of an identity, or without CONNECT).
    refused_connections,
    /// Refused: no CONNECT in time.
    refused_timeout,
    /// Closed: malformed bytes or a protocol violation.
    closed_malformed,
    /// Closed: a packet above the size limit.
    closed_oversize,
    /// Closed: keep-alive ran out.
    closed_keep_alive,
    /// Closed: another connection took the session over.
    closed_taken_over,
    /// Closed: the identity was removed or its token changed.
    closed_revoked,
    /// Publishes refused by the access rules or a limit.
    refused_publishes,
    /// Subscriptions refused by the access rules or a limit.
    refused_subscriptions,
    /// Breaks in reading from an identity that is over its messages a second.
    throttled,
    /// Messages received from clients.
    messages_in,
    /// Messages sent to clients.
    messages_out,
    /// Messages not sent because the client cannot take their size.
    dropped_oversize,
    /// Retained messages now.
    retained,
    /// Durable messages waiting for their addressee.
    durable_depth,
    /// Durable messages dropped because of their age.
    durable_expired,
}
