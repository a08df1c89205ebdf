//! Drawings in SVG, as text. Colours are classes (`s0` to `s7`) that the page's style fills in, for
//! light and dark.

use std::fmt::Write as _;

use super::html::{escaped, number};

const WIDTH: f64 = 640.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;
/// Colours that can be told apart.
pub const COLOURS: usize = 8;

/// A range of values along an edge.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Axis {
    low: f64,
    high: f64,
    step: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// Round values from `low` to `high`, drawn from `from` to `to`. Steps are 1, 2 or 5 times a
    /// power of ten.
    fn new(low: f64, high: f64, from: f64, to: f64) -> Self {
        let span = if high > low { high - low } else { low.abs().max(1.0) };
        let rough = span / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= rough);
        let step = factor.unwrap_or(10.0) * power;
        let low_end = (low / step).floor() * step;
        let high_end = ((high / step).ceil() * step).max(low_end + step);
        Self { low: low_end, high: high_end, step, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let part = (value - self.low) / (self.high - self.low);
        self.from + (self.to - self.from) * part
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let Self { low, high, step, .. } = *self;
        (0..=((high - low) / step).round() as u32).map(move |index| low + f64::from(index) * step)
    }
}

/// The smallest range with all finite values, and those that must be in it.
fn range(values: impl IntoIterator<Item = f64>, must: &[f64]) -> (f64, f64) {
    let finite = values.into_iter().chain(must.iter().copied()).filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

fn open(height: f64, label: &str) -> String {
    let label = escaped(label);
    format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{label}\">\n")
}

fn text(out: &mut String, class: &str, x: f64, y: f64, text: &str) {
    let text = escaped(text);
    let _ = writeln!(out, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>");
}

fn line(out: &mut String, class: &str, [x1, y1, x2, y2]: [f64; 4]) {
    let _ = writeln!(
        out,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

/// The grid, the numbers and the names of both axes.
fn frame(out: &mut String, x: &Axis, y: &Axis, x_label: &str, y_label: &str) {
    for value in y.ticks() {
        line(out, "grid", [x.from, y.at(value), x.to, y.at(value)]);
        text(out, "end", x.from - 6.0, y.at(value) + 4.0, &number(value));
    }
    for value in x.ticks() {
        line(out, "grid", [x.at(value), y.from, x.at(value), y.to]);
        text(out, "middle", x.at(value), y.from + 16.0, &number(value));
    }
    text(out, "middle label", f64::midpoint(x.from, x.to), y.from + 36.0, x_label);
    let (left, middle) = (14.0, f64::midpoint(y.from, y.to));
    let _ = writeln!(
        out,
        "<text class=\"middle label\" transform=\"translate({left} {middle:.1}) rotate(-90)\">{}</text>",
        escaped(y_label)
    );
}

/// A line in a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What it is.
    pub name: String,
    /// Its colour, below [`COLOURS`]; more begin again.
    pub colour: usize,
    /// Its points from left to right; a NaN interrupts it.
    pub points: Vec<[f64; 2]>,
}

/// An area between two lines.
#[derive(Debug, Clone, PartialEq)]
pub struct Band {
    /// Its lower edge from left to right.
    pub low: Vec<[f64; 2]>,
    /// Its upper edge from left to right.
    pub high: Vec<[f64; 2]>,
}

/// Lines over the same axes, with a legend.
#[must_use]
pub fn lines(label: &str, x_label: &str, y_label: &str, lines: &[Line]) -> String {
    fan(label, x_label, y_label, lines, &[])
}

/// Lines over bands over the same axes, with a legend of the lines.
#[must_use]
pub fn fan(label: &str, x_label: &str, y_label: &str, lines: &[Line], bands: &[Band]) -> String {
    let height = 280.0;
    let edges = bands.iter().flat_map(|band| band.low.iter().chain(&band.high));
    let points: Vec<&[f64; 2]> = lines.iter().flat_map(|line| &line.points).chain(edges).collect();
    let (low, high) = range(points.iter().map(|point| point[0]), &[]);
    let x = Axis::new(low, high, LEFT, WIDTH - RIGHT);
    let (low, high) = range(points.iter().map(|point| point[1]), &[0.0]);
    let y = Axis::new(low, high, height - BOTTOM, TOP);
    let mut out = open(height, label);
    frame(&mut out, &x, &y, x_label, y_label);
    for band in bands {
        let edge: Vec<[f64; 2]> = band.low.iter().chain(band.high.iter().rev()).copied().collect();
        let _ = writeln!(out, "<path class=\"band\" d=\"{}Z\"/>", path(&x, &y, &edge));
    }
    for one in lines {
        let path = path(&x, &y, &one.points);
        let (colour, name) = (one.colour % COLOURS, escaped(&one.name));
        let _ = writeln!(
            out,
            "<path class=\"line s{colour}\" d=\"{path}\"><title>{name}</title></path>"
        );
    }
    out.push_str("</svg>\n");
    out.push_str(&legend(lines.iter().map(|line| (line.name.as_str(), line.colour))));
    out
}

/// Points joined by lines; what is not finite interrupts them.
fn path(x: &Axis, y: &Axis, points: &[[f64; 2]]) -> String {
    let mut path = String::new();
    let mut pen = 'M';
    for [across, up] in points {
        if across.is_finite() && up.is_finite() {
            let _ = write!(path, "{pen}{:.1} {:.1}", x.at(*across), y.at(*up));
            pen = 'L';
        } else {
            pen = 'M';
        }
    }
    path
}

/// Which colour is which.
#[must_use]
pub fn legend<'a>(names: impl IntoIterator<Item = (&'a str, usize)>) -> String {
    let mut out = "<p class=\"legend\">".to_owned();
    for (name, colour) in names {
        let colour = colour % COLOURS;
        let _ = write!(out, "<span><i class=\"s{colour}\"></i>{}</span> ", escaped(name));
    }
    out.push_str("</p>\n");
    out
}

