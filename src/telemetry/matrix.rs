//! Turns the body of a range query into values over time. Never judges a number.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::answer::{Envelope, Text, Unreadable};

/// The answer to a range query.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Matrix {
    /// Per series: Unix seconds and any float, in order of time. Native histograms are left out.
    pub series: Vec<Vec<(f64, f64)>>,
    /// Whether the source said that something is missing.
    pub incomplete: bool,
}

impl Matrix {
    /// Reads a body.
    pub fn read(body: &[u8]) -> Result<Self, Unreadable> {
        let envelope: Envelope<'_> = serde_json::from_slice(body)?;
        if let Some(refused) = envelope.refused() {
            return Err(Unreadable::Refused(refused));
        }
        if envelope.kind() != "matrix" {
            return Err(Unreadable::NotAMatrix(envelope.kind().to_owned()));
        }
        let incomplete = envelope.incomplete();
        let Body { data: Data { result } } = serde_json::from_slice::<Body<'_>>(body)?;
        let mut series = Vec::with_capacity(result.len());
        for Series { values, .. } in result {
            let values = values.into_iter().map(|(at, Text(text))| match text.parse() {
                Ok(value) => Ok((at, value)),
                Err(_) => Err(Unreadable::NotANumber(text.into_owned())),
            });
            series.push(values.collect::<Result<_, _>>()?);
        }
        Ok(Self { series, incomplete })
    }
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    result: Vec<Series<'a>>,
}

#[derive(Deserialize)]
struct Series<'a> {
    #[serde(rename = "metric")]
    _labels: IgnoredAny,
    #[serde(borrow, default)]
    values: Vec<(f64, Text<'a>)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_with_their_times_and_gaps_are_not_there() {
        let body = br#"{"status":"success","warnings":["store away"],"data":{"resultType":"matrix",
            "result":[{"metric":{"a":"b"},"values":[[60,"1.5"],[180.5,"NaN"]]},{"metric":{}}]}}"#;
        let Matrix { series, incomplete } = Matrix::read(body).unwrap();
        assert!(incomplete);
        assert_eq!(series.len(), 2);
        assert_eq!((series[0][0], series[0][1].0), ((60.0, 1.5), 180.5));
        assert!(series[0][1].1.is_nan() && series[1].is_empty());
    }

    #[test]
    fn another_answer_is_refused_with_a_sentence() {
        for (body, sentence) in [
            ("<html>", "it is not an answer of the query API"),
            (
                r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
                "it is a vector instead of a matrix",
            ),
            (
                r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#,
                "bad_data: parse error",
            ),
        ] {
            let error = Matrix::read(body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(sentence), "{body}: {error}");
        }
    }
}
