//! Reads a checkpoint's JSON files so that an error names the field. Knows nothing of what the fields mean.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Objects with more fields than any checkpoint's are not searched for the wrong one.
const MOST_FIELDS: usize = 1000;

/// Parses `text`. An error says which field is wrong, or where the text stops being JSON.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let error = match serde_json::from_str(text) {
        Ok(value) => return Ok(value),
        Err(e) => e.to_string(),
    };
    let Ok(value) = serde_json::from_str::<Value>(text) else { return Err(error) };
    let Some(message) = complaint::<T>(&value) else { return Err(error) };
    // A missing field is named by the message itself.
    let path = if message.starts_with("missing field") { Vec::new() } else { culprit::<T>(&value, &message) };
    Err(if path.is_empty() { error } else { format!("{}: {message}", path.join(".")) })
}

fn complaint<T: DeserializeOwned>(value: &Value) -> Option<String> {
    serde_json::from_value::<T>(value.clone()).err().map(|e| e.to_string())
}

/// The path of the field without which the complaint is another one, as deep as that leads.
fn culprit<T: DeserializeOwned>(root: &Value, message: &str) -> Vec<String> {
    let mut path: Vec<String> = Vec::new();
    loop {
        let mut changed = root.clone();
        let inner = path.iter().try_fold(&mut changed, |value, key| value.get_mut(key));
        let Some(fields) = inner.and_then(Value::as_object_mut).filter(|fields| fields.len() <= MOST_FIELDS) else {
            return path;
        };
        let keys: Vec<String> = fields.keys().cloned().collect();
        let without = |key: &String| {
            let mut changed = root.clone();
            let inner = path.iter().try_fold(&mut changed, |value, key| value.get_mut(key));
            inner.and_then(Value::as_object_mut).and_then(|fields| fields.remove(key));
            complaint::<T>(&changed).as_deref() != Some(message)
        };
        match keys.into_iter().find(without) {
            Some(key) => path.push(key),
            None => return path,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "only parsed")]
    struct Outer {
        a: u32,
        inner: Inner,
        #[serde(default)]
        list: Vec<u32>,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "only parsed")]
    struct Inner {
        x: f32,
        #[serde(default)]
        y: usize,
    }

    #[test]
    fn the_wrong_field_is_named() {
        for (text, words) in [
            (r#"{"a": "one", "inner": {"x": 1}}"#, "a: invalid type: string"),
            (r#"{"a": 1, "inner": {"x": 1, "y": -2}}"#, "inner.y: invalid value: integer `-2`"),
            (r#"{"a": 1, "inner": {"x": []}}"#, "inner.x: invalid type: sequence"),
            (r#"{"a": 1, "inner": 7}"#, "inner: invalid type: integer `7`"),
            (r#"{"a": 1, "inner": {"x": 1}, "list": [1, "b"]}"#, "list: invalid type: string"),
            (r#"{"a": 1, "inner": {}}"#, "missing field `x`"),
            (r#"{"a": 1, "#, "line 1 column"),
            ("[]", "invalid length 0"),
        ] {
            let error = super::parse::<Outer>(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