/// A point with its uncertainty in both directions.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// What it is.
    pub name: String,
    /// Its colour.
    pub colour: usize,
    /// Where it is.
    pub at: [f64; 2],
    /// From where to where it may be, across and up.
    pub intervals: [Option<[f64; 2]>; 2],
    /// Whether it is on the front, which is drawn as a line.
    pub on_front: bool,
}

/// Points and their front: left and down is better.
#[must_use]
pub fn front(label: &str, x_label: &str, y_label: &str, points: &[Point]) -> String {
    let height = 360.0;
    let extent = |side: usize| {
        let ends = points.iter().filter_map(move |point| point.intervals[side]).flatten();
        range(points.iter().map(move |point| point.at[side]).chain(ends), &[])
    };
    let (low, high) = extent(0);
    let room = 0.08 * (high - low);
    let x = Axis::new(low - room, high + room, LEFT, WIDTH - RIGHT);
    let y = Axis::new(0.0, extent(1).1, height - BOTTOM, TOP);
    let mut out = open(height, label);
    frame(&mut out, &x, &y, x_label, y_label);
    let mut best: Vec<&Point> = points.iter().filter(|point| point.on_front).collect();
    best.sort_by(|one, other| one.at[0].total_cmp(&other.at[0]));
    for pair in best.windows(2) {
        if let [one, other] = pair {
            let ends = [x.at(one.at[0]), y.at(one.at[1]), x.at(other.at[0]), y.at(other.at[1])];
            line(&mut out, "front", ends);
        }
    }
    for point in points.iter().filter(|point| point.at.iter().all(|value| value.is_finite())) {
        let (across, up) = (x.at(point.at[0]), y.at(point.at[1]));
        let colour = point.colour % COLOURS;
        let whisker = format!("whisker s{colour}");
        if let Some([low, high]) = point.intervals[0] {
            line(&mut out, &whisker, [x.at(low), up, x.at(high), up]);
        }
        if let Some([low, high]) = point.intervals[1] {
            line(&mut out, &whisker, [across, y.at(low), across, y.at(high)]);
        }
        let filled = if point.on_front { "" } else { " hollow" };
        let _ = writeln!(
            out,
            "<circle class=\"dot s{colour}{filled}\" cx=\"{across:.1}\" cy=\"{up:.1}\" r=\"5\"/>"
        );
        // A name stays inside the drawing.
        let (class, shift) = if across > 0.8 * WIDTH { ("name end", -9.0) } else { ("name", 9.0) };
        text(&mut out, class, across + shift, up - 8.0, &point.name);
    }
    out.push_str("</svg>\n");
    out
}

/// A row of an interval chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// What it is.
    pub name: String,
    /// Its colour.
    pub colour: usize,
    /// The figure; a row with NaN says that there is none.
    pub value: f64,
    /// From where to where it may be.
    pub interval: Option<[f64; 2]>,
    /// What stands at the right end.
    pub note: String,
}

/// Figures below each other with their intervals, against a line at 0.
#[must_use]
pub fn intervals(label: &str, x_label: &str, rows: &[Estimate]) -> String {
    const NAMES: f64 = 130.0;
    const NOTES: f64 = 150.0;
    const ROW: f64 = 26.0;
    let bottom = TOP + ROW * rows.len() as f64;
    let ends = rows.iter().filter_map(|row| row.interval).flatten();
    let (low, high) = range(rows.iter().map(|row| row.value).chain(ends), &[0.0]);
    let x = Axis::new(low, high, NAMES, WIDTH - NOTES);
    let mut out = open(bottom + BOTTOM, label);
    for value in x.ticks() {
        let class = if value.abs() < x.step / 2.0 { "zero" } else { "grid" };
        line(&mut out, class, [x.at(value), TOP, x.at(value), bottom]);
        text(&mut out, "middle", x.at(value), bottom + 16.0, &number(value));
    }
    text(&mut out, "middle label", f64::midpoint(x.from, x.to), bottom + 36.0, x_label);
    for (index, row) in rows.iter().enumerate() {
        let y = TOP + ROW * (index as f64 + 0.5);
        let colour = row.colour % COLOURS;
        text(&mut out, "name end", NAMES - 10.0, y + 4.0, &row.name);
        text(&mut out, "", WIDTH - NOTES + 12.0, y + 4.0, &row.note);
        if let Some([low, high]) = row.interval {
            line(&mut out, &format!("whisker s{colour}"), [x.at(low), y, x.at(high), y]);
        }
        if row.value.is_finite() {
            let across = x.at(row.value);
            let _ = writeln!(
                out,
                "<circle class=\"dot s{colour}\" cx=\"{across:.1}\" cy=\"{y:.1}\" r=\"5\"/>"
            );
        }
    }
    out.push_str("</svg>\n");
    out
}
