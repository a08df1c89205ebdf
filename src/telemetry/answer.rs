//! Turns the body of a Prometheus answer into what it says about each workload. Borrows from the
//! body; never judges a number.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::queries::{AT, COPIES, PART, VALUE};

/// What one answer says about one workload, unjudged.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Raw {
    /// The value; any float. `None` when the answer has none for this workload.
    pub value: Option<f64>,
    /// When the newest sample behind it was taken, in Unix seconds; any float.
    pub at: Option<f64>,
    /// Whether the same traffic is counted more than once.
    pub duplicate: bool,
}

/// A whole answer, by namespace and workload.
#[derive(Debug)]
pub struct Answer<'a> {
    workloads: HashMap<(Cow<'a, str>, Cow<'a, str>), Raw>,
    /// Whether the source said that something is missing.
    pub incomplete: bool,
}

/// An answer that says that the query failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Prometheus' `errorType`, such as `bad_data`.
    pub kind: String,
    /// Its sentence.
    pub message: String,
}

/// Why a body gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Not the JSON that the query API writes.
    #[error("it is not an answer of the query API: {0}")]
    Json(#[from] serde_json::Error),
    /// Not an instant vector.
    #[error("it is a {0} instead of a vector")]
    NotAVector(String),
    /// Not a range of values.
    #[error("it is a {0} instead of a matrix")]
    NotAMatrix(String),
    /// The query failed.
    #[error("{}: {}", .0.kind, .0.message)]
    Refused(Refused),
    /// A sample that is no number.
    #[error("{0:?} is not a sample value")]
    NotANumber(String),
}

impl<'a> Answer<'a> {
    /// Reads a body whose series are labelled with `namespace` and `workload` labels of these
    /// names.
    pub fn read(body: &'a [u8], namespace: &str, workload: &str) -> Result<Self, Unreadable> {
        // The shape of the result depends on the rest, which may stand behind it: two readings,
        // the first of which skips the result.
        let envelope: Envelope<'a> = serde_json::from_slice(body)?;
        if let Some(refused) = envelope.refused() {
            return Err(Unreadable::Refused(refused));
        }
        if envelope.kind() != "vector" {
            return Err(Unreadable::NotAVector(envelope.kind().to_owned()));
        }
        let incomplete = envelope.incomplete();
        let Vector { data: VectorData { result: series } } =
            serde_json::from_slice::<Vector<'a>>(body)?;
        let mut workloads = HashMap::<_, Raw>::with_capacity(series.len() / 2);
        for Series { metric, value } in series {
            // A native histogram where a number was asked for: this workload stays unknown.
            let Some((_, Text(text))) = value else {
                continue;
            };
            let number: f64 =
                text.parse().map_err(|_| Unreadable::NotANumber(text.into_owned()))?;
            let (mut part, mut key) = (None, (Cow::Borrowed(""), Cow::Borrowed("")));
            for (Text(name), Text(value)) in metric.0 {
                match name.as_ref() {
                    PART => part = Some(value),
                    name if name == namespace => key.0 = value,
                    name if name == workload => key.1 = value,
                    _ => {}
                }
            }
            let raw = workloads.entry(key).or_default();
            match part.as_deref() {
                // Two values for one workload: adding them up would be a guess.
                Some(VALUE) if raw.value.is_some() => raw.duplicate = true,
                Some(VALUE) => raw.value = Some(number),
                Some(AT) => raw.at = Some(raw.at.map_or(number, |at: f64| at.max(number))),
                Some(COPIES) => raw.duplicate = true,
                _ => {}
            }
        }
        Ok(Self { workloads, incomplete })
    }

    /// What the answer says about one workload; all empty when it says nothing.
    #[must_use]
    pub fn of(&self, namespace: &str, workload: &str) -> Raw {
        let workloads: &HashMap<(Cow<'_, str>, Cow<'_, str>), Raw> = &self.workloads;
        workloads
            .get(&(Cow::Borrowed(namespace), Cow::Borrowed(workload)))
            .copied()
            .unwrap_or_default()
    }
}

/// The error in the body of a failed query, if there is one.
#[must_use]
pub fn refusal(body: &[u8]) -> Option<Refused> {
    serde_json::from_slice::<Envelope<'_>>(body).ok()?.refused()
}

/// `infos` are left out on purpose: they are hints on style (a counter without `_total`), stay for
/// ever and say nothing about missing data.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Envelope<'a> {
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    data: Option<Data<'a>>,
    #[serde(borrow, default)]
    error_type: Text<'a>,
    #[serde(borrow, default)]
    error: Text<'a>,
    #[serde(default)]
    warnings: Vec<IgnoredAny>,
}

impl Envelope<'_> {
    /// The shape of the result, such as `vector`.
    pub(super) fn kind(&self) -> &str {
        self.data.as_ref().map_or("nothing", |data| &data.kind.0)
    }

    /// Whether the source said that something is missing.
    pub(super) fn incomplete(&self) -> bool {
        !self.warnings.is_empty()
    }

    pub(super) fn refused(&self) -> Option<Refused> {
        (self.status.0 != "success").then(|| Refused {
            kind: self.error_type.0.clone().into_owned(),
            message: self.error.0.clone().into_owned(),
        })
    }
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(rename = "resultType", borrow)]
    kind: Text<'a>,
}

