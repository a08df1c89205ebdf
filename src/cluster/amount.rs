//! CPU and memory of a pod or a node, in whole numbers.

use std::ops::{Add, AddAssign, Sub, SubAssign};

use serde::{Deserialize, Serialize};

/// CPU in thousandths of a core and memory in bytes: whole numbers, so that adding and taking
/// away a million times leaves no rest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Amount {
    /// CPU, in thousandths of a core.
    pub cpu_milli: u64,
    /// Memory, in bytes.
    pub memory: u64,
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self { cpu_milli: 0, memory: 0 };

    /// Whether both parts are at most those of `room`.
    #[must_use]
    pub fn fits(self, room: Self) -> bool {
        self.cpu_milli <= room.cpu_milli && self.memory <= room.memory
    }

    /// This part (0 or more) of it, rounded down.
    #[must_use]
    pub fn part(self, part: f64) -> Self {
        // A negative or undefined part becomes 0, a huge one the largest number.
        Self {
            cpu_milli: (self.cpu_milli as f64 * part + 1e-6).floor() as u64,
            memory: (self.memory as f64 * part + 1e-6).floor() as u64,
        }
    }

    /// What is left after taking `other` away, 0 at the least.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_sub(other.cpu_milli),
            memory: self.memory.saturating_sub(other.memory),
        }
    }

    /// The smaller of each part.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.min(other.cpu_milli),
            memory: self.memory.min(other.memory),
        }
    }

    /// The larger of each part.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.max(other.cpu_milli),
            memory: self.memory.max(other.memory),
        }
    }
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { cpu_milli: self.cpu_milli + other.cpu_milli, memory: self.memory + other.memory }
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Amount {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { cpu_milli: self.cpu_milli - other.cpu_milli, memory: self.memory - other.memory }
    }
}

impl SubAssign for Amount {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}
