//! Line speed: how many bytes may pass by now.

use std::time::{Duration, Instant};

/// Lets bytes through at a rate; ten bits on the line make a byte.
#[derive(Debug)]
pub struct Pace {
    bytes_per_s: f64,
    budget: f64,
    last: Instant,
}

impl Pace {
    /// `baud` in bit/s; 0 lets everything through.
    pub fn new(baud: u32, now: Instant) -> Self {
        Pace { bytes_per_s: f64::from(baud) / 10.0, budget: 0.0, last: now }
    }

    /// How many bytes may pass now, at most `wanted`. Those that do are [`spent`](Self::spend).
    pub fn allow(&mut self, wanted: usize, now: Instant) -> usize {
        if self.bytes_per_s == 0.0 {
            return wanted;
        }
        let passed = now.saturating_duration_since(self.last).as_secs_f64();
        self.last = now;
        // 100 ms worth of bytes at most: a line does not catch up for its pauses, and a busy machine that lets this
        // process wait that long does not make it slower than it is.
        let most = (self.bytes_per_s * 0.1).max(1.0);
        self.budget = (self.budget + passed * self.bytes_per_s).min(most);
        wanted.min(self.budget as usize)
    }

    /// Takes bytes that passed from the budget.
    pub fn spend(&mut self, bytes: usize) {
        self.budget -= bytes as f64;
    }

    /// How long until at least one byte may pass.
    pub fn pause(&self) -> Duration {
        if self.bytes_per_s == 0.0 || self.budget >= 1.0 {
            return Duration::ZERO;
        }
        Duration::from_secs_f64((1.0 - self.budget) / self.bytes_per_s).max(Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_at_9600_baud_is_960_bytes() {
        let start = Instant::now();
        let mut pace = Pace::new(9600, start);
        let mut sum = 0;
        for ms in 0..=1000 {
            let now = start + Duration::from_millis(ms);
            let got = pace.allow(100, now);
            pace.spend(got);
            sum += got;
        }
        assert!((959..=960).contains(&sum), "{sum}");
    }

    #[test]
    fn no_rate_no_limit() {
        let now = Instant::now();
        assert_eq!(Pace::new(0, now).allow(12345, now), 12345);
    }
}
