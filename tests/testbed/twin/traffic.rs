//! Traffic as a function of time: a generator, or a recording that is played back.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use flate2::read::GzDecoder;

/// Seconds of a day.
const DAY: f64 = 86_400.0;

/// Requests per second over time.
#[derive(Debug, Clone)]
pub enum Traffic {
    /// Always the same.
    Constant(f64),
    /// Made up.
    Generated(Daily),
    /// A recording.
    Replayed(Replay),
    /// One value for each so many seconds; the last goes on for ever.
    Stepped(f64, Arc<[f64]>),
}

impl Traffic {
    /// Requests per second at `seconds` since the beginning; `None` in a gap of the recording.
    pub fn at(&self, seconds: f64) -> Option<f64> {
        match self {
            Self::Constant(rps) => Some(*rps),
            Self::Generated(daily) => Some(daily.at(seconds)),
            Self::Replayed(replay) => replay.at(seconds),
            Self::Stepped(step, values) => {
                let last = values.len().checked_sub(1)?;
                values.get(((seconds / step) as usize).min(last)).copied()
            }
        }
    }
}

/// A day with a peak, noise and spikes. A pure function of time and seed.
#[derive(Debug, Clone)]
pub struct Daily {
    /// Mean requests per second of a day.
    pub mean: f64,
    /// How far day and night differ from the mean, 0 to 1.
    pub swing: f64,
    /// When the peak is, in seconds after the beginning of the day.
    pub peak_at: f64,
    /// Standard deviation of the noise as a share of the traffic.
    pub noise: f64,
    /// What happens besides.
    pub spikes: Vec<Spike>,
    /// Makes the noise.
    pub seed: u64,
}

/// Traffic multiplied for a while.
#[derive(Debug, Clone, Copy)]
pub struct Spike {
    /// When it begins, in seconds.
    pub start: f64,
    /// How long it rises, and later falls, in seconds.
    pub ramp: f64,
    /// How long it stays, in seconds.
    pub length: f64,
    /// Factor at its height.
    pub factor: f64,
}

impl Daily {
    fn at(&self, seconds: f64) -> f64 {
        let day = 1.0 + self.swing * ((seconds - self.peak_at) / DAY * std::f64::consts::TAU).cos();
        let spikes: f64 = self.spikes.iter().map(|spike| spike.at(seconds)).product();
        // Noise that holds for five seconds and glides into the next.
        let (step, along) = ((seconds / 5.0).floor(), (seconds / 5.0).fract());
        let noise = gauss(self.seed, step as u64) * (1.0 - along)
            + gauss(self.seed, step as u64 + 1) * along;
        (self.mean * day * spikes * (1.0 + self.noise * noise)).max(0.0)
    }
}

impl Spike {
    fn at(&self, seconds: f64) -> f64 {
        let since = seconds - self.start;
        let left = self.ramp * 2.0 + self.length - since;
        let height = (since.min(left) / self.ramp.max(f64::EPSILON)).clamp(0.0, 1.0);
        1.0 + (self.factor - 1.0) * height
    }
}

/// A recording, scaled.
#[derive(Debug, Clone)]
pub struct Replay {
    trace: Arc<Trace>,
    scale: f64,
    from: f64,
}

impl Replay {
    /// Plays `trace` so that its 99th percentile becomes `peak` requests per second, beginning
    /// `from` seconds after its first sample. It starts over at its end.
    pub fn new(trace: Arc<Trace>, peak: f64, from: f64) -> Self {
        let scale = peak / trace.high().max(f64::MIN_POSITIVE);
        Self { trace, scale, from }
    }

    fn at(&self, seconds: f64) -> Option<f64> {
        self.trace.at(self.from + seconds).map(|value| value * self.scale)
    }
}

/// Samples of a recording, by seconds since the first. Gaps stay gaps.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    samples: Vec<(f64, f64)>,
    step: f64,
}

impl Trace {
    /// Reads a CSV file, plain or `.gz`: a time (ISO 8601, `YYYY-MM-DD HH:MM:SS` or Unix seconds)
    /// and a value; further columns and a header are passed over. A file with a single column has
    /// one value per second.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let mut text = String::new();
        if bytes.starts_with(&[0x1f, 0x8b]) {
            GzDecoder::new(bytes.as_slice()).read_to_string(&mut text)
        } else {
            bytes.as_slice().read_to_string(&mut text)
        }
        .with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("reading {}", path.display()))
    }

    /// The same from text.
    pub fn parse(text: &str) -> Result<Self> {
        let mut samples: Vec<(f64, f64)> = Vec::new();
        let mut rows = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(text.as_bytes());
        for (index, row) in rows.records().enumerate() {
            let row = row.context("splitting it into columns")?;
            let read = match (row.get(0), row.get(1)) {
                (Some(value), None) => number(value).map(|value| (samples.len() as f64, value)),
                (Some(time), Some(value)) => instant(time).zip(number(value)),
                _ => None,
            };
            match read {
                Some(sample) => samples.push(sample),
                None if index == 0 => {} // a header
                None => bail!(
                    "line {} is no time and value: {:?}",
                    index + 1,
                    row.iter().collect::<Vec<_>>()
                ),
            }
        }
        ensure!(samples.len() >= 2, "it has fewer than two samples");
        let first = samples[0].0;
        for sample in &mut samples {
            sample.0 -= first;
        }
        ensure!(samples.is_sorted_by(|a, b| a.0 < b.0), "its times do not ascend");
        let mut steps: Vec<f64> = samples.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        steps.sort_by(f64::total_cmp);
        Ok(Self { step: steps[steps.len() / 2], samples })
    }

    /// Seconds from the first sample to the end of the last.
    pub fn length(&self) -> f64 {
        self.samples.last().map_or(0.0, |last| last.0) + self.step
    }

    /// The 99th percentile of its values: a single freak does not flatten everything else.
    pub fn high(&self) -> f64 {
        let mut values: Vec<f64> = self.samples.iter().map(|sample| sample.1).collect();
        values.sort_by(f64::total_cmp);
        values[(values.len() - 1) * 99 / 100]
    }

    /// The value at `seconds`, between two samples on the line through them; `None` where samples
    /// are missing (more than two steps apart).
    pub fn at(&self, seconds: f64) -> Option<f64> {
        let seconds = seconds.rem_euclid(self.length());
        let after = self.samples.partition_point(|sample| sample.0 <= seconds);
        let (from, value) = self.samples[after.checked_sub(1)?];
        match self.samples.get(after) {
            Some(&(to, next)) if to - from <= 2.0 * self.step => {
                Some(value + (next - value) * (seconds - from) / (to - from))
            }
            _ => (seconds - from < self.step).then_some(value),
        }
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0)
}

