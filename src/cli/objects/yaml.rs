//! Turns YAML or JSON files (several documents, `List` kinds) into single objects with the place
//! that each came from. Never reads a cluster.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use serde_saphyr::Spanned;

/// Why a file could not be read. Each message names the file, and the line where there is one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The file is not there, or not ours to read.
    #[error("cannot read {path}: {cause}")]
    File {
        /// Which file.
        path: String,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The text is no YAML.
    #[error("{path}:{line}: not valid YAML: {what}")]
    Yaml {
        /// Which file.
        path: String,
        /// Which line, from 1.
        line: u64,
        /// What the parser said.
        what: String,
    },
    /// A document is no Kubernetes object, or has a field of the wrong type.
    #[error("{origin}: {what}")]
    Object {
        /// File and line.
        origin: String,
        /// What is wrong.
        what: String,
    },
}

/// One object of a file.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    /// File and line.
    pub(crate) origin: String,
    /// The object.
    pub(crate) value: Value,
}

/// Reads every object of `path`: a file, a folder (its `.yaml`, `.yml` and `.json` files), or `-`
/// for standard input.
pub(crate) fn read(path: &str) -> Result<Vec<Document>, ReadError> {
    let failed = |cause| ReadError::File { path: path.to_owned(), cause };
    if path == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(failed)?;
        return parse("standard input", &text);
    }
    if Path::new(path).is_dir() {
        let mut files: Vec<PathBuf> = std::fs::read_dir(path)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .map_err(failed)?;
        files.retain(|file| {
            let extension = file.extension().and_then(|extension| extension.to_str());
            matches!(extension, Some("yaml" | "yml" | "json"))
        });
        files.sort();
        let mut all = Vec::new();
        for file in files {
            all.extend(read(&file.to_string_lossy())?);
        }
        return Ok(all);
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    parse(path, &text)
}

/// Reads every object of `text`, which came from `path`.
pub(crate) fn parse(path: &str, text: &str) -> Result<Vec<Document>, ReadError> {
    let documents: Vec<Spanned<Value>> = serde_saphyr::from_multiple(text).map_err(|error| {
        let plain = error.without_snippet();
        ReadError::Yaml {
            path: path.to_owned(),
            line: error.location().map_or(1, |location| location.line()),
            // The parser ends its sentence with the place, which stands in front here.
            what: plain.to_string().lines().next().unwrap_or_default().to_owned(),
        }
    })?;
    let mut all = Vec::new();
    for document in documents {
        let origin = format!("{path}:{}", document.referenced.line().max(1));
        flatten(origin, document.value, &mut all)?;
    }
    Ok(all)
}

fn flatten(origin: String, value: Value, all: &mut Vec<Document>) -> Result<(), ReadError> {
    if value.is_null() {
        return Ok(());
    }
    let Some(kind) = value.get("kind").and_then(Value::as_str) else {
        let what = "is no Kubernetes object: it has no kind".to_owned();
        return Err(ReadError::Object { origin, what });
    };
    if !kind.ends_with("List") {
        all.push(Document { origin, value });
        return Ok(());
    }
    let Value::Object(mut list) = value else {
        return Ok(());
    };
    let item_kind = list.get("kind").and_then(Value::as_str).map(|it| it.replace("List", ""));
    let version = list.get("apiVersion").cloned();
    let Some(Value::Array(items)) = list.remove("items") else {
        return Ok(());
    };
    for (index, mut item) in items.into_iter().enumerate() {
        // Typed lists leave kind and version out of their items.
        if let (Value::Object(fields), Some(kind)) = (&mut item, &item_kind)
            && !kind.is_empty()
        {
            fields.entry("kind").or_insert_with(|| Value::String(kind.clone()));
            if let Some(version) = &version {
                fields.entry("apiVersion").or_insert_with(|| version.clone());
            }
        }
        flatten(format!("{origin} item {index}"), item, all)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_lists_become_single_objects_with_their_lines() {
        let text = "# a comment\nkind: A\n---\nkind: List\nitems:\n- kind: B\n- kind: C\n---\n";
        let read = parse("x.yaml", text).unwrap();
        let seen: Vec<(&str, &str)> = read
            .iter()
            .map(|it| (it.origin.as_str(), it.value["kind"].as_str().unwrap()))
            .collect();
        assert_eq!(seen, [("x.yaml:2", "A"), ("x.yaml:4 item 0", "B"), ("x.yaml:4 item 1", "C")]);
    }

    #[test]
    fn items_of_a_typed_list_inherit_kind_and_version() {
        let text = r#"{"kind": "NodeList", "apiVersion": "v1", "items": [{"metadata": {}}]}"#;
        let read = parse("x.json", text).unwrap();
        assert_eq!(read[0].value["kind"], "Node");
        assert_eq!(read[0].value["apiVersion"], "v1");
    }

    #[test]
    fn malformed_yaml_is_one_sentence_with_file_and_line() {
        for (text, place) in [
            ("kind: A\nspec:\n  a: [1\n", "x.yaml:"),
            ("kind: A\n  spec: 1\n", "x.yaml:2:"),
            ("kind: A\nspec: &a {\n\tb", "x.yaml:"),
            ("a: 1\n", "x.yaml:1: is no Kubernetes object"),
            ("just words\n", "x.yaml:1: is no Kubernetes object"),
        ] {
            let message = parse("x.yaml", text).unwrap_err().to_string();
            assert!(message.starts_with(place), "{message}");
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }
}
