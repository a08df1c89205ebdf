//! Pieces of a page. Every text that comes from outside goes through [`escaped`].

use std::fmt::Write as _;

const STYLE: &str = include_str!("style.css");

/// A text as it may stand in an element or in a quoted attribute.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            letter => out.push(letter),
        }
    }
    out
}

/// A whole page that needs nothing from anywhere. `body` is HTML; `script` runs at its end.
#[must_use]
pub fn page(title: &str, body: &str, script: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n{body}</main>\n<script>\n{script}</script>\n</body>\n</html>\n"
    )
}

/// A section with a heading and an anchor; `body` is HTML.
#[must_use]
pub fn section(anchor: &str, heading: &str, body: &str) -> String {
    let (anchor, heading) = (escaped(anchor), escaped(heading));
    format!("<section id=\"{anchor}\">\n<h2>{heading}</h2>\n{body}</section>\n")
}

/// Something that is opened by a click; `body` is HTML.
#[must_use]
pub fn folded(heading: &str, body: &str) -> String {
    format!("<details>\n<summary>{}</summary>\n{body}</details>\n", escaped(heading))
}

/// A paragraph.
#[must_use]
pub fn paragraph(text: &str) -> String {
    format!("<p>{}</p>\n", escaped(text))
}

/// Data for a script, to be read by its `id`: JSON in which no tag can end.
#[must_use]
pub fn data(id: &str, json: &str) -> String {
    let json = json.replace('<', "\\u003c");
    format!("<script type=\"application/json\" id=\"{}\">{json}</script>\n", escaped(id))
}

/// How a cell is to be understood. Said by a sign as well as by a colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tone {
    /// Neither.
    #[default]
    Plain,
    /// Better than what it is compared with.
    Better,
    /// Worse than what it is compared with.
    Worse,
}

/// A cell of a table: what it says, and smaller what belongs to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    /// The text.
    pub text: String,
    /// A second, smaller line; none when empty.
    pub note: String,
    /// How it is to be understood.
    pub tone: Tone,
}

impl Cell {
    /// A cell with a text only.
    #[must_use]
    pub fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

/// A table. The first cell of a row is its name, the others are numbers, set to the right.
#[must_use]
pub fn table(head: &[String], rows: &[Vec<Cell>]) -> String {
    let mut out = "<div class=\"wide\"><table>\n<thead><tr>".to_owned();
    for name in head {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escaped(name));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        for (index, cell) in row.iter().enumerate() {
            let (element, scope) = if index == 0 { ("th", " scope=\"row\"") } else { ("td", "") };
            let (class, sign) = match cell.tone {
                Tone::Plain => ("", ""),
                Tone::Better => (" class=\"better\"", "▼ "),
                Tone::Worse => (" class=\"worse\"", "▲ "),
            };
            let _ = write!(out, "<{element}{scope}{class}>{sign}{}", escaped(&cell.text));
            if !cell.note.is_empty() {
                let _ = write!(out, "<small>{}</small>", escaped(&cell.note));
            }
            let _ = write!(out, "</{element}>");
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
    out
}

/// A number that a person can take in: three digits that count, thousands set apart, and a dash
/// where there is none.
#[must_use]
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let digits = match value.abs() {
        size if size >= 99.95 || size == 0.0 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{:.digits$}", value.abs());
    let (whole, part) = text.split_at(text.find('.').unwrap_or(text.len()));
    let part = part.trim_end_matches('0').trim_end_matches('.');
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    let nothing = out == "0" && part.is_empty();
    format!("{}{out}{part}", if value < 0.0 && !nothing { "−" } else { "" })
}

/// A change as a percentage with its sign: 0.5 is +50 %.
#[must_use]
pub fn percent(part: f64) -> String {
    let text = number(rounded(100.0 * part));
    if part.is_finite() {
        format!("{}{text}\u{a0}%", if text == "0" || part < 0.0 { "" } else { "+" })
    } else {
        text
    }
}

/// Whole from 10 on, with one digit below.
#[must_use]
pub fn rounded(percentage: f64) -> f64 {
    if percentage.abs() >= 9.95 { percentage.round() } else { (10.0 * percentage).round() / 10.0 }
}