/// Seconds since the epoch; a time without a zone is UTC.
fn instant(text: &str) -> Option<f64> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return seconds.is_finite().then_some(seconds);
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(time.as_millisecond() as f64 / 1000.0);
    }
    let local: jiff::civil::DateTime = text.parse().ok()?;
    let time = local.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    Some(time.as_millisecond() as f64 / 1000.0)
}

/// Roughly normal, mean 0 and deviation 1, from a seed and an index alone.
fn gauss(seed: u64, index: u64) -> f64 {
    // The sum of four uniform numbers has variance 1/3.
    let sum: f64 = (0..4).map(|part| uniform(seed, index * 4 + part)).sum();
    (sum - 2.0) * 3.0_f64.sqrt()
}

/// 0 to 1; `SplitMix64`.
fn uniform(seed: u64, index: u64) -> f64 {
    let mut bits = seed.wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_format_gives_the_same_recording() {
        let iso =
            "TimeStamp,Value,Label\n\"2018-04-25T00:00:00Z\",10,0\n\"2018-04-25T00:01:00Z\",20,0\n";
        let plain = "timestamp,requests\n2018-04-25 00:00:00,10\n2018-04-25 00:01:00,20\n";
        let unix = "1524614400,10\n1524614460,20\n";
        let read = Trace::parse(iso).unwrap();
        assert_eq!(read.samples, [(0.0, 10.0), (60.0, 20.0)]);
        assert_eq!(Trace::parse(plain).unwrap(), read);
        assert_eq!(Trace::parse(unix).unwrap(), read);
        assert_eq!(
            Trace::parse("5\n6\n7\n").unwrap().samples,
            [(0.0, 5.0), (1.0, 6.0), (2.0, 7.0)]
        );
    }

    #[test]
    fn steps_hold_and_the_last_goes_on() {
        let traffic = Traffic::Stepped(10.0, [1.0, 2.0].into());
        assert_eq!(
            [0.0, 9.9, 10.0, 500.0].map(|at| traffic.at(at)),
            [1.0, 1.0, 2.0, 2.0].map(Some)
        );
    }

    #[test]
    fn gaps_stay_gaps_and_the_recording_starts_over() {
        let trace = Trace::parse("0,10\n60,20\n120,30\n600,40\n660,50\n").unwrap();
        assert_eq!(trace.at(30.0), Some(15.0));
        assert_eq!(trace.at(150.0), Some(30.0));
        assert_eq!(trace.at(300.0), None);
        assert_eq!(trace.at(630.0), Some(45.0));
        assert_eq!(trace.at(700.0), Some(50.0));
        assert_eq!(trace.at(720.0 + 30.0), Some(15.0));
    }

    #[test]
    fn nonsense_is_refused_with_its_line() {
        for (text, message) in [
            ("time,value\n0,1\n60,x\n", "line 3"),
            ("0,1\nsoon,2\n", "line 2"),
            ("60,1\n0,2\n", "ascend"),
            ("time,value\n", "fewer than two"),
            ("0,1\n60,-5\n", "line 2"),
            ("0,1\n60,NaN\n", "line 2"),
        ] {
            let error = Trace::parse(text).unwrap_err().to_string();
            assert!(error.contains(message), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_recording_is_scaled_to_its_peak() {
        let text = (0..200).map(|value| value.to_string()).collect::<Vec<_>>().join("\n");
        let replay = Replay::new(Arc::new(Trace::parse(&text).unwrap()), 1000.0, 0.0);
        let peak = replay.at(197.0).unwrap();
        assert!((peak - 1000.0).abs() < 1e-9, "{peak}");
    }

    #[test]
    fn generated_traffic_repeats_exactly_and_peaks_when_told() {
        let daily = Daily {
            mean: 100.0,
            swing: 0.5,
            peak_at: 14.0 * 3600.0,
            noise: 0.05,
            spikes: vec![Spike { start: 3600.0, ramp: 10.0, length: 60.0, factor: 3.0 }],
            seed: 7,
        };
        let curve: Vec<f64> = (0..24).map(|hour| daily.at(f64::from(hour) * 3600.0)).collect();
        let again: Vec<f64> = (0..24).map(|hour| daily.at(f64::from(hour) * 3600.0)).collect();
        assert_eq!(curve, again);
        assert!(curve[14] > 1.5 * curve[2], "{curve:?}");
        assert!(daily.at(3640.0) > 2.0 * daily.at(3500.0));
    }
}