/// The same body, once it is known to be a vector.
#[derive(Deserialize)]
struct Vector<'a> {
    #[serde(borrow)]
    data: VectorData<'a>,
}

#[derive(Deserialize)]
struct VectorData<'a> {
    #[serde(borrow)]
    result: Vec<Series<'a>>,
}

#[derive(Deserialize)]
struct Series<'a> {
    #[serde(borrow)]
    metric: Labels<'a>,
    #[serde(borrow)]
    value: Option<(f64, Text<'a>)>,
}

/// A string that is borrowed unless it holds an escape.
#[derive(Default, Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// The labels of a series as they come: three, so that a list beats a map.
struct Labels<'a>(Vec<(Text<'a>, Text<'a>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Labels<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Labels<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("the labels of a series")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut labels = Vec::with_capacity(3);
                while let Some(pair) = map.next_entry()? {
                    labels.push(pair);
                }
                Ok(Labels(labels))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(series: &str, rest: &str) -> String {
        format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{series}]}}{rest}}}"#
        )
    }

    fn series(part: &str, value: &str) -> String {
        format!(
            r#"{{"metric":{{"ns":"pay","wl":"checkout","hirl_part":"{part}"}},"value":[1.5,"{value}"]}}"#
        )
    }

    #[test]
    fn the_three_parts_of_a_workload_are_brought_together() {
        let body = vector(&[series("at", "100.5"), series("value", "7")].join(","), "");
        let answer = Answer::read(body.as_bytes(), "ns", "wl").unwrap();
        let raw = Raw { value: Some(7.0), at: Some(100.5), duplicate: false };
        assert_eq!(answer.of("pay", "checkout"), raw);
        assert_eq!(answer.of("pay", "other"), Raw::default());
        assert!(!answer.incomplete);

        let body = vector(&[series("copies", "2"), series("value", "7")].join(","), "");
        assert!(Answer::read(body.as_bytes(), "ns", "wl").unwrap().of("pay", "checkout").duplicate);
    }

    #[test]
    fn two_values_for_one_workload_are_a_duplicate() {
        let body = vector(&[series("value", "7"), series("value", "7")].join(","), "");
        assert!(Answer::read(body.as_bytes(), "ns", "wl").unwrap().of("pay", "checkout").duplicate);
    }

    #[test]
    fn the_texts_for_special_floats_are_read() {
        for (text, value) in
            [("+Inf", f64::INFINITY), ("-Inf", f64::NEG_INFINITY), ("1e308", 1e308)]
        {
            let body = vector(&series("value", text), "");
            let answer = Answer::read(body.as_bytes(), "ns", "wl").unwrap();
            assert_eq!(answer.of("pay", "checkout").value, Some(value));
        }
        let body = vector(&series("value", "NaN"), "");
        let answer = Answer::read(body.as_bytes(), "ns", "wl").unwrap();
        assert!(answer.of("pay", "checkout").value.unwrap().is_nan());
    }

    #[test]
    fn warnings_make_an_answer_incomplete_and_infos_do_not() {
        let body = vector("", r#","warnings":["store a is unavailable"]"#);
        assert!(Answer::read(body.as_bytes(), "ns", "wl").unwrap().incomplete);
        let body = vector("", r#","infos":["metric might not be a counter"]"#);
        assert!(!Answer::read(body.as_bytes(), "ns", "wl").unwrap().incomplete);
    }

    #[test]
    fn escaped_labels_and_histograms_do_not_spoil_an_answer() {
        let body = vector(
            r#"{"metric":{"ns":"p\u0061y","wl":"checkout","hirl_part":"value"},"value":[1,"3"]},
               {"metric":{"ns":"pay","wl":"other"},"histogram":[1,{"count":"1","buckets":[]}]}"#,
            "",
        );
        let answer = Answer::read(body.as_bytes(), "ns", "wl").unwrap();
        assert_eq!(answer.of("pay", "checkout").value, Some(3.0));
        assert_eq!(answer.of("pay", "other").value, None);
    }

    #[test]
    fn what_is_not_an_answer_is_refused_with_a_sentence() {
        let refused = r#"{"status":"error","errorType":"bad_data","error":"1:5: parse error"}"#;
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}"#;
        for (body, sentence) in [
            ("<html>", "not an answer of the query API"),
            ("{}", "not an answer of the query API"),
            (r#"{"status":"success"}"#, "it is a nothing instead of a vector"),
            (scalar, "it is a scalar instead of a vector"),
            (refused, "bad_data: 1:5: parse error"),
            (&vector(&series("value", "7,5"), ""), r#""7,5" is not a sample value"#),
            (&vector(r#"{"metric":[],"value":[1,"2"]}"#, ""), "the labels of a series"),
        ] {
            let error = Answer::read(body.as_bytes(), "ns", "wl").unwrap_err().to_string();
            assert!(error.contains(sentence), "{body}: {error}");
        }
        assert_eq!(refusal(refused.as_bytes()).unwrap().kind, "bad_data");
        assert_eq!(refusal(b"Service Unavailable"), None);
    }
}
