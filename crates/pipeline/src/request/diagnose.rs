//! Finds the field that is to blame for a request that does not parse, which `serde_json` does not name.

use serde_json::{Map, Value};

use crate::backup::org_id::{ORG_ID_ACCEPTS, excerpt};
use crate::request::TIME_ACCEPTS;
use crate::request::error::{RequestError, any_of, quoted};
use crate::request::execution_id::EXECUTION_ID_ACCEPTS;
use crate::request::filters::Dedupe;
use crate::request::output::{Compression, Format};
use crate::request::window::WindowKind;

/// The JSON type that a field of a request has.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Text,
    OptionalText,
    Texts,
    Flag,
}

impl Shape {
    fn fits(self, value: &Value) -> bool {
        match (self, value) {
            (_, Value::Null) => self != Self::Text,
            (Self::Text | Self::OptionalText, value) => value.is_string(),
            (Self::Texts, Value::Array(values)) => values.iter().all(Value::is_string),
            (Self::Texts, _) => false,
            (Self::Flag, value) => value.is_boolean(),
        }
    }
}

/// Every field of a request: its name, its JSON type, what it accepts.
fn fields() -> [(&'static str, Shape, String); 13] {
    let compressions = any_of(Compression::ALL.map(Compression::as_str));
    let of_kind = any_of(WindowKind::ALL.map(WindowKind::as_str));
    let formats = any_of(Format::ALL.map(Format::as_str));
    [
        ("org_id", Shape::Text, ORG_ID_ACCEPTS.to_owned()),
        ("start", Shape::Text, TIME_ACCEPTS.to_owned()),
        ("end", Shape::Text, TIME_ACCEPTS.to_owned()),
        ("window", Shape::OptionalText, of_kind),
        ("format", Shape::OptionalText, formats),
        ("compression", Shape::OptionalText, compressions),
        ("domains", Shape::Texts, "a list of strings".to_owned()),
        ("event_types", Shape::Texts, "a list of strings".to_owned()),
        (
            "exclude_domains",
            Shape::Texts,
            "a list of strings".to_owned(),
        ),
        (
            "exclude_event_types",
            Shape::Texts,
            "a list of strings".to_owned(),
        ),
        (
            "dedupe",
            Shape::OptionalText,
            any_of(Dedupe::ALL.map(Dedupe::as_str)),
        ),
        ("dry_run", Shape::Flag, any_of(["true", "false"])),
        (
            "execution_id",
            Shape::OptionalText,
            EXECUTION_ID_ACCEPTS.to_owned(),
        ),
    ]
}

/// The names that the field chooses from; none for a field that takes any text.
fn names(field: &str, object: &Map<String, Value>) -> Vec<&'static str> {
    match field {
        "dedupe" => Dedupe::ALL.map(Dedupe::as_str).to_vec(),
        "window" => WindowKind::ALL.map(WindowKind::as_str).to_vec(),
        "format" => Format::ALL.map(Format::as_str).to_vec(),
        "compression" => {
            let named = object.get("format").and_then(Value::as_str);
            match Format::ALL
                .into_iter()
                .find(|format| Some(format.as_str()) == named)
            {
                Some(format) => format.compressions().map(Compression::as_str).to_vec(),
                // Then the deployment's default decides, which is not known here.
                None => Compression::ALL.map(Compression::as_str).to_vec(),
            }
        }
        _ => Vec::new(),
    }
}

/// The error of a request that `serde_json` refused with `error`: parses it once more, without a schema.
pub(crate) fn diagnose(json: &[u8], error: &serde_json::Error) -> RequestError {
    let whole = |problem| {
        RequestError::new("request", problem)
            .accepts("a JSON object")
            .hinting(error.to_string())
    };
    let Ok(value) = serde_json::from_slice::<Value>(json) else {
        return whole("is not valid JSON");
    };
    let Value::Object(object) = value else {
        return whole("is not a JSON object");
    };
    let fields = fields();
    if let Some(unknown) = object
        .keys()
        .find(|key| !fields.iter().any(|f| f.0 == *key))
    {
        let unknown = excerpt(unknown).escape_debug().to_string();
        return RequestError::new("request", "has a field that it does not know")
            .accepts(any_of(fields.map(|(name, ..)| name)))
            .found(format!("`{unknown}`"));
    }
    for (name, shape, accepts) in fields {
        let names = names(name, &object);
        let refused = match object.get(name) {
            None if shape == Shape::Text => RequestError::new(name, "is missing"),
            Some(value) if !shape.fits(value) => RequestError::new(name, "has the wrong JSON type")
                .found(excerpt(&value.to_string())),
            Some(Value::String(text)) if !names.is_empty() && !names.contains(&text.as_str()) => {
                return RequestError::new(name, "is not one of its values")
                    .accepts(any_of(names))
                    .found(quoted(text));
            }
            _ => continue,
        };
        return refused.accepts(accepts);
    }
    whole("names a field twice")
}
