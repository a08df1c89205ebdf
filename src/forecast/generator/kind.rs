//! Kinds of services.

/// What a generated service is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The same day again and again.
    Smooth,
    /// A day whose height and hour drift.
    Drifting,
    /// Weekends that differ.
    Weekly,
    /// No season.
    Wandering,
    /// Quiet days, and days of matches.
    EventDriven,
    /// Heavy tails from minute to minute.
    Bursty,
    /// Spikes at fixed minutes of the hour.
    Cron,
    /// Steps.
    Plateaus,
    /// A few requests a minute.
    Sparse,
    /// Means of something that is no count.
    Averaged,
    /// The sum of two.
    Mixture,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Smooth,
        Self::Drifting,
        Self::Weekly,
        Self::Wandering,
        Self::EventDriven,
        Self::Bursty,
        Self::Cron,
        Self::Plateaus,
        Self::Sparse,
        Self::Averaged,
        Self::Mixture,
    ];

    /// The name: series are called after it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Smooth => "smooth",
            Self::Drifting => "drifting",
            Self::Weekly => "weekly",
            Self::Wandering => "wandering",
            Self::EventDriven => "event-driven",
            Self::Bursty => "bursty",
            Self::Cron => "cron",
            Self::Plateaus => "plateaus",
            Self::Sparse => "sparse",
            Self::Averaged => "averaged",
            Self::Mixture => "mixture",
        }
    }
}
