//! The fleet contract: topics, payloads, life cycles, limits and ids. No I/O.
