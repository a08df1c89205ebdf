//! Kubernetes quantities (`250m`, `1.5`, `512Mi`, `2e3`) as numbers.

/// A text that is no Kubernetes quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a Kubernetes quantity such as 250m, 1.5 or 512Mi")]
pub struct NotAQuantity(pub String);

/// The suffixes of a quantity and what they multiply by.
const SUFFIXES: [(&str, f64); 15] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
];

/// Reads a quantity: cores for CPU, bytes for memory. Never NaN, never infinite.
pub fn parse(text: &str) -> Result<f64, NotAQuantity> {
    let (number, factor) = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)))
        .unwrap_or((text, 1.0));
    // `f64` would also read `inf`, `nan` and `infinity`.
    let numeric =
        number.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'+' | b'-' | b'e' | b'E'));
    match number.parse::<f64>() {
        Ok(value) if numeric && (value * factor).is_finite() => Ok(value * factor),
        _ => Err(NotAQuantity(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, value) in [
            ("0", 0.0),
            ("250m", 0.25),
            ("1.5", 1.5),
            ("2e3", 2000.0),
            ("512Mi", 536_870_912.0),
            ("1Gi", 1_073_741_824.0),
            ("3k", 3000.0),
            ("100n", 1e-7),
            ("2E", 2e18),
        ] {
            let read = parse(text).unwrap();
            assert!((read - value).abs() <= value * 1e-12, "{text} read as {read}");
        }
        for text in ["", "m", "Mi", "abc", "nan", "inf", "1 Gi", "1e999", "0x10", "1GiB"] {
            assert!(parse(text).is_err(), "{text} was accepted");
        }
    }
}
